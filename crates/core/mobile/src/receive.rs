//! Received packets: which are signalling, which are data, and who may have sent them.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use homeport_wire::{
    Bid, BindingRevocation, BindingRevocationAcknowledgement, BindingRevocationIndication,
    Ipv6Header, Message, MobilityOption, Options, PseudoHeader, RevocationFlags, RevocationStatus,
    RevocationTrigger, protocol, walk,
};

use crate::authentication::verify;
use crate::compose::{push_identity, seal};
use crate::discovery::is_prefix_advertisement;
use crate::echo::is_echo_request;
use crate::event::{DropReason, Event, LossReason, Output, Path};
use crate::limits;
use crate::node::MobileNode;
use crate::reaction::Purpose;

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub enum Arrival<'p> {
    /// An IPv6 packet for a care-of address, or on the home link for the home address.
    Ipv6(&'p [u8]),
    /// The payload of a datagram for an IPv4 care-of address.
    Udp {
        /// The care-of address.
        care_of: Ipv4Addr,
        /// Who sent the datagram.
        peer: SocketAddrV4,
        /// The inner packet.
        payload: &'p [u8],
    },
    /// The payload of an IPv4 packet of protocol 41 or 4 for an IPv4 care-of address.
    Ipv4 {
        /// The care-of address.
        care_of: Ipv4Addr,
        /// Who sent the packet.
        peer: Ipv4Addr,
        /// Type of service of the IPv4 header.
        dscp_ecn: u8,
        /// The inner packet.
        payload: &'p [u8],
    },
}

impl MobileNode {
    pub(crate) fn receive(&mut self, arrival: Arrival<'_>) -> Result<(), DropReason> {
        match arrival {
            Arrival::Ipv6(packet) => self.receive_ipv6(packet),
            Arrival::Udp { care_of, peer, payload } => {
                if self.settings.home_agent_v4 != Some(peer) {
                    return Err(DropReason::NotFromHomeAgent);
                }
                if self.bid_of(Path::Udp(care_of)).is_none() && !self.left_from_there(care_of) {
                    return Err(DropReason::NotForNode);
                }
                self.receive_inner(payload, 0, Path::Udp(care_of), Carriage::Udp)
            }
            Arrival::Ipv4 { care_of, peer, dscp_ecn, payload } => {
                if self.settings.home_agent_v4.map(|address| *address.ip()) != Some(peer) {
                    return Err(DropReason::NotFromHomeAgent);
                }
                if self.bid_of(Path::Udp(care_of)).is_none() {
                    return Err(DropReason::NotForNode);
                }
                self.receive_inner(payload, dscp_ecn, Path::Udp(care_of), Carriage::Tunnel)
            }
        }
    }

    /// A de-registration of everything may leave from an address that is in no list.
    fn left_from_there(&self, care_of: Ipv4Addr) -> bool {
        self.exchanges.iter().any(|exchange| exchange.leaves_from(Path::Udp(care_of)))
    }

    fn receive_ipv6(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        let walked = walk(packet)?;
        let home = self.settings.home_address;
        let header = walked.header;
        let path =
            if header.destination == home { Path::Home } else { Path::Foreign(header.destination) };
        match walked.upper {
            protocol::MOBILITY => {
                let carriage = match (path, walked.routing_home_address) {
                    (Path::Home, None) => Carriage::Direct,
                    (Path::Foreign(_), Some(address)) if address == home => Carriage::Direct,
                    (Path::Foreign(_), None) => Carriage::Bare,
                    _ => return Err(DropReason::NotForNode),
                };
                if header.source != self.settings.home_agent {
                    return Err(DropReason::NotFromHomeAgent);
                }
                let pseudo = walked.pseudo_header();
                self.signalled(path, carriage, walked.payload, pseudo)
            }
            protocol::IPV6 | protocol::IPV4 if walked.routing_home_address.is_none() => {
                if header.source != self.settings.home_agent {
                    return Err(DropReason::NotFromHomeAgent);
                }
                if path == Path::Home || self.bid_of(path).is_none() {
                    return Err(DropReason::NotForNode);
                }
                self.receive_inner(walked.payload, header.traffic_class, path, Carriage::Tunnel)
            }
            protocol::ICMPV6
                if matches!(path, Path::Foreign(_)) && walked.routing_home_address.is_none() =>
            {
                self.discovery_reply(&walked)
            }
            protocol::ICMPV6
                if header.source == self.settings.home_agent
                    && walked.routing_home_address == Some(home)
                    && self.bid_of(path).is_some()
                    && is_echo_request(&walked) =>
            {
                self.echo_requested(header.destination, &walked)
            }
            _ if header.source == self.settings.home_agent
                && (path == Path::Home || walked.routing_home_address == Some(home))
                && is_prefix_advertisement(&walked) =>
            {
                self.prefixes_advertised(&walked)
            }
            _ if path == Path::Home && self.bid_of(Path::Home).is_some() => {
                self.out.push(Output::Deliver { path, packet: packet.to_vec() });
                Ok(())
            }
            _ => Err(DropReason::NotForNode),
        }
    }

