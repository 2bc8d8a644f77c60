//! Received packets: tests of addresses, Binding Updates, and data of mobile nodes.

use core::net::Ipv6Addr;

use homeport_wire::{
    BindingError, BindingErrorStatus, CareOfTestInit, Disposition, HomeTestInit, Icmpv6,
    Ipv6Header, Malformed, Message, Options, PacketBuilder, Walk, is_unicast_routable_v6,
    is_unicast_v6, limits, mobility_packet, protocol, walk,
};

use crate::address_tests::{care_of_test, home_test, tested};
use crate::event::{DropReason, Output};
use crate::node::Correspondent;
use crate::secret::Secret;

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'p> {
    /// From the IPv6 header on.
    pub packet: &'p [u8],
    /// This node is the home agent of the mobile node too and has a home registration for the
    /// packet's home address. A Binding Update cannot turn that into another kind of binding
    /// (RFC 6275 §9.5.1). Binding Updates with the H flag are for the home agent, where there is
    /// one: here they are refused.
    pub has_home_registration: bool,
}

impl<'p> Arrival<'p> {
    /// At a node that is no home agent.
    #[must_use]
    pub const fn new(packet: &'p [u8]) -> Self {
        Self { packet, has_home_registration: false }
    }
}

impl Correspondent {
    pub(crate) fn receive(&mut self, arrival: Arrival<'_>) -> Result<(), DropReason> {
        let walk = match walk(arrival.packet) {
            Ok(walk) => walk,
            Err(malformed) => return self.refuse(arrival.packet, None, malformed),
        };
        if walk.pseudo_destination() != self.settings.address {
            return Err(DropReason::NotForNode);
        }
        if walk.home_address.is_some_and(|option| !is_unicast_routable_v6(option.address)) {
            return Err(DropReason::HomeAddressNotRoutable);
        }
        if walk.upper != protocol::MOBILITY {
            return self.receive_data(&walk, arrival.packet);
        }
        match Message::parse(walk.payload, walk.pseudo_header()) {
            Ok(Message::HomeTestInit(init)) => self.home_test(&walk, &init),
            Ok(Message::CareOfTestInit(init)) => self.care_of_test(&walk, &init),
            Ok(Message::BindingUpdate(update)) => {
                self.receive_update(&walk, &update, arrival.has_home_registration)
            }
            // Of later RFCs, which do not speak of correspondent nodes: as good as unknown.
            Ok(
                message @ (Message::HomeAgentSwitch(_)
                | Message::Heartbeat(_)
                | Message::BindingRevocation(_)),
            ) => {
                let malformed = Malformed::UnknownType { mh_type: message.mh_type() };
                self.refuse(arrival.packet, Some(&walk), malformed)
            }
            Ok(
                Message::BindingRefreshRequest(_)
                | Message::HomeTest(_)
                | Message::CareOfTest(_)
                | Message::BindingAcknowledgement(_)
                | Message::BindingError(_),
            ) => Err(DropReason::UnexpectedMessage),
            Err(malformed) => self.refuse(arrival.packet, Some(&walk), malformed),
        }
    }

    /// Nothing is kept of it.
    fn home_test(&mut self, walk: &Walk<'_>, init: &HomeTestInit<'_>) -> Result<(), DropReason> {
        let own = self.settings.address;
        let home_address = tested(walk, own)?;
        let secret = self.secret()?;
        self.out.push(Output::Send(home_test(own, home_address, init, &secret)));
        Ok(())
    }

    fn care_of_test(
        &mut self,
        walk: &Walk<'_>,
        init: &CareOfTestInit<'_>,
    ) -> Result<(), DropReason> {
        let own = self.settings.address;
        let care_of = tested(walk, own)?;
        let secret = self.secret()?;
        self.out.push(Output::Send(care_of_test(own, care_of, init, &secret)));
        Ok(())
    }

    fn secret(&mut self) -> Result<Secret, DropReason> {
        let secret = self.secrets.current(self.now).cloned();
        if secret.is_none() {
            self.ask_again();
        }
        secret.ok_or(DropReason::SecretMissing)
    }

    fn send_to(&mut self, destination: Ipv6Addr, message: &Message<'_>) {
        let own = self.settings.address;
        let octets = message.emit(own, destination);
        self.out.push(Output::Send(mobility_packet(own, destination, None, None, &octets)));
    }

