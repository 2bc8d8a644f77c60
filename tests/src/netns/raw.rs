//! A foreign link whose only node is the test: it sends what it wants, and sees what comes.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use homeport_hostnet::{Namespace, Network, Route, Tun};
use homeport_wire::{Icmpv6, PacketBuilder, Walk, protocol, walk};
use tokio::time::timeout;

use crate::PATIENCE;

/// Prefix of the link.
const PREFIX: &str = "2001:db8:e::/64";
/// Octets of the largest packet.
const PACKET_OCTETS_MAX: usize = 65_536;

/// See the module.
pub(crate) struct RawLink {
    tun: Tun,
    _network: Network,
}

impl RawLink {
    /// Adds the link to the router.
    pub(crate) async fn open(router: &str) -> Result<Self> {
        let namespace = Namespace::from(router);
        let tun = Tun::open(&namespace, "raw0", 1500)?;
        let network = Network::open(&namespace)?;
        network.replace_route(&Route::to(PREFIX.parse()?).device("raw0")).await?;
        Ok(Self { tun, _network: network })
    }

    /// Sends a packet to the router, whatever its source is.
    pub(crate) async fn send(&self, packet: &[u8]) -> Result<()> {
        Ok(self.tun.send(packet).await?)
    }

    /// The next packet, unless none comes in time.
    pub(super) async fn next(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let mut octets = vec![0; PACKET_OCTETS_MAX];
        let Ok(received) = timeout(patience, self.tun.recv(&mut octets)).await else {
            return Ok(None);
        };
        octets.truncate(received?);
        Ok(Some(octets))
    }

    /// The next packet that is to this address, and of which `read` makes something.
    pub(crate) async fn receive<T>(
        &self,
        what: &str,
        destination: Ipv6Addr,
        mut read: impl FnMut(&[u8], &Walk<'_>) -> Option<T>,
    ) -> Result<T> {
        let receive = async {
            let mut octets = vec![0; PACKET_OCTETS_MAX];
            loop {
                let len = self.tun.recv(&mut octets).await?;
                let packet = octets.get(..len).unwrap_or_default();
                let Ok(seen) = walk(packet) else { continue };
                if seen.header.destination == destination
                    && let Some(value) = read(packet, &seen)
                {
                    return Ok(value);
                }
            }
        };
        timeout(PATIENCE, receive).await.with_context(|| format!("no {what} came"))?
    }
}

/// An echo request without any option.
pub(super) fn echo_request(source: Ipv6Addr, destination: Ipv6Addr, identifier: u16) -> Vec<u8> {
    let message = Icmpv6::EchoRequest { identifier, sequence: 1, data: b"homeport end to end" };
    PacketBuilder::new(source, destination)
        .build(protocol::ICMPV6, &message.emit(source, destination))
}
