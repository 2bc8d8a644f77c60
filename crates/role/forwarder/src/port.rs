//! Where packets come in and go out: a TUN, a UDP socket, or both.

use std::{
    fmt,
    net::{SocketAddr, SocketAddrV4},
};

use homeport_forwarding::Action;
use homeport_hostnet::{Namespace, Tun, bind_udp, leave_shared_udp};
use homeport_wire::{Ipv4Header, UdpHeader, protocol};
use tokio::net::UdpSocket;

use crate::config::{Config, Error, no_port};

/// Time to live of IPv4 packets that begin here.
const TTL: u8 = 64;

/// The ports.
#[derive(Debug)]
pub(crate) struct Port {
    tun: Option<Tun>,
    udp: Option<(UdpSocket, SocketAddrV4)>,
}

/// A packet that was not sent, and why.
pub(crate) type NotSent = &'static str;

impl Port {
    /// Opens what is configured.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        if config.tun.is_none() && config.udp.is_none() {
            return Err(no_port().into());
        }
        let tun = match &config.tun {
            Some(tun) => Some(Tun::open(&tun.namespace(), &tun.name, tun.mtu).map_err(tun_failed)?),
            None => None,
        };
        let udp = match &config.udp {
            Some(udp) => {
                let socket = bind_udp(&Namespace::Current, udp.listen)
                    .map_err(|source| Error::Host { key: "udp.listen", source })?;
                let local = match socket.local_addr() {
                    Ok(SocketAddr::V4(local)) => local,
                    Ok(SocketAddr::V6(_)) | Err(_) => udp.listen,
                };
                Some((socket, local))
            }
            None => None,
        };
        Ok(Self { tun, udp })
    }

    /// Gives the UDP socket's share of the peers to others that have the same address, or takes it back.
    /// What has come already can still be read, and answers still be sent.
    pub(crate) fn leave_udp(&mut self, leaves: bool) -> Result<(), homeport_hostnet::Error> {
        match &mut self.udp {
            Some((socket, _)) if leaves => leave_shared_udp(socket)?,
            Some((socket, local)) => *socket = bind_udp(&Namespace::Current, *local)?,
            None => {}
        }
        Ok(())
    }

    /// Waits for a packet from the TUN; for ever without one.
    pub(crate) async fn recv_tun(&self, packet: &mut [u8]) -> Result<usize, Error> {
        match &self.tun {
            Some(tun) => tun.recv(packet).await.map_err(tun_failed),
            None => std::future::pending().await,
        }
    }

    /// A packet that is already there.
    pub(crate) fn try_recv_tun(&self, packet: &mut [u8]) -> Result<Option<usize>, Error> {
        match &self.tun {
            Some(tun) => tun.try_recv(packet).map_err(tun_failed),
            None => Ok(None),
        }
    }

    /// Waits until the socket has something to say; for ever without one.
    pub(crate) async fn udp_readable(&self) {
        let readable = match &self.udp {
            Some((socket, _)) => socket.readable().await,
            None => std::future::pending().await,
        };
        if let Err(error) = readable {
            tracing::warn!(%error, "the UDP socket cannot be watched");
        }
    }

    /// A datagram that is already there: length, peer and own end.
    pub(crate) fn try_recv_udp(
        &self,
        payload: &mut [u8],
    ) -> Option<(usize, SocketAddrV4, SocketAddrV4)> {
        let (socket, local) = self.udp.as_ref()?;
        match socket.try_recv_from(payload) {
            Ok((len, SocketAddr::V4(peer))) => Some((len, peer, *local)),
            // Nothing there, or the kernel reports what an earlier datagram met.
            Ok((_, SocketAddr::V6(_))) | Err(_) => None,
        }
    }

    /// Does what is to be sent; other actions are for others.
    pub(crate) async fn send(&self, action: &Action) -> Result<(), NotSent> {
        match action {
            Action::SendIpv6(packet) | Action::SendIpv4(packet) => self.send_tun(packet).await,
            Action::SendUdp { peer, local, payload, dscp_ecn, whole_only, identification } => {
                let header = Ipv4Header {
                    dscp_ecn: *dscp_ecn,
                    total_len: 0,
                    identification: *identification,
                    flags_fragment: if *whole_only { Ipv4Header::DONT_FRAGMENT } else { 0 },
                    ttl: TTL,
                    protocol: protocol::UDP,
                    source: *local.ip(),
                    destination: *peer.ip(),
                };
                self.send_udp(*peer, *local, header, payload).await
            }
            Action::Punt(_) | Action::DeliverOnLink { .. } | Action::Drop(_) => Ok(()),
        }
    }

    async fn send_tun(&self, packet: &[u8]) -> Result<(), NotSent> {
        let tun = self.tun.as_ref().ok_or("no_tun")?;
        tun.send(packet).await.map_err(|error| {
            tracing::debug!(%error, "a packet is not sent");
            "tun_refused"
        })
    }

    async fn send_udp(
        &self,
        peer: SocketAddrV4,
        local: SocketAddrV4,
        header: Ipv4Header,
        payload: &[u8],
    ) -> Result<(), NotSent> {
        match (&self.udp, &self.tun) {
            // Its own address, or there is no other way.
            (Some((socket, bound)), tun) if *bound == local || tun.is_none() => {
                let sent = socket.try_send_to(payload, SocketAddr::V4(peer));
                sent.map(drop).map_err(|error| {
                    tracing::debug!(%error, "a datagram is not sent");
                    "udp_refused"
                })
            }
            _ => {
                let udp = UdpHeader { source_port: local.port(), destination_port: peer.port() };
                let datagram = udp.emit_v4(*local.ip(), *peer.ip(), payload);
                let total_len = u16::try_from(datagram.len() + Ipv4Header::LEN);
                let total_len = total_len.map_err(|_| "too_long")?;
                if datagram.is_empty() {
                    return Err("too_long");
                }
                let mut packet = Vec::with_capacity(usize::from(total_len));
                Ipv4Header { total_len, ..header }.emit(&mut packet);
                packet.extend_from_slice(&datagram);
                self.send_tun(&packet).await
            }
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tun, &self.udp) {
            (Some(tun), Some((_, local))) => write!(f, "TUN {} and UDP {local}", tun.name()),
            (Some(tun), None) => write!(f, "TUN {}", tun.name()),
            (None, Some((_, local))) => write!(f, "UDP {local}"),
            (None, None) => f.write_str("none"),
        }
    }
}

fn tun_failed(source: homeport_hostnet::Error) -> Error {
    Error::Host { key: "tun", source }
}