    /// What was inside a tunnel or a datagram: data, or signalling of the home agent.
    fn receive_inner(
        &mut self,
        inner: &[u8],
        outer_traffic_class: u8,
        path: Path,
        carriage: Carriage,
    ) -> Result<(), DropReason> {
        let from_agent = Ipv6Header::parse(inner).is_ok_and(|(header, _)| {
            header.source == self.settings.home_agent
                && header.destination == self.settings.home_address
                && matches!(header.next_header, protocol::MOBILITY | protocol::ICMPV6)
        });
        if from_agent {
            let walked = walk(inner)?;
            if walked.upper == protocol::MOBILITY {
                return self.signalled(path, carriage, walked.payload, walked.pseudo_header());
            }
            if is_prefix_advertisement(&walked) {
                return self.prefixes_advertised(&walked);
            }
        }
        let packet = self.decapsulate(inner, outer_traffic_class)?;
        self.out.push(Output::Deliver { path, packet });
        Ok(())
    }

    fn signalled(
        &mut self,
        path: Path,
        carriage: Carriage,
        header: &[u8],
        pseudo: PseudoHeader,
    ) -> Result<(), DropReason> {
        // Acknowledgements and indications come to the care-of address with a routing header, not
        // through its tunnel (RFC 6275 §6.1.8, RFC 5846 §7.1); errors come without one.
        let is_direct = matches!(carriage, Carriage::Direct | Carriage::Udp);
        match Message::parse(header, pseudo)? {
            Message::BindingAcknowledgement(ba) if is_direct => {
                self.acknowledged(path, header, &ba)
            }
            Message::BindingRevocation(BindingRevocation::Indication(indication)) if is_direct => {
                self.revoked(path, header, &indication)
            }
            Message::BindingRefreshRequest(request) if carriage != Carriage::Bare => {
                self.refresh_requested(&request.options);
                Ok(())
            }
            Message::HomeAgentSwitch(switch) if carriage != Carriage::Bare => {
                self.switched(path, header, &switch);
                Ok(())
            }
            Message::BindingError(error) => {
                self.event(Event::BindingError { status: error.status });
                Ok(())
            }
            _ => Err(DropReason::UnexpectedMessage),
        }
    }

    /// RFC 6275 §11.7.4, RFC 5648 §5.8: an update at least for the bindings that are named. It is
    /// bound by the update rate like any other, so the request needs no authentication.
    fn refresh_requested(&mut self, options: &Options<'_>) {
        let bids = named_bids(options);
        let wanted: Vec<Bid> = self
            .entries
            .values()
            .filter(|entry| entry.wanted && entry.binding.is_some())
            .map(|entry| entry.address.bid)
            .filter(|bid| bids.is_empty() || bids.contains(bid))
            .filter(|bid| !self.exchanges.iter().any(|exchange| exchange.contains(*bid)))
            .collect();
        self.event(Event::RefreshRequested { bids });
        if !wanted.is_empty() {
            self.enqueue(Purpose::Register, wanted, self.settings.refresh.bulk);
        }
    }

