//! Bare IPv4 tunnels: packets of protocol 41 and 4 at an IPv4 care-of address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use homeport_hostnet::{Error, Namespace, bind_raw};
use homeport_runtime::Task;
use homeport_wire::{Ipv4Header, protocol};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::port::{PACKET_OCTETS_MAX, READ_PAUSE, Received};

/// A raw socket for each of the two protocols. Without one the kernel would answer that it does not
/// know the protocol.
#[derive(Debug)]
pub(crate) struct RawPort {
    ipv6: Arc<UdpSocket>,
    ipv4: Arc<UdpSocket>,
    _readers: [Task; 2],
}

impl RawPort {
    /// Needs privileges.
    pub(crate) fn open(
        namespace: &Namespace,
        care_of: Ipv4Addr,
        received: &mpsc::Sender<Received>,
    ) -> Result<Self, Error> {
        let open = |protocol| bind_raw(namespace, care_of.into(), protocol).map(Arc::new);
        let (ipv6, ipv4) = (open(protocol::IPV6)?, open(protocol::IPV4)?);
        let reader = |socket: &Arc<UdpSocket>| {
            Task::spawn("bare ipv4", read(care_of, Arc::clone(socket), received.clone()))
        };
        let readers = [reader(&ipv6), reader(&ipv4)];
        Ok(Self { ipv6, ipv4, _readers: readers })
    }

    /// Sends an inner packet; the kernel puts the IPv4 header on.
    pub(crate) async fn send(&self, protocol: u8, to: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
        let socket = if protocol == protocol::IPV4 { &self.ipv4 } else { &self.ipv6 };
        socket.send_to(packet, SocketAddr::V4(SocketAddrV4::new(to, 0))).await.map(drop)
    }
}

async fn read(care_of: Ipv4Addr, socket: Arc<UdpSocket>, received: mpsc::Sender<Received>) {
    let mut buffer = vec![0; PACKET_OCTETS_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, _)) => {
                let packet = buffer.get(..len).unwrap_or_default();
                let Ok((header, payload)) = Ipv4Header::parse(packet) else {
                    continue;
                };
                let (peer, dscp_ecn, payload) = (header.source, header.dscp_ecn, payload.to_vec());
                let packet = Received::Ipv4 { care_of, peer, dscp_ecn, payload };
                if received.send(packet).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read from a raw socket");
                tokio::time::sleep(READ_PAUSE).await;
            }
        }
    }
}
