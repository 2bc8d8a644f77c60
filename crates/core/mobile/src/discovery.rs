//! What the node asks the home link: who its home agents are (RFC 6275 §11.4.1), and which prefixes
//! it has (§11.4.2, §11.4.3).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{
    DiscoveryFlags, Icmpv6, PacketBuilder, Walk, is_unicast_routable_v6, protocol,
};

use crate::event::{DropReason, Event, HomePrefix, Outcome, Path, RequestId, Transmit};
use crate::limits;
use crate::node::MobileNode;
use crate::settings::Settings;
use crate::time::Millis;

/// Host part of the home agents' anycast address under a prefix of 64 bits (RFC 2526 §2):
/// identifier 126, all other bits one but the universal/local bit.
const ANYCAST_EUI64: u128 = 0xfdff_ffff_ffff_fffe;
/// Under a prefix of another length all other bits are one.
const ANYCAST: u128 = !1;
/// ICMPv6 type of a Mobile Prefix Advertisement.
const ICMPV6_TYPE_ADVERTISEMENT: u8 = 147;

/// A question that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    identifier: u16,
    attempt: u8,
    timeout_ms: u64,
    pub(crate) due: Millis,
}

impl Question {
    const fn new(identifier: u16, timeout_ms: u64, due: Millis) -> Self {
        Self { identifier, attempt: 0, timeout_ms, due }
    }

    fn sent(&mut self, now: Millis) {
        self.attempt = self.attempt.saturating_add(1);
        self.due = now.plus(self.timeout_ms);
        self.timeout_ms = self.timeout_ms.saturating_mul(2).min(limits::TIMEOUT_MS_MAX);
    }
}

/// The questions under way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Questions {
    pub(crate) home_agents: Option<Question>,
    pub(crate) prefixes: Option<Question>,
    /// Identifier used last.
    pub(crate) identifier: u16,
}

impl Questions {
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        [self.home_agents, self.prefixes].into_iter().flatten().map(|question| question.due).min()
    }

    fn next_identifier(&mut self) -> u16 {
        self.identifier = self.identifier.wrapping_add(1);
        self.identifier
    }
}

/// Where home agents of the home prefix are asked.
pub(crate) fn anycast(settings: &Settings) -> Ipv6Addr {
    let host = u128::MAX.checked_shr(u32::from(settings.home_prefix_len)).unwrap_or(0);
    let pattern = if settings.home_prefix_len == 64 { ANYCAST_EUI64 } else { ANYCAST };
    Ipv6Addr::from_bits(settings.home_address.to_bits() & !host | pattern & host)
}

impl MobileNode {
    /// The home agent is not known yet.
    pub(crate) const fn is_without_home_agent(&self) -> bool {
        self.settings.home_agent.is_unspecified()
    }

    pub(crate) fn discover_home_agents(&mut self, request: RequestId) {
        let possible = self.foreign_path(0).is_some();
        if possible {
            self.ask_for_home_agents();
        }
        let results = if possible { Vec::new() } else { alloc::vec![(None, Outcome::UnknownBid)] };
        self.complete(request, results);
    }

    pub(crate) fn ask_for_home_agents(&mut self) {
        let identifier = self.questions.next_identifier();
        let question = Question::new(identifier, limits::INITIAL_DISCOVERY_TIMEOUT_MS, self.now);
        self.questions.home_agents = Some(question);
    }

    /// Asks for the prefixes of the home link, unless that is under way.
    pub(crate) fn solicit_prefixes(&mut self) {
        if self.questions.prefixes.is_none() {
            let identifier = self.questions.next_identifier();
            let timeout_ms = limits::INITIAL_SOLICIT_TIMEOUT_MS;
            self.questions.prefixes = Some(Question::new(identifier, timeout_ms, self.now));
        }
    }

    /// An IPv6 care-of address, another one for each attempt.
    fn foreign_path(&self, attempt: u8) -> Option<Ipv6Addr> {
        let foreign: Vec<Ipv6Addr> = self
            .entries
            .values()
            .filter_map(|entry| match entry.address.care_of.path() {
                Path::Foreign(address) if entry.wanted => Some(address),
                _ => None,
            })
            .collect();
        let at = usize::from(attempt).checked_rem(foreign.len())?;
        foreign.get(at).copied()
    }

    /// Sends what is due.
    pub(crate) fn ask(&mut self) {
        let is_due = |question: &Option<Question>, now| question.is_some_and(|it| it.due <= now);
        if is_due(&self.questions.home_agents, self.now) {
            self.ask_home_agents();
        }
        if is_due(&self.questions.prefixes, self.now) {
            self.ask_prefixes();
        }
    }

