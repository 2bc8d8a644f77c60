//! Which home agents are there, and which prefix has the home link: RFC 6275 §10.5 and §10.6,
//! RFC 3963 §7.
//!
//! A cluster is one home agent per home prefix, whatever front-end answers.

use alloc::collections::BTreeMap;
use alloc::vec;
use core::net::Ipv6Addr;

use homeport_binding::{Authentication, HomePrefix, Policy, PrefixesSolicited, Protects};
use homeport_wire::{
    AdvertisementFlags, DiscoveryFlags, Icmpv6, NeighbourOptions, PacketBuilder, PrefixFlags,
    PrefixInformation, Walk, is_unicast_routable_v6, is_unicast_v6, protocol,
};

use crate::drop_reason::DropReason;
use crate::esp::Receipt;
use crate::receive::{Reply, ReplyKind, UdpOuter};

/// A question that the policy answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discovery {
    question: Question,
    /// IPv6 source on the wire.
    source: Ipv6Addr,
    destination: Ipv6Addr,
    outer: Option<UdpOuter>,
    /// It came in ESP, and was authentic.
    pub(crate) receipt: Option<Receipt>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// Who are the home agents? With R: those that serve mobile routers.
    HomeAgents { identifier: u16, mobile_router: bool },
    /// Which prefix does my home address come from?
    Prefixes { identifier: u16, home_address: Ipv6Addr, is_away: bool },
}

/// What a [`Discovery`] comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Discovered {
    /// To send.
    Reply(Reply),
    /// No answer.
    Drop(DropReason),
}

impl Discovery {
    /// Reads an ICMPv6 message. The forwarder has seen to it that a Home Address option names a
    /// bound home address (RFC 6275 §9.3.1); a Binding Error is its answer to others.
    pub(crate) fn read(walk: &Walk<'_>, outer: Option<UdpOuter>) -> Result<Self, DropReason> {
        let message = Icmpv6::parse(walk.payload, walk.pseudo_header());
        let source = walk.header.source;
        let question = match message.map_err(DropReason::Malformed)? {
            Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, flags } => {
                let mobile_router = flags.contains(DiscoveryFlags::MOBILE_ROUTER);
                Question::HomeAgents { identifier, mobile_router }
            }
            Icmpv6::MobilePrefixSolicitation { identifier } => Question::Prefixes {
                identifier,
                home_address: walk.pseudo_source(),
                is_away: walk.home_address.is_some() && walk.pseudo_source() != source,
            },
            _ => return Err(DropReason::NotSignalling),
        };
        if !is_unicast_v6(source) {
            return Err(DropReason::SourceNotUnicast);
        }
        if !is_unicast_routable_v6(walk.pseudo_source()) {
            return Err(DropReason::HomeAddressNotRoutable);
        }
        let destination = walk.header.destination;
        Ok(Self { question, source, destination, outer, receipt: None })
    }

    /// Whose policy answers: a home address, or the anycast address of a home prefix.
    #[must_use]
    pub const fn home_address(&self) -> Ipv6Addr {
        match self.question {
            Question::HomeAgents { .. } => self.destination,
            Question::Prefixes { home_address, .. } => home_address,
        }
    }

    /// To whom it was sent.
    #[must_use]
    pub const fn home_agent(&self) -> Ipv6Addr {
        self.destination
    }

    /// Who asks, for [`DiscoveryLimit`]: `None` when it may be anybody.
    #[must_use]
    pub const fn asks_for_prefixes(&self) -> Option<Ipv6Addr> {
        match self.question {
            Question::HomeAgents { .. } => None,
            Question::Prefixes { home_address, .. } => Some(home_address),
        }
    }

    /// How it came in ESP: its answer goes back in ESP.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// RFC 3776 §3.2 has prefix discovery protected where there is an association for it.
    fn lacks_protection(&self, policy: &Policy, prefix: &HomePrefix) -> bool {
        let is_protected = |it: &Protects| it.covers(Protects::PrefixDiscovery);
        self.receipt.is_none()
            && prefix.authentication == Authentication::Ipsec
            && policy.associations.iter().any(|it| is_protected(&it.revised.record.protects))
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self, policy: &Policy) -> Discovered {
        let served = policy.home_prefix.as_ref().filter(|_| policy.home_address_served);
        let Some(prefix) = served.map(|prefix| &prefix.record) else {
            return Discovered::Drop(DropReason::HomeAgentNotServed);
        };
        match self.question {
            Question::HomeAgents { identifier, mobile_router } => {
                self.home_agents(prefix, identifier, mobile_router)
            }
            Question::Prefixes { .. } if self.lacks_protection(policy, prefix) => {
                Discovered::Drop(DropReason::EspRequired)
            }
            Question::Prefixes { identifier, home_address, is_away } => {
                self.prefixes(prefix, identifier, is_away.then_some(home_address))
            }
        }
    }

    /// The command for the store, when the mobile node is being told of its home prefix and hears no
    /// older record of it in this answer (RFC 6275 §10.6.2).
    #[must_use]
    pub fn confirms(&self, policy: &Policy) -> Option<PrefixesSolicited> {
        let home_address = self.asks_for_prefixes()?;
        let (home_prefix_revision, _) = policy.revisions();
        let advertised = policy.advertised_revision?;
        (advertised <= home_prefix_revision)
            .then_some(PrefixesSolicited { home_address, home_prefix_revision })
    }

    /// RFC 6275 §10.5.1. A home agent that serves no mobile routers is named without R to who asks
    /// for one that does (RFC 3963 §7.2).
    fn home_agents(&self, prefix: &HomePrefix, identifier: u16, for_router: bool) -> Discovered {
        if self.destination != prefix.prefix.home_agents_anycast() {
            return Discovered::Drop(DropReason::HomeAgentNotServed);
        }
        if !prefix.home_agent_discovery_allowed {
            return Discovered::Drop(DropReason::DiscoveryNotAllowed);
        }
        let is_for_router = for_router && prefix.mobile_networks_allowed;
        let message = Icmpv6::HomeAgentAddressDiscoveryReply {
            identifier,
            flags: if is_for_router { DiscoveryFlags::MOBILE_ROUTER } else { DiscoveryFlags(0) },
            addresses: vec![prefix.home_agent],
        };
        // From a unicast address: an anycast address is no source.
        self.reply(prefix.home_agent, None, &message, ReplyKind::HomeAgentAddressDiscovery)
    }

    /// RFC 6275 §10.6.2: the home link's prefix with the home agent's address.
    fn prefixes(
        &self,
        prefix: &HomePrefix,
        identifier: u16,
        routing: Option<Ipv6Addr>,
    ) -> Discovered {
        if self.destination != prefix.home_agent {
            return Discovered::Drop(DropReason::HomeAgentNotServed);
        }
        if !prefix.prefix_discovery_allowed {
            return Discovered::Drop(DropReason::DiscoveryNotAllowed);
        }
        let message = advertisement(prefix, identifier);
        self.reply(prefix.home_agent, routing, &message, ReplyKind::MobilePrefixAdvertisement)
    }

    fn reply(
        &self,
        from: Ipv6Addr,
        routing: Option<Ipv6Addr>,
        message: &Icmpv6<'_>,
        kind: ReplyKind,
    ) -> Discovered {
        let octets = message.emit(from, routing.unwrap_or(self.source));
        let packet = PacketBuilder::new(from, self.source)
            .routing_home_address(routing)
            .build(protocol::ICMPV6, &octets);
        Discovered::Reply(Reply { packet, outer: self.outer, kind })
    }
}

