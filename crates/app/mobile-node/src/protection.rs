//! `[ipsec]`: signalling in ESP, transport mode (RFC 4877 §3), with keys that are set by hand.

use std::net::Ipv6Addr;

use homeport_esp::{EspHeader, Keys, Suite, Transform, Window, extended, protect, unprotect};
use homeport_mobile::Transmit;
use homeport_wire::{Ipv6Header, MhType, Walk, protocol, walk};
use serde::Deserialize;

use crate::config::{ConfigFault, fault, unhex};

/// Packets behind the newest that may still come.
const WINDOW_SIZE: u32 = 64;
/// SPIs below this are reserved (RFC 4303 §2.1).
const SPI_MIN: u32 = 256;
/// Where the Type field of a Mobility Header stands.
const MH_TYPE_AT: usize = 2;
/// ICMPv6 types of prefix discovery (RFC 6275 §6.7, §6.8).
const SOLICITATION: u8 = 146;
const ADVERTISEMENT: u8 = 147;

/// `[ipsec]`: the security associations with the home agent.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpsecConfig {
    /// As `homeportctl associations create` names it: `aes-cbc-hmac-sha2-256`.
    pub suite: String,
    /// What the node sends.
    pub send: DirectionConfig,
    /// What the home agent sends.
    pub receive: DirectionConfig,
    /// Sequence numbers of 64 bits.
    #[serde(default)]
    pub extended_sequence_numbers: bool,
    /// Prefix discovery is protected too.
    #[serde(default = "yes")]
    pub prefix_discovery: bool,
}

/// `[ipsec.send]`, `[ipsec.receive]`: one direction.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectionConfig {
    /// Security parameter index, 256 or above.
    pub spi: u32,
    /// In hexadecimal, of the length that the suite takes.
    #[serde(default)]
    pub encryption_key: String,
    /// In hexadecimal, of the length that the suite takes.
    #[serde(default)]
    pub authentication_key: String,
}

impl std::fmt::Debug for DirectionConfig {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectionConfig").field("spi", &self.spi).finish_non_exhaustive()
    }
}

const fn yes() -> bool {
    true
}

/// What goes out is put into ESP, what comes in is taken out.
#[derive(Debug)]
pub(crate) struct Protection {
    home_address: Ipv6Addr,
    sending: Transform,
    receiving: Transform,
    is_extended: bool,
    prefix_discovery: bool,
    /// Number that was sent last.
    sent: u64,
    window: Window,
}

impl IpsecConfig {
    /// `now_secs` is the time since the Unix epoch. The numbers begin there: a node that starts anew knows nothing
    /// of those that it has used, and sends less than one packet a second for as long as it lives.
    pub(crate) fn protection(
        &self,
        home_address: Ipv6Addr,
        now_secs: u64,
    ) -> Result<Protection, ConfigFault> {
        let suite = Suite::named(&self.suite).filter(|suite| !suite.has_counter_iv());
        let suite = suite.ok_or_else(|| {
            let names = Suite::ALL.into_iter().filter(|suite| !suite.has_counter_iv());
            let expected = names.map(Suite::name).collect::<Vec<_>>().join(", ");
            fault("ipsec.suite", format!("is {:?}", self.suite), &expected)
        })?;
        let transform = |name: &str, direction: &DirectionConfig| {
            if direction.spi < SPI_MIN {
                let key = format!("ipsec.{name}.spi");
                return Err(fault(key, format!("is {}", direction.spi), "256 to 4294967295"));
            }
            let key = |field: &str, text: &str| {
                let expected = "hexadecimal digits, two for each octet";
                let octets = unhex(text);
                octets.ok_or_else(|| fault(format!("ipsec.{name}.{field}"), "is none", expected))
            };
            let keys = Keys {
                encryption: key("encryption_key", &direction.encryption_key)?,
                authentication: key("authentication_key", &direction.authentication_key)?,
            };
            let extended = self.extended_sequence_numbers;
            Transform::new(suite, direction.spi, extended, keys).map_err(|error| {
                fault(format!("ipsec.{name}"), format!("does not fit: {error}"), "other keys")
            })
        };
        Ok(Protection {
            home_address,
            sending: transform("send", &self.send)?,
            receiving: transform("receive", &self.receive)?,
            is_extended: self.extended_sequence_numbers,
            prefix_discovery: self.prefix_discovery,
            sent: now_secs,
            window: Window::new(WINDOW_SIZE),
        })
    }
}