    fn ask_home_agents(&mut self) {
        let Some(mut question) = self.questions.home_agents else {
            return;
        };
        let from = self.foreign_path(question.attempt);
        let (Some(from), true) = (from, question.attempt < limits::DISCOVERIES_MAX) else {
            self.questions.home_agents = None;
            self.event(Event::NoHomeAgent);
            self.no_home_agents_found();
            return;
        };
        let flags = match self.router() {
            Some(_) => DiscoveryFlags::MOBILE_ROUTER,
            None => DiscoveryFlags::default(),
        };
        let identifier = question.identifier;
        let to = anycast(&self.settings);
        let message = Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, flags };
        let packet = PacketBuilder::new(from, to).build(protocol::ICMPV6, &message.emit(from, to));
        self.send(Transmit::Ipv6 { from, packet });
        question.sent(self.now);
        self.questions.home_agents = Some(question);
    }

    fn ask_prefixes(&mut self) {
        let Some(mut question) = self.questions.prefixes else {
            return;
        };
        let path = self.carrier(None).map(|binding| binding.care_of.path());
        let (Some(path), true) = (path, question.attempt < limits::SOLICITATIONS_MAX) else {
            self.questions.prefixes = None;
            return;
        };
        let (home, agent) = (self.settings.home_address, self.settings.home_agent);
        let message = Icmpv6::MobilePrefixSolicitation { identifier: question.identifier };
        // The checksum sees the home address as source (RFC 6275 §6.7).
        let message = message.emit(home, agent);
        let plain = PacketBuilder::new(home, agent);
        let transmit = match path {
            Path::Foreign(from) => {
                let packet = PacketBuilder::new(from, agent).home_address_option(Some(home));
                Transmit::Ipv6 { from, packet: packet.build(protocol::ICMPV6, &message) }
            }
            Path::Home => {
                Transmit::Ipv6 { from: home, packet: plain.build(protocol::ICMPV6, &message) }
            }
            Path::Udp(from) => {
                Transmit::Udp { from, payload: plain.build(protocol::ICMPV6, &message) }
            }
        };
        self.send(transmit);
        question.sent(self.now);
        self.questions.prefixes = Some(question);
    }

    /// An ICMPv6 message for a care-of address itself: only the list of home agents.
    pub(crate) fn discovery_reply(&mut self, walked: &Walk<'_>) -> Result<(), DropReason> {
        let message = Icmpv6::parse(walked.payload, walked.pseudo_header())?;
        let Icmpv6::HomeAgentAddressDiscoveryReply { identifier, flags, addresses } = message
        else {
            return Err(DropReason::UnexpectedMessage);
        };
        if self.questions.home_agents.map(|question| question.identifier) != Some(identifier) {
            return Err(DropReason::NotOutstanding);
        }
        self.questions.home_agents = None;
        let usable = addresses.into_iter().filter(|address| is_unicast_routable_v6(*address));
        let addresses: Vec<Ipv6Addr> = usable.take(limits::SWITCH_ADDRESSES_MAX).collect();
        let serve_routers = flags.contains(DiscoveryFlags::MOBILE_ROUTER);
        self.event(Event::HomeAgents { addresses: addresses.clone(), serve_routers });
        self.home_agents_found(addresses);
        Ok(())
    }

    /// RFC 6275 §11.4.3. One that nobody asked for is answered with a solicitation, which confirms
    /// it; only what that brings counts.
    pub(crate) fn prefixes_advertised(&mut self, walked: &Walk<'_>) -> Result<(), DropReason> {
        let message = Icmpv6::parse(walked.payload, walked.pseudo_header())?;
        let Icmpv6::MobilePrefixAdvertisement { identifier, options, .. } = message else {
            return Err(DropReason::UnexpectedMessage);
        };
        let asked = self.questions.prefixes.map(|question| question.identifier);
        let solicited = asked == Some(identifier);
        let prefixes: Vec<HomePrefix> = options
            .prefixes()
            .filter(|prefix| prefix.prefix_len <= 128)
            .take(limits::HOME_PREFIXES_MAX)
            .map(|it| HomePrefix {
                prefix: it.prefix,
                length: it.prefix_len,
                valid_secs: it.valid_secs,
                preferred_secs: it.preferred_secs,
            })
            .collect();
        let valid_secs = self.valid_secs(&prefixes);
        self.event(Event::HomePrefixes { prefixes, solicited });
        if solicited {
            self.questions.prefixes = None;
            self.home_address_is_valid_for(valid_secs);
        } else {
            self.solicit_prefixes();
        }
        Ok(())
    }
}

impl MobileNode {
    /// How long the home address is valid by these prefixes, in seconds; `None` when they do not say.
    fn valid_secs(&self, prefixes: &[HomePrefix]) -> Option<u32> {
        let home = self.settings.home_address.to_bits();
        let holds = |prefix: &&HomePrefix| {
            let host = u128::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
            prefix.prefix.to_bits() & !host == home & !host
        };
        prefixes.iter().filter(holds).map(|prefix| prefix.valid_secs).max()
    }

    /// RFC 6275 §10.6.4, §11.7.1: no binding outlasts the home address. One that would is refreshed, so
    /// that both ends agree on its end.
    fn home_address_is_valid_for(&mut self, valid_secs: Option<u32>) {
        let Some(valid_secs) = valid_secs.filter(|secs| *secs != u32::MAX) else { return };
        let end = self.now.plus(u64::from(valid_secs).saturating_mul(1000));
        let now = self.now;
        for binding in self.entries.values_mut().filter_map(|entry| entry.binding.as_mut()) {
            if binding.expires > end {
                (binding.expires, binding.refresh_at) = (end, now.min(binding.refresh_at));
            }
        }
    }
}

/// True for what [`MobileNode::prefixes_advertised`] takes.
pub(crate) fn is_prefix_advertisement(walked: &Walk<'_>) -> bool {
    walked.upper == protocol::ICMPV6 && walked.payload.first() == Some(&ICMPV6_TYPE_ADVERTISEMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anycast_address_by_prefix_length() {
        let home: Ipv6Addr = "2001:db8:0:1::100".parse().unwrap();
        let mut settings = Settings::new(home, "2001:db8:0:1::1".parse().unwrap());
        for (length, expected) in [
            (64, "2001:db8:0:1:fdff:ffff:ffff:fffe"),
            (48, "2001:db8:0:ffff:ffff:ffff:ffff:fffe"),
            (96, "2001:db8:0:1::ffff:fffe"),
            (128, "2001:db8:0:1::100"),
        ] {
            settings.home_prefix_len = length;
            assert_eq!(anycast(&settings), expected.parse::<Ipv6Addr>().unwrap(), "/{length}");
        }
    }
}