    /// RFC 5846 §10: the named bindings, or all, are gone; the answer says so.
    fn revoked(
        &mut self,
        path: Path,
        header: &[u8],
        indication: &BindingRevocationIndication<'_>,
    ) -> Result<(), DropReason> {
        verify(&self.settings, path, header, &indication.options)?;
        if self.entries.is_empty() {
            return Err(DropReason::NotForNode);
        }
        let named = named_bids(&indication.options);
        let (mut status, ended) = self.judge_revocation(indication, &named);
        let before = self.revocation.filter(|(last, _)| *last == indication.sequence);
        if let Some((_, answered)) = before.filter(|_| ended.is_empty()) {
            // The answer got lost, and what it was about is gone: it stays the same.
            status = answered;
        }
        self.revocation = Some((indication.sequence, status));
        self.answer_revocation(path, indication, status);
        for bid in ended {
            self.withdraw(bid);
            if let Some(entry) = self.entries.get_mut(&bid) {
                entry.begin_epoch();
                entry.wanted = false;
                entry.binding = None;
            }
            self.event(Event::Lost { bid, reason: LossReason::Revoked });
        }
        if self.entries.values().all(|entry| entry.binding.is_none()) {
            // What hung on the bindings is gone with them.
            self.router_served(false);
            self.flows.forget_all();
            self.ipv4_home_address = None;
        }
        Ok(())
    }

    /// The status of the answer and the bindings that end.
    fn judge_revocation(
        &mut self,
        indication: &BindingRevocationIndication<'_>,
        named: &[Bid],
    ) -> (RevocationStatus, Vec<Bid>) {
        if indication.flags.contains(RevocationFlags::PROXY) {
            return (RevocationStatus::PROXY_NOT_SUPPORTED, Vec::new());
        }
        if indication.flags.contains(RevocationFlags::GLOBAL) {
            return (RevocationStatus::GLOBAL_NOT_AUTHORIZED, Vec::new());
        }
        if GLOBAL_TRIGGERS.contains(&indication.trigger) {
            return (RevocationStatus::TRIGGER_NOT_SUPPORTED, Vec::new());
        }
        if indication.flags.contains(RevocationFlags::IPV4_ONLY) {
            let address = indication.options.iter().find_map(|option| match option {
                MobilityOption::Ipv4HomeAddress { address, .. } => Some(address),
                _ => None,
            });
            let status = match (address, self.ipv4_home_address) {
                (None, _) => RevocationStatus::IPV4_HOME_ADDRESS_REQUIRED,
                (Some(named), Some(own)) if named == own => {
                    self.ipv4_home_address = None;
                    self.ipv4_wish = None;
                    RevocationStatus::SUCCESS
                }
                (Some(_), _) => RevocationStatus::BINDING_DOES_NOT_EXIST,
            };
            return (status, Vec::new());
        }
        let ended: Vec<Bid> = self
            .entries
            .values()
            .filter(|entry| entry.binding.is_some())
            .map(|entry| entry.address.bid)
            .filter(|bid| named.is_empty() || named.contains(bid))
            .collect();
        let status = match (ended.len(), named.len()) {
            (0, _) => RevocationStatus::BINDING_DOES_NOT_EXIST,
            (ended, named) if ended < named => RevocationStatus::PARTIAL_SUCCESS,
            _ => RevocationStatus::SUCCESS,
        };
        (status, ended)
    }

    fn answer_revocation(
        &mut self,
        path: Path,
        indication: &BindingRevocationIndication<'_>,
        status: RevocationStatus,
    ) {
        let mut options = BindingRevocation::builder();
        push_identity(&self.settings, None, &mut options);
        let answer = BindingRevocationAcknowledgement {
            status,
            sequence: indication.sequence,
            flags: indication.flags,
            options: options.finish(),
        };
        let message = Message::BindingRevocation(BindingRevocation::Acknowledgement(answer));
        let transmit = seal(&self.settings, path, message);
        self.send(transmit);
    }
}

/// Triggers that only make sense between gateways (RFC 5846 §5.1).
const GLOBAL_TRIGGERS: [RevocationTrigger; 2] =
    [RevocationTrigger::PER_PEER_POLICY, RevocationTrigger::LOCAL_POLICY];

/// What a message came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carriage {
    /// Nothing: a packet to the home address, by a routing header when the node is away.
    Direct,
    /// Nothing, and addressed to the care-of address itself.
    Bare,
    /// The tunnel from the home agent to a care-of address.
    Tunnel,
    /// A datagram: tunnel and direct look alike.
    Udp,
}

fn named_bids(options: &Options<'_>) -> Vec<Bid> {
    let bids = options.iter().filter_map(|option| match option {
        MobilityOption::BindingIdentifier(option) => Some(option.bid),
        _ => None,
    });
    bids.take(limits::BINDINGS_MAX).collect()
}
