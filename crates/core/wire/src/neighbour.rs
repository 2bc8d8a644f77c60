//! Neighbour Discovery (RFC 4861) as far as a home link needs it: solicitations and advertisements
//! of routers and neighbours with the options of RFC 4861 §4.6 and RFC 6275 §7.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::error::Malformed;
use crate::reader::Reader;
use crate::types::flag_sets;

/// Flags of a Prefix Information option, eight bits (RFC 4861 §4.6.2, RFC 6275 §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PrefixFlags(pub u8);

impl PrefixFlags {
    /// L: on-link.
    pub const ON_LINK: Self = Self(0x80);
    /// A: addresses may be made of it.
    pub const AUTONOMOUS: Self = Self(0x40);
    /// R: the prefix field holds the router's whole address.
    pub const ROUTER_ADDRESS: Self = Self(0x20);
}

/// Prefix Information option (RFC 4861 §4.6.2).
///
/// ```text
///  0: type 3 | length 4, units of eight octets | prefix length | flags
///  4: valid lifetime   8: preferred lifetime   12: reserved   16: prefix
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PrefixInformation {
    /// Prefix length, not judged.
    pub prefix_len: u8,
    /// Flags.
    pub flags: PrefixFlags,
    /// Valid lifetime, all ones for ever.
    pub valid_secs: u32,
    /// Preferred lifetime, all ones for ever.
    pub preferred_secs: u32,
    /// Prefix, or the router's address with R.
    pub prefix: Ipv6Addr,
}

/// Home Agent Information option (RFC 6275 §7.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HomeAgentInformation {
    /// 0x8000: serves mobile routers (RFC 3963 §7.3). The other bits are reserved.
    pub flags: u16,
    /// Higher is better; 0 is the default.
    pub preference: u16,
    /// How long the router serves as home agent; never 0 on the wire.
    pub lifetime_secs: u16,
}

/// An option of Neighbour Discovery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NeighbourOption<'p> {
    /// Type 1: link-layer address of the sender.
    SourceLinkLayer(&'p [u8]),
    /// Type 2: link-layer address of the target.
    TargetLinkLayer(&'p [u8]),
    /// Type 3.
    PrefixInformation(PrefixInformation),
    /// Type 7: most time between two Router Advertisements (RFC 6275 §7.3).
    AdvertisementIntervalMs(u32),
    /// Type 8.
    HomeAgentInformation(HomeAgentInformation),
    /// Any other, or one of these with another length.
    Unknown {
        /// Type.
        kind: u8,
        /// What follows type and length.
        data: &'p [u8],
    },
}

/// An area of Neighbour Discovery options, checked once and kept as octets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NeighbourOptions<'p>(Cow<'p, [u8]>);

impl<'p> NeighbourOptions<'p> {
    /// No options.
    pub const EMPTY: NeighbourOptions<'static> = NeighbourOptions(Cow::Borrowed(&[]));

    /// Checks an area.
    pub fn parse(area: &'p [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(area);
        while !reader.is_empty() {
            next_option(&mut reader)?;
        }
        Ok(Self(Cow::Borrowed(area)))
    }

    /// An area of Prefix Information options.
    #[must_use]
    pub fn of_prefixes(prefixes: &[PrefixInformation]) -> NeighbourOptions<'static> {
        let options: Vec<_> =
            prefixes.iter().copied().map(NeighbourOption::PrefixInformation).collect();
        NeighbourOptions::of(&options)
    }

    /// An area of these options. Data that does not fill its last eight octets is padded with zero;
    /// what is longer than an option can be is cut off.
    #[must_use]
    pub fn of(options: &[NeighbourOption<'_>]) -> NeighbourOptions<'static> {
        let mut out = Vec::new();
        for option in options {
            push_option(*option, &mut out);
        }
        NeighbourOptions(Cow::Owned(out))
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The options in order.
    pub fn iter(&self) -> impl Iterator<Item = NeighbourOption<'_>> + '_ {
        let mut reader = Reader::new(&self.0);
        core::iter::from_fn(move || {
            let (kind, data) = (!reader.is_empty()).then(|| next_option(&mut reader).ok())??;
            Some(neighbour_option(kind, data))
        })
    }

    /// The Prefix Information options in order.
    pub fn prefixes(&self) -> impl Iterator<Item = PrefixInformation> + '_ {
        self.iter().filter_map(|option| match option {
            NeighbourOption::PrefixInformation(prefix) => Some(prefix),
            _ => None,
        })
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> NeighbourOptions<'static> {
        NeighbourOptions(Cow::Owned(self.0.into_owned()))
    }
}

/// Type and data of the next option; a length of zero is an error (RFC 4861 §4.6).
fn next_option<'p>(reader: &mut Reader<'p>) -> Result<(u8, &'p [u8]), Malformed> {
    let kind = reader.u8("option type")?;
    let len = usize::from(reader.u8("option length")?)
        .saturating_mul(8)
        .checked_sub(2)
        .ok_or(Malformed::Length { field: "option length" })?;
    Ok((kind, reader.slice(len, "option data")?))
}

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const ADVERTISEMENT_INTERVAL: u8 = 7;
const HOME_AGENT_INFORMATION: u8 = 8;

fn neighbour_option(kind: u8, data: &[u8]) -> NeighbourOption<'_> {
    match kind {
        SOURCE_LINK_LAYER => Ok(NeighbourOption::SourceLinkLayer(data)),
        TARGET_LINK_LAYER => Ok(NeighbourOption::TargetLinkLayer(data)),
        PREFIX_INFORMATION => prefix_information(data),
        ADVERTISEMENT_INTERVAL => advertisement_interval(data),
        HOME_AGENT_INFORMATION => home_agent_information(data),
        _ => Ok(NeighbourOption::Unknown { kind, data }),
    }
    .unwrap_or(NeighbourOption::Unknown { kind, data })
}

