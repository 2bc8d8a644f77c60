//! Binding Updates as a mobile node sends them, and the acknowledgements that come back.

use std::net::Ipv6Addr;

use anyhow::{Result, bail};
use homeport_binding::Key;
use homeport_signalling::{MN_HA_AUTHENTICATOR_LEN, mn_ha_authenticator};
use homeport_wire::{
    BidOption, BindingAcknowledgement, BindingUpdate, BuFlags, Lifetime, Message, MobilityOption,
    PseudoHeader, Sequence, mobility_packet, walk,
};

/// Home agent of the golden packets and of the home prefix that the cluster creates.
pub const HOME_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
/// A care-of address on a foreign link.
pub const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);

/// A home address in the golden packets' home prefix; 0x100 is theirs.
#[must_use]
pub const fn home_address(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)
}

/// A Binding Update from a foreign link; change what differs.
#[derive(Clone, Debug)]
pub struct Update {
    /// In the Home Address option.
    pub home_address: Ipv6Addr,
    /// Destination.
    pub home_agent: Ipv6Addr,
    /// Source.
    pub care_of: Ipv6Addr,
    /// Sequence number.
    pub sequence: u16,
    /// Units of four seconds.
    pub lifetime: u16,
    /// A and H by default.
    pub flags: BuFlags,
    /// BID options.
    pub bids: Vec<BidOption>,
    /// Identity, SPI and key of RFC 4285; `None` leaves all three options out.
    pub association: Option<Association>,
}

/// What a mobile node authenticates with.
#[derive(Clone, Debug)]
pub struct Association {
    /// Network Access Identifier; empty leaves the option out.
    pub nai: &'static str,
    /// Security parameter index.
    pub spi: u32,
    /// The shared key.
    pub key: [u8; 16],
    /// MESG-ID: an NTP timestamp.
    pub message_id: Option<u64>,
}

impl Update {
    /// From [`CARE_OF`] to [`HOME_AGENT`] for a quarter of an hour.
    #[must_use]
    pub const fn new(home_address: Ipv6Addr, sequence: u16) -> Self {
        Self {
            home_address,
            home_agent: HOME_AGENT,
            care_of: CARE_OF,
            sequence,
            lifetime: 225,
            flags: BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION),
            bids: Vec::new(),
            association: None,
        }
    }

    /// The packet on a foreign IPv6 link.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let octets = self.mobility_header();
        mobility_packet(self.care_of, self.home_agent, Some(self.home_address), None, &octets)
    }

    /// The packet inside UDP on a foreign IPv4 link (RFC 5555 §4.1).
    #[must_use]
    pub fn packet_in_udp(&self) -> Vec<u8> {
        let octets = self.mobility_header();
        mobility_packet(self.home_address, self.home_agent, None, None, &octets)
    }

    fn mobility_header(&self) -> Vec<u8> {
        let mut options = BindingUpdate::builder();
        for bid in &self.bids {
            options.push(&MobilityOption::BindingIdentifier(*bid));
        }
        if let Some(association) = &self.association {
            let identifier = association.nai.as_bytes();
            if !identifier.is_empty() {
                options.push(&MobilityOption::MobileNodeIdentifier { subtype: 1, identifier });
            }
            if let Some(timestamp) = association.message_id {
                options.push(&MobilityOption::MessageId { timestamp });
            }
            options.push_authentication(1, association.spi, MN_HA_AUTHENTICATOR_LEN);
        }
        let message = Message::BindingUpdate(BindingUpdate {
            sequence: Sequence(self.sequence),
            flags: self.flags,
            lifetime: Lifetime(self.lifetime),
            options: options.finish(),
        });
        let message = match &self.association {
            Some(association) => {
                let octets = message.emit_unchecked();
                let key = Key(association.key);
                let mac = mn_ha_authenticator(&key, self.care_of, self.home_address, &octets);
                message.with_authenticator(&mac)
            }
            None => message,
        };
        message.emit(self.home_address, self.home_agent)
    }
}

/// A Binding Acknowledgement as it came.
#[derive(Debug)]
pub struct Acknowledged {
    /// The message.
    pub message: BindingAcknowledgement<'static>,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Home address in the routing header.
    pub routing_home_address: Option<Ipv6Addr>,
    /// The Mobility Header's octets.
    pub octets: Vec<u8>,
}

impl Acknowledged {
    /// Status of the whole.
    #[must_use]
    pub const fn status(&self) -> u8 {
        self.message.status.0
    }

    /// The MN-HA option stands last and is right.
    #[must_use]
    pub fn is_authentic(&self, key: [u8; 16], care_of: Ipv6Addr, home_address: Ipv6Addr) -> bool {
        let mac = mn_ha_authenticator(&Key(key), care_of, home_address, &self.octets);
        let last = self.message.options.iter().last();
        matches!(last, Some(MobilityOption::Authentication { subtype: 1, data, .. }) if data == mac)
    }
}

/// Reads a Binding Acknowledgement.
///
/// # Errors
/// When the packet is none.
pub fn acknowledgement(packet: &[u8]) -> Result<Acknowledged> {
    let seen = walk(packet)?;
    let pseudo = PseudoHeader::mobility(seen.pseudo_source(), seen.pseudo_destination());
    match Message::parse(seen.payload, pseudo)?.into_owned() {
        Message::BindingAcknowledgement(message) => Ok(Acknowledged {
            message,
            destination: seen.header.destination,
            routing_home_address: seen.routing_home_address,
            octets: seen.payload.to_vec(),
        }),
        other => bail!("not an acknowledgement but {other:?}"),
    }
}