impl Protection {
    /// The same, with signalling for the home agent in ESP.
    pub(crate) fn outgoing(&mut self, transmit: Transmit, home_agent: Ipv6Addr) -> Transmit {
        match transmit {
            Transmit::Ipv6 { from, packet } => {
                Transmit::Ipv6 { from, packet: self.sealed(packet, home_agent) }
            }
            Transmit::Udp { from, payload } => {
                Transmit::Udp { from, payload: self.sealed(payload, home_agent) }
            }
            data @ Transmit::Ipv4 { .. } => data,
        }
    }

    fn sealed(&mut self, packet: Vec<u8>, home_agent: Ipv6Addr) -> Vec<u8> {
        let is_signalling = walk(&packet).is_ok_and(|walked| {
            walked.header.destination == home_agent && self.protects(&walked, SOLICITATION)
        });
        if !is_signalling {
            return packet;
        }
        self.sent = self.sent.saturating_add(1);
        // It was composed a moment ago, and is short.
        protect(&packet, &self.sending, self.sent, rand::random()).unwrap_or(packet)
    }

    /// What came, out of ESP.
    ///
    /// # Errors
    /// With the reason to drop it.
    pub(crate) fn incoming(
        &mut self,
        packet: Vec<u8>,
        home_agent: Ipv6Addr,
    ) -> Result<Vec<u8>, &'static str> {
        let Ok(walked) = walk(&packet) else { return Ok(packet) };
        if walked.header.source != home_agent {
            return Ok(packet);
        }
        if walked.upper == protocol::ESP && walked.pseudo_destination() == self.home_address {
            return self.opened(&packet, &walked);
        }
        if walked.upper == protocol::IPV6
            && walk(walked.payload).is_ok_and(|inner| inner.header.source == home_agent)
        {
            // A Home Agent Switch comes through the tunnel (RFC 5142 §5.1).
            let inner = self.incoming(walked.payload.to_vec(), home_agent)?;
            return Ok(rewrapped(&packet, &walked, &inner));
        }
        // Errors come in the clear (RFC 6275 §9.3.3).
        let is_error = walked.payload.get(MH_TYPE_AT) == Some(&MhType::BINDING_ERROR.0);
        let is_bare = self.protects(&walked, ADVERTISEMENT);
        if is_bare && !(walked.upper == protocol::MOBILITY && is_error) {
            return Err("esp_required");
        }
        Ok(packet)
    }

    fn protects(&self, walked: &Walk<'_>, discovery: u8) -> bool {
        match walked.upper {
            protocol::MOBILITY => true,
            protocol::ICMPV6 => self.prefix_discovery && walked.payload.first() == Some(&discovery),
            _ => false,
        }
    }

    fn opened(&mut self, packet: &[u8], walked: &Walk<'_>) -> Result<Vec<u8>, &'static str> {
        let header = EspHeader::parse(walked.payload).ok_or("esp_length")?;
        let sequence = if self.is_extended {
            extended(self.window.top(), self.window.size(), header.sequence)
        } else {
            header.sequence.into()
        };
        if !self.window.is_fresh(sequence) {
            return Err("esp_replayed");
        }
        let plain = unprotect(packet, walked, &self.receiving, sequence);
        let plain = plain.map_err(homeport_esp::EspError::name)?;
        self.window.mark(sequence);
        Ok(plain)
    }
}

/// The outer packet around another inner one.
fn rewrapped(packet: &[u8], outer: &Walk<'_>, inner: &[u8]) -> Vec<u8> {
    let mut out = packet.get(..outer.upper_offset).unwrap_or_default().to_vec();
    out.extend_from_slice(inner);
    let payload_len = out.len().saturating_sub(Ipv6Header::LEN);
    let payload_len = u16::try_from(payload_len).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(field) = out.get_mut(4..6) {
        field.copy_from_slice(&payload_len);
    }
    out
}

#[cfg(test)]
mod tests;
