//! Home Agent Switch (RFC 5142 §3).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::{map_options, options};
use crate::error::Malformed;
use crate::limits::SWITCH_ADDRESSES_MAX;
use crate::options::{Options, OptionsBuilder};
use crate::reader::Reader;

/// Tells a mobile node to leave for another home agent.
///
/// ```text
///  6: number of addresses | reserved, dropped
///  8: addresses, sixteen octets each
///  ...: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeAgentSwitch<'p> {
    /// Other home agents, best first; none lets the mobile node search. What exceeds
    /// [`SWITCH_ADDRESSES_MAX`] is not emitted.
    pub addresses: Vec<Ipv6Addr>,
    /// Options; a Binding Refresh Advice says how much time is left.
    pub options: Options<'p>,
}

impl<'p> HomeAgentSwitch<'p> {
    /// Composes its options, behind this many addresses.
    #[must_use]
    pub const fn builder(addresses: usize) -> OptionsBuilder {
        OptionsBuilder::for_home_agent_switch(addresses)
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        let [count, _] = reader.take("number of addresses")?;
        let addresses =
            (0..count).map(|_| reader.ipv6("home agent address")).collect::<Result<_, _>>()?;
        Ok(Self { addresses, options: options(&reader)? })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let addresses = self.addresses.iter().take(SWITCH_ADDRESSES_MAX);
        out.extend_from_slice(&[u8::try_from(addresses.len()).unwrap_or(u8::MAX), 0]);
        addresses.for_each(|address| out.extend_from_slice(&address.octets()));
    }
}

map_options!(HomeAgentSwitch { addresses });
