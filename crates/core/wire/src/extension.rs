//! The walk over IPv6 extension headers (RFC 8200 §4, RFC 6275 §6.3 and §6.4).
//!
//! For packets addressed to this node: an unknown option or routing header that RFC 8200 forbids to
//! skip is an error here. Transit packets must not be judged by this.

use core::net::Ipv6Addr;

use crate::checksum::PseudoHeader;
use crate::error::Malformed;
use crate::ipv6::{HOME_ADDRESS_OPTION, Ipv6Header, ROUTING_TYPE_HOME_ADDRESS, protocol};
use crate::limits::{EXTENSION_HEADERS_MAX, HEADER_OPTIONS_MAX};
use crate::reader::Reader;

/// A Home Address option and its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HomeAddressOption {
    /// The home address as it stands there. Not judged: see [`crate::is_unicast_routable_v6`].
    pub address: Ipv6Addr,
    /// The Option Type field, from the start of the IPv6 packet.
    pub offset: usize,
}

/// What an IPv6 packet carries behind its extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Walk<'p> {
    /// The IPv6 header.
    pub header: Ipv6Header,
    /// The Home Address option, if there is one.
    pub home_address: Option<HomeAddressOption>,
    /// Home address of a type 2 routing header with one segment left.
    pub routing_home_address: Option<Ipv6Addr>,
    /// Protocol of `payload`: the first header that is not Hop-by-Hop Options, Destination Options
    /// or Routing. Fragment, ESP and AH end the walk too.
    pub upper: u8,
    /// Where `payload` begins, from the start of the IPv6 packet.
    pub upper_offset: usize,
    /// The upper-layer octets.
    pub payload: &'p [u8],
    /// The Next Header field that names `upper`, from the start of the IPv6 packet.
    pub next_header_offset: usize,
}

impl Walk<'_> {
    /// The source that checksums and upper layers see: the home address where there is an option.
    #[must_use]
    pub fn pseudo_source(&self) -> Ipv6Addr {
        self.home_address.map_or(self.header.source, |option| option.address)
    }

    /// The destination that checksums and upper layers see.
    #[must_use]
    pub fn pseudo_destination(&self) -> Ipv6Addr {
        self.routing_home_address.unwrap_or(self.header.destination)
    }

    /// Both, with the protocol of the payload.
    #[must_use]
    pub fn pseudo_header(&self) -> PseudoHeader {
        PseudoHeader {
            source: self.pseudo_source(),
            destination: self.pseudo_destination(),
            protocol: self.upper,
        }
    }
}

/// Offset of the Next Header field in the IPv6 header.
const NEXT_HEADER_OFFSET: usize = 6;
/// Option Types that are padding.
const PAD1: u8 = 0;
const PADN: u8 = 1;

/// Walks from the IPv6 header to the upper layer. Tolerant about what honest stacks do: any padding
/// around the Home Address option, other options that may be skipped, headers in another order than
/// recommended.
pub fn walk(packet: &[u8]) -> Result<Walk<'_>, Malformed> {
    let (header, payload) = Ipv6Header::parse(packet)?;
    let mut walk = Walk {
        header,
        home_address: None,
        routing_home_address: None,
        upper: header.next_header,
        upper_offset: Ipv6Header::LEN,
        payload,
        next_header_offset: NEXT_HEADER_OFFSET,
    };
    for count in 0..=EXTENSION_HEADERS_MAX {
        match walk.upper {
            protocol::HOP_BY_HOP if count > 0 => {
                return Err(Malformed::HopByHopNotFirst { at: walk.next_header_offset });
            }
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING => {
                walk.step()?;
            }
            _ => return Ok(walk),
        }
    }
    Err(Malformed::TooManyExtensionHeaders)
}

impl Walk<'_> {
    /// Takes one extension header off the payload.
    fn step(&mut self) -> Result<(), Malformed> {
        let shift = |error| match error {
            Malformed::Truncated { field, at } => {
                Malformed::Truncated { field, at: at.saturating_add(self.upper_offset) }
            }
            other => other,
        };
        let mut reader = Reader::new(self.payload);
        let next_header = reader.u8("next header").map_err(shift)?;
        let ext_len = usize::from(reader.u8("header extension length").map_err(shift)?);
        let content_len = ext_len.saturating_mul(8).saturating_add(6);
        let content = reader.slice(content_len, "extension header").map_err(shift)?;
        let content_offset = self.upper_offset.saturating_add(2);
        match self.upper {
            protocol::ROUTING => self.routing(ext_len, content, content_offset)?,
            protocol::DESTINATION_OPTIONS => self.options(content, content_offset, true)?,
            _ => self.options(content, content_offset, false)?,
        }
        self.next_header_offset = self.upper_offset;
        self.upper = next_header;
        self.upper_offset = self.upper_offset.saturating_add(reader.at());
        self.payload = reader.rest();
        Ok(())
    }

    /// RFC 8200 §4.2; the Home Address option is known in Destination Options only.
    fn options(
        &mut self,
        content: &[u8],
        content_offset: usize,
        destination: bool,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(content);
        let mut count = 0_usize;
        while !reader.is_empty() {
            let at = content_offset.saturating_add(reader.at());
            let overrun = |_| Malformed::OptionOverrun { at };
            let kind = reader.u8("option type").map_err(overrun)?;
            if kind == PAD1 {
                continue;
            }
            let len = reader.u8("option length").map_err(overrun)?;
            let data = reader.slice(usize::from(len), "option data").map_err(overrun)?;
            if kind == PADN {
                continue;
            }
            count = count.saturating_add(1);
            if count > HEADER_OPTIONS_MAX {
                return Err(Malformed::TooManyOptions);
            }
            if destination && kind == HOME_ADDRESS_OPTION {
                let octets = data.try_into().map_err(|_| Malformed::HomeAddressLength { at })?;
                self.found(HomeAddressOption {
                    address: Ipv6Addr::from_octets(octets),
                    offset: at,
                })?;
            } else if kind >> 6 != 0 {
                return Err(Malformed::UnknownOption { kind, at });
            }
        }
        Ok(())
    }

    fn found(&mut self, option: HomeAddressOption) -> Result<(), Malformed> {
        if self.home_address.is_some() {
            return Err(Malformed::SecondHomeAddress { at: option.offset });
        }
        self.home_address = Some(option);
        Ok(())
    }

    /// RFC 8200 §4.4: without segments left any routing header is skipped; with some, only type 2
    /// as RFC 6275 §6.4.1 draws it is known: Hdr Ext Len 2, one segment left, at most one such
    /// header.
    fn routing(
        &mut self,
        ext_len: usize,
        content: &[u8],
        content_offset: usize,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(content);
        let kind = reader.u8("routing type")?;
        let segments_left = reader.u8("segments left")?;
        if segments_left == 0 {
            return Ok(());
        }
        let refused = |distance: usize| {
            Err(Malformed::RoutingHeader { at: content_offset.saturating_add(distance) })
        };
        // The routing type is the first octet of the content, segments left the second; the header
        // extension length stands right before.
        if kind != ROUTING_TYPE_HOME_ADDRESS || self.routing_home_address.is_some() {
            return refused(0);
        }
        if ext_len != 2 {
            return Err(Malformed::RoutingHeader { at: content_offset.saturating_sub(1) });
        }
        if segments_left != 1 {
            return refused(1);
        }
        reader.u32("reserved")?;
        self.routing_home_address = Some(reader.ipv6("home address")?);
        Ok(())
    }
}
