//! The one place where untrusted octets are taken apart.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::error::Malformed;

/// A position in untrusted octets. Every step checks what is left, so nothing here can panic and no
/// length check can be forgotten.
#[derive(Clone, Debug)]
pub struct Reader<'p> {
    rest: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    /// Starts at the first of `octets`.
    #[must_use]
    pub const fn new(octets: &'p [u8]) -> Self {
        Self { rest: octets, at: 0 }
    }

    /// Takes the next `N` octets; `field` names what they are, for the error.
    pub fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) =
            self.rest.split_first_chunk().ok_or(Malformed::Truncated { field, at: self.at })?;
        (self.rest, self.at) = (rest, self.at.saturating_add(N));
        Ok(*head)
    }

    /// Takes the next `len` octets as a slice.
    pub fn slice(&mut self, len: usize, field: &'static str) -> Result<&'p [u8], Malformed> {
        let (head, rest) =
            self.rest.split_at_checked(len).ok_or(Malformed::Truncated { field, at: self.at })?;
        (self.rest, self.at) = (rest, self.at.saturating_add(len));
        Ok(head)
    }

    /// Takes one octet.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.take(field).map(u8::from_be_bytes)
    }

    /// Takes a big-endian number of two octets.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.take(field).map(u16::from_be_bytes)
    }

    /// Takes a big-endian number of four octets.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.take(field).map(u32::from_be_bytes)
    }

    /// Takes a big-endian number of eight octets.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.take(field).map(u64::from_be_bytes)
    }

    /// Takes an IPv6 address.
    pub fn ipv6(&mut self, field: &'static str) -> Result<Ipv6Addr, Malformed> {
        self.take::<16>(field).map(Ipv6Addr::from)
    }

    /// Takes an IPv4 address.
    pub fn ipv4(&mut self, field: &'static str) -> Result<Ipv4Addr, Malformed> {
        self.take::<4>(field).map(Ipv4Addr::from)
    }

    /// What was not taken yet.
    #[must_use]
    pub const fn rest(&self) -> &'p [u8] {
        self.rest
    }

    /// Octets taken so far.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// True when nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