fn prefix_information(data: &[u8]) -> Result<NeighbourOption<'_>, Malformed> {
    let mut reader = Reader::new(data);
    let [prefix_len, flags] = reader.take("prefix length")?;
    let valid_secs = reader.u32("valid lifetime")?;
    let preferred_secs = reader.u32("preferred lifetime")?;
    reader.u32("reserved")?;
    let prefix = reader.ipv6("prefix")?;
    let flags = PrefixFlags(flags);
    let option = PrefixInformation { prefix_len, flags, valid_secs, preferred_secs, prefix };
    whole(&reader, NeighbourOption::PrefixInformation(option))
}

fn advertisement_interval(data: &[u8]) -> Result<NeighbourOption<'_>, Malformed> {
    let mut reader = Reader::new(data);
    reader.u16("reserved")?;
    let interval_ms = reader.u32("advertisement interval")?;
    whole(&reader, NeighbourOption::AdvertisementIntervalMs(interval_ms))
}

fn home_agent_information(data: &[u8]) -> Result<NeighbourOption<'_>, Malformed> {
    let mut reader = Reader::new(data);
    let flags = reader.u16("home agent flags")?;
    let preference = reader.u16("home agent preference")?;
    let lifetime_secs = reader.u16("home agent lifetime")?;
    let option = HomeAgentInformation { flags, preference, lifetime_secs };
    whole(&reader, NeighbourOption::HomeAgentInformation(option))
}

fn whole<'p>(
    reader: &Reader<'_>,
    option: NeighbourOption<'p>,
) -> Result<NeighbourOption<'p>, Malformed> {
    if reader.is_empty() { Ok(option) } else { Err(Malformed::Length { field: "option length" }) }
}

fn push_option(option: NeighbourOption<'_>, out: &mut Vec<u8>) {
    let begin = out.len();
    match option {
        NeighbourOption::SourceLinkLayer(address) => push_data(SOURCE_LINK_LAYER, address, out),
        NeighbourOption::TargetLinkLayer(address) => push_data(TARGET_LINK_LAYER, address, out),
        NeighbourOption::Unknown { kind, data } => push_data(kind, data, out),
        NeighbourOption::PrefixInformation(prefix) => {
            push_data(PREFIX_INFORMATION, &[prefix.prefix_len, prefix.flags.0], out);
            out.extend_from_slice(&prefix.valid_secs.to_be_bytes());
            out.extend_from_slice(&prefix.preferred_secs.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&prefix.prefix.octets());
        }
        NeighbourOption::AdvertisementIntervalMs(interval_ms) => {
            push_data(ADVERTISEMENT_INTERVAL, &[0; 2], out);
            out.extend_from_slice(&interval_ms.to_be_bytes());
        }
        NeighbourOption::HomeAgentInformation(agent) => {
            push_data(HOME_AGENT_INFORMATION, &agent.flags.to_be_bytes(), out);
            out.extend_from_slice(&agent.preference.to_be_bytes());
            out.extend_from_slice(&agent.lifetime_secs.to_be_bytes());
        }
    }
    let len = out.len().saturating_sub(begin);
    let units = len.div_ceil(OPTION_UNIT_OCTETS);
    out.resize(begin.saturating_add(units.saturating_mul(OPTION_UNIT_OCTETS)), 0);
    if let Some(field) = out.get_mut(begin.saturating_add(1)) {
        *field = u8::try_from(units).unwrap_or(u8::MAX);
    }
}