/// RFC 6275 §10.6.3: the whole list, which is the home prefix with the home agent's address.
pub(crate) fn advertisement(prefix: &HomePrefix, identifier: u16) -> Icmpv6<'static> {
    let information = PrefixInformation {
        prefix_len: prefix.prefix.len(),
        flags: PrefixFlags::ON_LINK.with(PrefixFlags::AUTONOMOUS).with(PrefixFlags::ROUTER_ADDRESS),
        valid_secs: prefix.valid_lifetime_secs,
        preferred_secs: prefix.preferred_lifetime_secs,
        prefix: prefix.home_agent,
    };
    Icmpv6::MobilePrefixAdvertisement {
        identifier,
        // Neither M nor O: there is no DHCPv6.
        flags: AdvertisementFlags(0),
        options: NeighbourOptions::of_prefixes(&[information]),
    }
}

/// Home addresses whose last advertisement is remembered; when so many ask within a second, the
/// next one gets no answer.
const ADVERTISED_MAX: usize = 16_384;
/// RFC 6275 §10.6.3: one advertisement a second to one mobile node.
const ADVERTISEMENT_INTERVAL_MS: u64 = 1000;

/// How often prefixes are advertised to one mobile node.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryLimit {
    advertised_ms: BTreeMap<Ipv6Addr, u64>,
    /// When it was last looked for what is no longer recent, which costs a walk.
    cleared_ms: u64,
}

impl DiscoveryLimit {
    /// True when an advertisement may go to this home address; `now_ms` is monotonic.
    pub fn allow(&mut self, home_address: Ipv6Addr, now_ms: u64) -> bool {
        let is_recent = |at: u64| now_ms.saturating_sub(at) < ADVERTISEMENT_INTERVAL_MS;
        if self.advertised_ms.get(&home_address).is_some_and(|at| is_recent(*at)) {
            return false;
        }
        if self.advertised_ms.len() >= ADVERTISED_MAX && !is_recent(self.cleared_ms) {
            self.cleared_ms = now_ms;
            self.advertised_ms.retain(|_, at| is_recent(*at));
        }
        let has_room = self.advertised_ms.len() < ADVERTISED_MAX;
        if has_room {
            self.advertised_ms.insert(home_address, now_ms);
        }
        has_room
    }
}
