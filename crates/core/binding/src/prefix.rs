use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// An IPv6 prefix whose host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Prefix {
    address: Ipv6Addr,
    len: u8,
}

impl Ipv6Prefix {
    /// `None` when the length is over 128 or a host bit is set.
    #[must_use]
    pub fn new(address: Ipv6Addr, len: u8) -> Option<Self> {
        let prefix = Self { address, len };
        (len <= 128 && address.to_bits() & !prefix.mask() == 0).then_some(prefix)
    }

    /// One address.
    #[must_use]
    pub const fn host(address: Ipv6Addr) -> Self {
        Self { address, len: 128 }
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    /// The last address.
    #[must_use]
    pub fn last(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Bits of the prefix, 0..=128.
    #[must_use]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// True for the prefix that holds every address.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The home-agents anycast address (RFC 6275 §10.5, RFC 2526 §2): identifier 126, in interface
    /// identifiers of 64 bits with the universal/local bit zero.
    #[must_use]
    pub fn home_agents_anycast(self) -> Ipv6Addr {
        const INTERFACE_IDENTIFIER: u128 = 0xfdff_ffff_ffff_fffe;
        const ONES_BUT_ONE: u128 = u128::MAX - 1;
        let host = if self.len <= 64 { INTERFACE_IDENTIFIER } else { ONES_BUT_ONE & !self.mask() };
        Ipv6Addr::from_bits(self.address.to_bits() | host)
    }

    /// True when `address` lies inside.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits()
    }

    /// True when one of the two holds the other.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// True when every address of `other` lies inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.address)
    }

    fn mask(self) -> u128 {
        let host_bits = 128_u32.saturating_sub(u32::from(self.len));
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An IPv4 prefix whose host bits are zero; of 32 bits it is one address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Prefix {
    address: Ipv4Addr,
    len: u8,
}

impl Ipv4Prefix {
    /// `None` when the length is over 32 or a host bit is set.
    #[must_use]
    pub fn new(address: Ipv4Addr, len: u8) -> Option<Self> {
        let prefix = Self { address, len };
        (len <= 32 && address.to_bits() & !prefix.mask() == 0).then_some(prefix)
    }

    /// One address.
    #[must_use]
    pub const fn host(address: Ipv4Addr) -> Self {
        Self { address, len: 32 }
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The last address.
    #[must_use]
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Bits of the prefix, 0..=32.
    #[must_use]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// True for the prefix that holds every address.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// True when `address` lies inside.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits()
    }

    /// True when one of the two holds the other.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    fn mask(self) -> u32 {
        let host_bits = 32_u32.saturating_sub(u32::from(self.len));
        u32::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