/// Type, a length that is filled in later, and the data as far as an option can hold it.
fn push_data(kind: u8, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(data.get(..OPTION_DATA_OCTETS_MAX).unwrap_or(data));
}

const OPTION_UNIT_OCTETS: usize = 8;
/// 255 units without type and length.
const OPTION_DATA_OCTETS_MAX: usize = 2038;

/// Flags of a Router Advertisement, eight bits (RFC 4861 §4.2, RFC 6275 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RouterFlags(pub u8);

impl RouterFlags {
    /// M: addresses by DHCPv6.
    pub const MANAGED: Self = Self(0x80);
    /// O: other configuration by DHCPv6.
    pub const OTHER: Self = Self(0x40);
    /// H: a home agent on this link.
    pub const HOME_AGENT: Self = Self(0x20);
}

/// Router Advertisement (RFC 4861 §4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterAdvertisement<'p> {
    /// 0 for unspecified.
    pub hop_limit: u8,
    /// Flags.
    pub flags: RouterFlags,
    /// As default router; 0 is none.
    pub router_lifetime_secs: u16,
    /// 0 for unspecified.
    pub reachable_ms: u32,
    /// 0 for unspecified.
    pub retransmission_ms: u32,
    /// Options.
    pub options: NeighbourOptions<'p>,
}

/// Neighbour Solicitation (RFC 4861 §4.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighbourSolicitation<'p> {
    /// Who is asked for.
    pub target: Ipv6Addr,
    /// Options.
    pub options: NeighbourOptions<'p>,
}

/// Flags of a Neighbour Advertisement, thirty-two bits (RFC 4861 §4.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NeighbourFlags(pub u32);

impl NeighbourFlags {
    /// R: from a router.
    pub const ROUTER: Self = Self(0x8000_0000);
    /// S: answers a solicitation.
    pub const SOLICITED: Self = Self(0x4000_0000);
    /// O: replaces what a cache holds.
    pub const OVERRIDE: Self = Self(0x2000_0000);
}

/// Neighbour Advertisement (RFC 4861 §4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighbourAdvertisement<'p> {
    /// Flags.
    pub flags: NeighbourFlags,
    /// Whose address is told.
    pub target: Ipv6Addr,
    /// Options.
    pub options: NeighbourOptions<'p>,
}

impl<'p> RouterAdvertisement<'p> {
    pub(crate) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        let [hop_limit, flags] = reader.take("hop limit and flags")?;
        let router_lifetime_secs = reader.u16("router lifetime")?;
        let reachable_ms = reader.u32("reachable time")?;
        let retransmission_ms = reader.u32("retransmission timer")?;
        let options = NeighbourOptions::parse(reader.rest())?;
        let flags = RouterFlags(flags);
        Ok(Self {
            hop_limit,
            flags,
            router_lifetime_secs,
            reachable_ms,
            retransmission_ms,
            options,
        })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.hop_limit, self.flags.0]);
        out.extend_from_slice(&self.router_lifetime_secs.to_be_bytes());
        out.extend_from_slice(&self.reachable_ms.to_be_bytes());
        out.extend_from_slice(&self.retransmission_ms.to_be_bytes());
        out.extend_from_slice(self.options.octets());
    }
}

impl<'p> NeighbourSolicitation<'p> {
    pub(crate) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        reader.u32("reserved")?;
        let target = reader.ipv6("target address")?;
        Ok(Self { target, options: NeighbourOptions::parse(reader.rest())? })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.target.octets());
        out.extend_from_slice(self.options.octets());
    }
}

impl<'p> NeighbourAdvertisement<'p> {
    pub(crate) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        let flags = NeighbourFlags(reader.u32("flags")?);
        let target = reader.ipv6("target address")?;
        Ok(Self { flags, target, options: NeighbourOptions::parse(reader.rest())? })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flags.0.to_be_bytes());
        out.extend_from_slice(&self.target.octets());
        out.extend_from_slice(self.options.octets());
    }
}

flag_sets!(PrefixFlags, RouterFlags, NeighbourFlags);
