//! Who plays in a case, and at which addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::lab::Home;

/// Third group of the mobile network prefixes behind each forwarder.
pub(super) const NETWORK_GROUPS: [u16; 2] = [0x50, 0x51];

/// Third octet of the IPv4 home addresses behind each forwarder; the next one is theirs too.
pub(super) const HOME_ADDRESSES4: [u8; 2] = [120, 122];

/// Hosts of the home link, by the group of the interface identifier before the number of the case.
pub const CN: u16 = 0xcc;
/// The first of the other home agents there.
pub const HA0: u16 = 0xa0;

/// The addresses of a case.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Number of the case.
    pub case: u16,
    /// The home prefix and its agent.
    pub home: Home,
    /// The home address.
    pub hoa: Ipv6Addr,
}

impl Cast {
    /// The cast of a case.
    #[must_use]
    pub fn new(case: u16, home: Home) -> Self {
        let hoa = Ipv6Addr::from(u128::from(home.prefix) | 0xc_0000 | u128::from(case));
        Self { case, home, hoa }
    }

    /// Care-of address number `n`, 1 to 9, each on a link of its own.
    #[must_use]
    pub const fn coa(&self, n: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc0 + n, self.case, 0, 0, 0, 0x11)
    }

    /// Further care-of addresses, all on one link.
    #[must_use]
    pub const fn many_coa(&self, n: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xca, self.case, 0, 0, 1, n)
    }

    /// The correspondent node.
    #[must_use]
    pub const fn cn(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xcc, self.case, 0, 0, 0, 0x99)
    }

    /// A router on the path.
    #[must_use]
    pub const fn path_router(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xce, self.case, 0, 0, 0, 1)
    }

    /// An address outside every home prefix.
    #[must_use]
    pub const fn foreign_home(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xcf, self.case, 0, 0, 0, 0x100)
    }

    /// IPv4 care-of address number `n`, 0 to 7.
    #[must_use]
    pub fn coa4(&self, n: u8) -> Ipv4Addr {
        let low = self.case * 8 + u16::from(n);
        let [high, low] = low.to_be_bytes();
        Ipv4Addr::new(198, 18, high, low)
    }

    /// IPv4 home address number `n`, 1 or 2.
    #[must_use]
    pub fn home4(&self, n: u8) -> Ipv4Addr {
        let [_, low] = self.case.to_be_bytes();
        Ipv4Addr::new(198, 51, HOME_ADDRESSES4[usize::from(self.case % 2)] + n - 1, low)
    }

    /// Another home address of the same prefix.
    #[must_use]
    pub fn other_home(&self, n: u8) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.hoa) | u128::from(n) << 32)
    }

    /// The link-local address that the home address's interface identifier makes.
    #[must_use]
    pub fn link_local_home(&self) -> Ipv6Addr {
        let low = u128::from(self.hoa) & u128::from(u64::MAX);
        Ipv6Addr::from(0xfe80_u128 << 112 | low)
    }

    /// A host on the home link.
    #[must_use]
    pub fn neighbour(&self, host: u16) -> Ipv6Addr {
        Ipv6Addr::from(
            u128::from(self.home.prefix) | u128::from(host) << 16 | u128::from(self.case),
        )
    }

    /// Its link-local address.
    #[must_use]
    pub const fn link_local_neighbour(&self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, host, self.case)
    }

    /// Mobile network prefix number `n`, 1 to 4, of 64 bits.
    #[must_use]
    pub fn network(&self, n: u16) -> Ipv6Addr {
        let group = NETWORK_GROUPS[usize::from(self.case % 2)];
        Ipv6Addr::new(0x2001, 0xdb8, group, self.case * 4 + n - 1, 0, 0, 0, 0)
    }

    /// A home address in the first mobile network.
    #[must_use]
    pub fn network_home(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.network(1)) | 0x100)
    }

    /// A fixed node in mobile network `n`.
    #[must_use]
    pub fn fixed_node(&self, n: u16) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.network(n)) | 7)
    }

    /// The address that a word of the table names.
    ///
    /// # Errors
    /// When it names none.
    pub fn address(&self, word: &str) -> Result<Ipv6Addr> {
        let numbered = |prefix: &str| word.strip_prefix(prefix)?.parse::<u16>().ok();
        Ok(match word {
            "hoa" => self.hoa,
            "ha" => self.home.agent,
            "cn" => self.cn(),
            "foreign" => self.foreign_home(),
            "link-local" => self.link_local_home(),
            "other-hoa" => self.other_home(1),
            _ => {
                if let Some(n) = numbered("c") {
                    self.coa(n)
                } else if let Some(n) = numbered("m") {
                    self.many_coa(n)
                } else if let Some(n) = numbered("n") {
                    self.fixed_node(n)
                } else {
                    word.parse().with_context(|| format!("{word:?} names no address"))?
                }
            }
        })
    }

    /// The IPv4 address that a word of the table names.
    ///
    /// # Errors
    /// When it names none.
    pub fn address4(&self, word: &str) -> Result<Ipv4Addr> {
        let numbered = |prefix: char| word.strip_prefix(prefix)?.parse::<u8>().ok();
        match (numbered('v'), numbered('h')) {
            (Some(n), _) => Ok(self.coa4(n)),
            (None, Some(n)) => Ok(self.home4(n)),
            (None, None) => word.parse().with_context(|| format!("{word:?} names no IPv4 address")),
        }
    }

    /// The mobile network prefix that `n1` or `2001:db8::` names.
    ///
    /// # Errors
    /// When it names none.
    pub fn network_of(&self, word: &str) -> Result<Ipv6Addr> {
        match word.strip_prefix('n').and_then(|n| n.parse().ok()) {
            Some(n) => Ok(self.network(n)),
            None => word.parse().with_context(|| format!("{word:?} names no prefix")),
        }
    }
}
