//! The mobile node's side of Mobile IPv6, played by the test under the keys that its daemon has negotiated.

use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_esp::{EspHeader, Keys, Suite, Transform, protect, unprotect};
use homeport_wire::{BuFlags, protocol, walk};

use crate::netns::RawLink;
use crate::updates::{Acknowledged, Update, acknowledgement};

/// What it knows of its security association.
pub(super) struct Node {
    home_address: Ipv6Addr,
    home_agent: Ipv6Addr,
    outbound: Transform,
    inbound: Transform,
    /// Last one used, of Binding Updates and of ESP packets.
    sequence: u16,
    esp_sequence: u64,
}

impl Node {
    /// With the keys out of what `ip xfrm state` has printed in the mobile node's guest.
    pub(super) fn new(home_address: Ipv6Addr, home_agent: Ipv6Addr, listed: &str) -> Result<Self> {
        let (there, back) = (transform(listed, home_address)?, transform(listed, home_agent)?);
        Ok(Self {
            home_address,
            home_agent,
            outbound: there,
            inbound: back,
            sequence: 0x100,
            esp_sequence: 0,
        })
    }

    /// Takes new keys, after a rekey or a new IKE association. Sequence numbers begin anew.
    pub(super) fn rekeyed(&mut self, listed: &str) -> Result<()> {
        self.outbound = transform(listed, self.home_address)?;
        self.inbound = transform(listed, self.home_agent)?;
        self.esp_sequence = 0;
        Ok(())
    }

    /// Registers a care-of address; the acknowledgement.
    pub(super) async fn register(
        &mut self,
        link: &RawLink,
        care_of: Ipv6Addr,
        key_management_mobility: bool,
    ) -> Result<Acknowledged> {
        self.sequence += 1;
        self.esp_sequence += 1;
        let mut update = Update::new(self.home_address, self.sequence);
        update.home_agent = self.home_agent;
        update.care_of = care_of;
        if key_management_mobility {
            update.flags = update.flags.with(BuFlags::KEY_MANAGEMENT_MOBILITY);
        }
        let packet = protect(&update.packet(), &self.outbound, self.esp_sequence, rand::random())?;
        link.send(&packet).await?;
        let inbound = &self.inbound;
        let acknowledged = link.receive("acknowledgement", care_of, |packet, walk| {
            (walk.upper == protocol::ESP).then(|| opened(packet, inbound))
        });
        let acknowledged = acknowledged.await??;
        ensure!(acknowledged.message.sequence.0 == self.sequence, "{acknowledged:?}");
        ensure!(acknowledged.routing_home_address == Some(self.home_address), "{acknowledged:?}");
        Ok(acknowledged)
    }
}

fn opened(packet: &[u8], transform: &Transform) -> Result<Acknowledged> {
    let walk = walk(packet)?;
    let header = EspHeader::parse(walk.payload).context("no ESP header")?;
    acknowledgement(&unprotect(packet, &walk, transform, header.sequence.into())?)
}

/// The association of what this address sends: the last of them in the list, which is the newest.
fn transform(listed: &str, source: Ipv6Addr) -> Result<Transform> {
    let from = format!("src {source} ");
    let mut lines = listed.lines();
    let mut found = None;
    while let Some(line) = lines.next() {
        if !line.starts_with(&from) {
            continue;
        }
        let block: Vec<&str> = lines.clone().take_while(|line| !line.starts_with("src ")).collect();
        found = Some(block.join(" "));
    }
    let block = found.with_context(|| format!("no association from {source} in {listed}"))?;
    let words: Vec<&str> = block.split_whitespace().collect();
    let after = |word: &str, ahead: usize| {
        let place = words.iter().position(|it| *it == word)?;
        words.get(place + ahead).copied()
    };
    let hexadecimal = |word: Option<&str>| -> Result<Vec<u8>> {
        let digits = word.and_then(|it| it.strip_prefix("0x")).unwrap_or_default();
        (0..digits.len() / 2)
            .map(|n| Ok(u8::from_str_radix(&digits[n * 2..n * 2 + 2], 16)?))
            .collect()
    };
    let spi = after("spi", 1).and_then(|it| it.strip_prefix("0x")).context("no SPI")?;
    let spi = u32::from_str_radix(spi, 16)?;
    let (suite, keys) = match (after("aead", 1), after("enc", 1), after("auth-trunc", 1)) {
        (Some("rfc4106(gcm(aes))"), _, _) => {
            let encryption = hexadecimal(after("aead", 2))?;
            (Suite::AesGcm16, Keys { encryption, authentication: Vec::new() })
        }
        (None, Some(cipher), Some("hmac(sha256)")) => {
            let keys = Keys {
                encryption: hexadecimal(after("enc", 2))?,
                authentication: hexadecimal(after("auth-trunc", 2))?,
            };
            let suite = match cipher {
                "cbc(aes)" => Suite::AesCbcHmacSha256,
                "ecb(cipher_null)" => Suite::NullHmacSha256,
                other => bail!("cipher {other}"),
            };
            (suite, keys)
        }
        other => bail!("algorithms {other:?} in {block}"),
    };
    Ok(Transform::new(suite, spi, false, keys)?)
}
