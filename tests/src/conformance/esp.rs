//! The mobile node's end of IPsec: what its stage sends to the home agent is put into ESP, what comes is taken out.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};
use homeport_api::admin::{EspDirection, EspSuite, Protects, SecurityAssociation};
use homeport_esp::{EspHeader, Keys, Suite, Transform, Window, protect, unprotect};
use homeport_wire::{protocol, walk};

use super::decode::{Body, Packet, decode};

/// ICMPv6 type of a Mobile Prefix Solicitation.
const SOLICITATION: u8 = 146;
/// Packets of the home agent behind the newest that may still come.
const WINDOW_SIZE: u32 = 64;

/// The associations of one home address, and its numbers.
#[derive(Debug)]
pub struct Peer {
    home: Ipv6Addr,
    agent: Ipv6Addr,
    inbound: (u32, Keys),
    outbound: (u32, Keys),
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    sent: u64,
    came: Window,
}

impl Peer {
    /// Of the case with this number.
    #[must_use]
    pub fn new(case: u16, home: Ipv6Addr, agent: Ipv6Addr) -> Self {
        let spi = 0x1_0000 + u32::from(case) * 2;
        let keys = |octet| Keys { encryption: vec![octet; 16], authentication: vec![octet; 32] };
        let numbers = Mutex::new(Numbers { sent: 0, came: Window::new(WINDOW_SIZE) });
        Self { home, agent, inbound: (spi, keys(0x31)), outbound: (spi + 1, keys(0x42)), numbers }
    }

    /// As an operator gives them to the cluster.
    #[must_use]
    pub fn association(&self) -> SecurityAssociation {
        let direction = |(spi, keys): &(u32, Keys)| {
            Some(EspDirection {
                spi: *spi,
                encryption_key: keys.encryption.clone().into(),
                authentication_key: keys.authentication.clone().into(),
            })
        };
        SecurityAssociation {
            home_address: self.home.to_string(),
            protects: Protects::Signalling.into(),
            suite: EspSuite::AesCbcHmacSha2256.into(),
            replay_window: WINDOW_SIZE,
            inbound: direction(&self.inbound),
            outbound: direction(&self.outbound),
            ..SecurityAssociation::default()
        }
    }

    /// The packet in ESP, if it is signalling of the home address.
    ///
    /// # Errors
    /// When it cannot be put there.
    pub fn sealed(&self, packet: &[u8]) -> Result<Vec<u8>> {
        self.sealed_by(packet, &self.inbound.1)
    }

    /// The same under keys that the home agent does not have.
    ///
    /// # Errors
    /// As [`Self::sealed`].
    pub fn forged(&self, packet: &[u8]) -> Result<Vec<u8>> {
        let mut keys = self.inbound.1.clone();
        keys.authentication[0] ^= 1;
        self.sealed_by(packet, &keys)
    }

    fn sealed_by(&self, packet: &[u8], keys: &Keys) -> Result<Vec<u8>> {
        let Ok(walked) = walk(packet) else { return Ok(packet.to_vec()) };
        let is_signalling = walked.upper == protocol::MOBILITY
            || (walked.upper == protocol::ICMPV6 && walked.payload.first() == Some(&SOLICITATION));
        let is_ours =
            walked.header.destination == self.agent && walked.pseudo_source() == self.home;
        if !is_signalling || !is_ours {
            return Ok(packet.to_vec());
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.sent += 1;
        let transform = Transform::new(SUITE, self.inbound.0, false, keys.clone())?;
        protect(packet, &transform, numbers.sent, rand::random())
            .map_err(|error| anyhow!("{error}"))
    }

    /// What came, out of ESP if it was in ESP.
    ///
    /// # Errors
    /// When the home agent sends in the clear what it must protect, uses a number twice, or is not authentic.
    pub fn opened(&self, packet: Packet) -> Result<Packet> {
        let protected = matches!(packet.body, Body::Other(protocol::ESP, _));
        if !protected {
            let is_answer = packet.acknowledgement().is_some();
            ensure!(!is_answer, "an acknowledgement in the clear: {}", packet.summary());
            return Ok(packet);
        }
        ensure!(packet.source == IpAddr::V6(self.agent), "ESP from {}", packet.source);
        let walked = walk(&packet.octets).map_err(|error| anyhow!("{error}"))?;
        let header = EspHeader::parse(walked.payload).context("no ESP header")?;
        ensure!(header.spi == self.outbound.0, "SPI {:#x}", header.spi);
        let sequence = header.sequence.into();
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(numbers.came.is_fresh(sequence), "ESP number {sequence} once more, or too late");
        let transform = Transform::new(SUITE, self.outbound.0, false, self.outbound.1.clone())?;
        let plain = unprotect(&packet.octets, &walked, &transform, sequence);
        let plain = plain.map_err(|error| anyhow!("ESP number {sequence}: {error}"))?;
        numbers.came.mark(sequence);
        decode(&plain)
    }
}

const SUITE: Suite = Suite::AesCbcHmacSha256;
