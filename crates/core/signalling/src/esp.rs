//! Signalling in ESP, transport mode (RFC 4877 §3, RFC 3776 §3): step 3 of the pipeline, and the way back.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_binding::{Association, Command, EspNumber, Policy, Protected, Protects};
use homeport_esp::{EspError, EspHeader, Transform, extended, unprotect};
use homeport_wire::{Walk, protocol, walk};

use crate::drop_reason::DropReason;
use crate::receive::{Arrival, Received, Reply, UdpOuter, receive};

/// A packet in ESP.
#[derive(Debug)]
pub struct Sealed {
    packet: Vec<u8>,
    outer: Option<UdpOuter>,
    header: EspHeader,
    home_address: Ipv6Addr,
    home_agent: Ipv6Addr,
}

/// Under which security association an authentic packet came. The store has yet to say that it is no replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    home_address: Ipv6Addr,
    inbound_spi: u32,
    association_revision: u64,
    sequence: u64,
    protects: Protects,
}

impl Receipt {
    /// Names the association among those of the home address.
    pub(crate) const fn inbound_spi(&self) -> u32 {
        self.inbound_spi
    }

    /// The command for the store: what the packet asks for, if anything, and the number of its answer.
    #[must_use]
    pub fn command(&self, command: Option<Command>) -> Command {
        Command::Protected(Protected {
            home_address: self.home_address,
            inbound_spi: self.inbound_spi,
            association_revision: self.association_revision,
            sequence: self.sequence,
            protects: self.protects,
            command: command.map(Box::new),
        })
    }
}

impl Sealed {
    pub(crate) fn read(walk: &Walk<'_>, arrival: Arrival<'_>) -> Result<Self, DropReason> {
        let header = EspHeader::parse(walk.payload).ok_or(DropReason::Esp(EspError::Length))?;
        Ok(Self {
            packet: Vec::from(arrival.packet),
            outer: arrival.outer,
            header,
            home_address: walk.pseudo_source(),
            home_agent: walk.header.destination,
        })
    }

    /// Whose policy decides: the Home Address option, which stands in the clear, else the source.
    #[must_use]
    pub const fn home_address(&self) -> Ipv6Addr {
        self.home_address
    }

    /// To whom it was sent.
    #[must_use]
    pub const fn home_agent(&self) -> Ipv6Addr {
        self.home_agent
    }

    /// What was protected, as it would have been read in the clear. The association is looked up among those
    /// of the home address that the packet names, so nobody registers another's (RFC 6275 §5.1).
    ///
    /// # Errors
    /// When there is no such association, or the packet is not authentic, a replay, or none that the
    /// association is for: nothing answers it.
    pub fn open(&self, policy: &Policy) -> Result<Received, DropReason> {
        let spi = self.header.spi;
        let mut known = policy.associations.iter();
        let association = known
            .find(|it| it.revised.record.inbound_spi == spi)
            .ok_or(DropReason::NoSecurityAssociation)?;
        let walked = walk(&self.packet).map_err(DropReason::Malformed)?;
        let (sequence, plain) = self.opened(association, &walked)?;
        let inner = walk(&plain).map_err(DropReason::Malformed)?;
        let protects = match inner.upper {
            protocol::MOBILITY => Protects::Mobility,
            protocol::ICMPV6 => Protects::PrefixDiscovery,
            _ => return Err(DropReason::EspSelector),
        };
        if !association.revised.record.protects.covers(protects) {
            return Err(DropReason::EspSelector);
        }
        let receipt = Receipt {
            home_address: self.home_address,
            inbound_spi: spi,
            association_revision: association.revised.revision,
            sequence,
            protects,
        };
        let arrival = Arrival { packet: &plain, outer: self.outer };
        Ok(match receive(arrival) {
            Received::Update(mut update) => {
                update.receipt = Some(receipt);
                Received::Update(update)
            }
            Received::Revocation(mut acknowledgement) => {
                acknowledgement.receipt = Some(receipt);
                Received::Revocation(acknowledgement)
            }
            Received::Discovery(mut discovery) => {
                discovery.receipt = Some(receipt);
                Received::Discovery(discovery)
            }
            // Errors go in the clear (RFC 6275 §9.3.3), and what is dropped needs no receipt.
            other => other,
        })
    }

    /// All bits of the sequence number, and the packet in the clear.
    fn opened(
        &self,
        association: &Association,
        walked: &Walk<'_>,
    ) -> Result<(u64, Vec<u8>), DropReason> {
        let record = &association.revised.record;
        let is_extended = record.extended_sequence_numbers;
        let transform =
            Transform::new(record.suite, record.inbound_spi, is_extended, record.inbound.clone())
                .map_err(|_| DropReason::EspKeys)?;
        let window = &association.window;
        let low = self.header.sequence;
        let sequence =
            if is_extended { extended(window.top(), window.size(), low) } else { low.into() };
        // What came before need not be decrypted; the store decides about the rest, which knows newer ones.
        if !window.is_fresh(sequence) {
            return Err(DropReason::EspReplayed);
        }
        let open = |sequence| {
            unprotect(&self.packet, walked, &transform, sequence).map(|plain| (sequence, plain))
        };
        // The window may be old by the time it is here: others may have seen the upper half change.
        let opened = open(sequence).or_else(|error| match sequence.checked_add(1 << 32) {
            Some(later) if is_extended && error == EspError::Integrity => open(later),
            _ => Err(error),
        });
        opened.map_err(DropReason::Esp)
    }
}

/// The reply in ESP. `random` is unpredictable.
///
/// # Errors
/// When the policy does not have the association of this number (a newer one has), or its keys do not fit.
pub fn protect(
    reply: &Reply,
    number: EspNumber,
    policy: &Policy,
    random: [u8; 16],
) -> Result<Reply, DropReason> {
    let mut known = policy.associations.iter().map(|it| &it.revised.record);
    let record = known
        .find(|it| it.inbound_spi == number.inbound_spi)
        .ok_or(DropReason::NoSecurityAssociation)?;
    let transform = Transform::new(
        record.suite,
        record.outbound_spi,
        record.extended_sequence_numbers,
        record.outbound.clone(),
    )
    .map_err(|_| DropReason::EspKeys)?;
    let packet = homeport_esp::protect(&reply.packet, &transform, number.sequence, random)
        .map_err(DropReason::Esp)?;
    Ok(Reply { packet, outer: reply.outer, kind: reply.kind })
}