    /// RFC 6275 §9.3.1, RFC 5648 §6.5: only a binding vouches for a Home Address option, except
    /// where IPsec does.
    fn receive_data(&mut self, walk: &Walk<'_>, packet: &[u8]) -> Result<(), DropReason> {
        let Some(option) = walk.home_address else {
            self.out.push(Output::Deliver(packet.to_vec()));
            return Ok(());
        };
        match walk.upper {
            protocol::AH => return Err(DropReason::AuthenticationHeader),
            protocol::ESP => {}
            _ => {
                let (now, source) = (self.now, walk.header.source);
                let is_bound = self.cache.edit(now, option.address, |home| {
                    let binding = home.by_care_of(now, source).map(|(_, binding)| binding);
                    binding.map(|binding| binding.unreachables = 0).is_some()
                });
                if is_bound != Some(true) {
                    let status = BindingErrorStatus::UNKNOWN_BINDING;
                    self.binding_error(source, Some(walk), status)?;
                    return Err(DropReason::UnknownBinding);
                }
            }
        }
        // As if the home address stood in the IPv6 header.
        let header = walk.header;
        let packet = PacketBuilder::new(option.address, walk.pseudo_destination())
            .hop_limit(header.hop_limit)
            .traffic_class(header.traffic_class)
            .flow_label(header.flow_label)
            .build(walk.upper, walk.payload);
        self.out.push(Output::Deliver(packet));
        Ok(())
    }

    /// RFC 6275 §9.3.3: to the address on the wire, with the home address as it stood there.
    fn binding_error(
        &mut self,
        to: Ipv6Addr,
        walk: Option<&Walk<'_>>,
        status: BindingErrorStatus,
    ) -> Result<(), DropReason> {
        if !is_unicast_v6(to) {
            return Ok(());
        }
        self.within_budget()?;
        let named = walk.and_then(|walk| walk.home_address).map(|option| option.address);
        let home_address = named.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let options = Options::EMPTY;
        let error = Message::BindingError(BindingError { status, home_address, options });
        self.send_to(to, &error);
        Ok(())
    }

    pub(crate) fn within_budget(&mut self) -> Result<(), DropReason> {
        if self.errors.allow(self.now) { Ok(()) } else { Err(DropReason::RateLimited) }
    }

    /// Answers malformed octets as RFC 6275 §9.2 and RFC 8200 §4 want it; in any case they are
    /// dropped.
    fn refuse(
        &mut self,
        packet: &[u8],
        walk: Option<&Walk<'_>>,
        malformed: Malformed,
    ) -> Result<(), DropReason> {
        let dropped = Err(DropReason::Malformed(malformed));
        let Ok((header, _)) = Ipv6Header::parse(packet) else {
            return dropped;
        };
        let is_ours = walk.is_some() || header.destination == self.settings.address;
        if !is_ours || !is_unicast_v6(header.source) {
            return dropped;
        }
        match malformed.disposition() {
            Disposition::Discard => {}
            Disposition::BindingError { status } => {
                self.binding_error(header.source, walk, status)?;
            }
            Disposition::ParameterProblem { pointer_from_mh } => {
                let offset = walk.map_or(0, |walk| walk.upper_offset);
                let pointer = offset.saturating_add(usize::from(pointer_from_mh));
                self.parameter_problem(packet, header.source, 0, pointer)?;
            }
            Disposition::PacketProblem { code, pointer, .. } => {
                self.parameter_problem(packet, header.source, code, pointer)?;
            }
        }
        dropped
    }

    fn parameter_problem(
        &mut self,
        packet: &[u8],
        to: Ipv6Addr,
        code: u8,
        pointer: usize,
    ) -> Result<(), DropReason> {
        self.within_budget()?;
        let own = self.settings.address;
        let invoking = packet.get(..limits::ICMPV6_INVOKING_OCTETS_MAX).unwrap_or(packet);
        let pointer = u32::try_from(pointer).unwrap_or(u32::MAX);
        let problem = Icmpv6::ParameterProblem { code, pointer, invoking }.emit(own, to);
        self.out.push(Output::Send(PacketBuilder::new(own, to).build(protocol::ICMPV6, &problem)));
        Ok(())
    }
}
