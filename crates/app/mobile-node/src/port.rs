//! The ways in and out of the host: a UDP socket for each IPv4 care-of address, and a TUN device.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use homeport_hostnet::{Namespace, Tun, bind_udp};
use homeport_runtime::Task;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::config::{CareOfConfig, Config};
use crate::handle::Error;
use crate::home_link::HomeLink;
use crate::network::{AtHome, TunNetwork};
use crate::raw::RawPort;

/// Octets of the largest packet.
pub(crate) const PACKET_OCTETS_MAX: usize = 65_536;
/// Packets that wait for the node. When it is full the readers wait and the kernel drops.
const RECEIVED_MAX: usize = 256;
/// Pause after a failed read, so that a broken device does not spin.
pub(crate) const READ_PAUSE: Duration = Duration::from_millis(100);

/// Something that came in.
#[derive(Debug)]
pub(crate) enum Received {
    /// A datagram to an IPv4 care-of address.
    Udp { care_of: Ipv4Addr, peer: SocketAddrV4, payload: Vec<u8> },
    /// What an IPv4 packet of protocol 41 or 4 for an IPv4 care-of address contained.
    Ipv4 { care_of: Ipv4Addr, peer: Ipv4Addr, dscp_ecn: u8, payload: Vec<u8> },
    /// A packet that the kernel routed into the TUN device.
    Tun(Vec<u8>),
    /// Signalling for the home address on the home link.
    HomeLink(Vec<u8>),
}

/// The open ways, each with a task that reads.
#[derive(Debug)]
pub(crate) struct Ports {
    namespace: Namespace,
    udp: BTreeMap<Ipv4Addr, UdpPort>,
    tun: Option<TunPort>,
    home_link: Option<HomeLink>,
    /// The home agent may send data to IPv4 care-of addresses without UDP.
    bare: bool,
    received: mpsc::Sender<Received>,
}

#[derive(Debug)]
struct UdpPort {
    socket: Arc<UdpSocket>,
    /// For data without UDP.
    raw: Option<RawPort>,
    _reader: Task,
}

#[derive(Debug)]
struct TunPort {
    tun: Arc<Tun>,
    network: TunNetwork,
    reader: Task,
}

impl Ports {
    /// Opens the TUN device, if there is one, and what each care-of address needs. Everything
    /// received comes out of the channel.
    pub(crate) async fn open(config: &Config) -> Result<(Self, mpsc::Receiver<Received>), Error> {
        let (received, receiver) = mpsc::channel(RECEIVED_MAX);
        let netns = config.tun.as_ref().and_then(|tun| tun.netns.as_deref());
        let namespace = netns.map_or(Namespace::Current, Namespace::from);
        let bare = !config.force_udp;
        let udp = BTreeMap::new();
        let mut ports = Self { namespace, udp, tun: None, home_link: None, bare, received };
        if let Some(tun) = &config.tun {
            ports.open_tun(config, tun).await?;
        }
        for care_of in &config.care_of {
            ports.add(care_of).await?;
        }
        Ok((ports, receiver))
    }

    async fn open_tun(
        &mut self,
        config: &Config,
        tun: &crate::config::TunConfig,
    ) -> Result<(), Error> {
        /// Tunnel packets pass the device too, with outer headers: IPv6 in IPv6 in IPv6 at most.
        const OUTER_LEN: u16 = 80;
        let device_mtu = tun.mtu.saturating_add(OUTER_LEN);
        let device = Arc::new(Tun::open(&self.namespace, &tun.name, device_mtu)?);
        let (home, behind) = (config.home_address, &config.mobile_network_prefixes);
        let mut network = TunNetwork::set_up(&self.namespace, tun, home, behind).await?;
        if let Some(link) = &config.home_link {
            network.set_up_home_link(link).await?;
            let received = self.received.clone();
            self.home_link =
                Some(HomeLink::open(&self.namespace, link, home, config.mobile_router, received)?);
        }
        let reader = Task::spawn("tun", read_tun(Arc::clone(&device), self.received.clone()));
        self.tun = Some(TunPort { tun: device, network, reader });
        Ok(())
    }

    /// Makes the node reachable at a care-of address.
    pub(crate) async fn add(&mut self, care_of: &CareOfConfig) -> Result<(), Error> {
        if let Some(port) = &mut self.tun {
            port.network.add_care_of(care_of).await?;
        }
        let IpAddr::V4(address) = care_of.address else {
            return Ok(());
        };
        if self.udp.contains_key(&address) {
            return Ok(());
        }
        let local = SocketAddrV4::new(address, care_of.udp_port);
        let socket = Arc::new(bind_udp(&self.namespace, local)?);
        let read = read_udp(address, Arc::clone(&socket), self.received.clone());
        let open = || RawPort::open(&self.namespace, address, &self.received);
        let raw = self.bare.then(open).transpose()?;
        self.udp.insert(address, UdpPort { socket, raw, _reader: Task::spawn("udp", read) });
        Ok(())
    }

    /// Undoes that.
    pub(crate) async fn remove(&mut self, address: IpAddr) {
        if let IpAddr::V4(address) = address {
            self.udp.remove(&address);
        }
        if let Some(port) = &mut self.tun {
            port.network.remove_care_of(address).await;
        }
    }

    /// The care-of addresses that are open.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let udp = self.udp.keys().copied().map(IpAddr::V4);
        let tun = self.tun.iter().flat_map(|port| port.network.addresses());
        let mut addresses: Vec<IpAddr> = udp.chain(tun).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// True when the kernel takes packets for the home address.
    pub(crate) const fn has_tun(&self) -> bool {
        self.tun.is_some()
    }

    /// Sends a datagram from a care-of address.
    pub(crate) async fn send_udp(
        &self,
        from: Ipv4Addr,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let port = self.udp.get(&from).ok_or(SendError::NoPort)?;
        let sent = port.socket.send_to(payload, SocketAddr::V4(to)).await;
        sent.map(drop).map_err(SendError::Udp)
    }

    /// Sends an inner packet from a care-of address in an IPv4 packet.
    pub(crate) async fn send_bare(
        &self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        protocol: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let raw = self.udp.get(&from).and_then(|port| port.raw.as_ref());
        let raw = raw.ok_or(SendError::NoPort)?;
        raw.send(protocol, to, payload).await.map_err(SendError::Ipv4)
    }

    /// The link-layer address on the home link.
    pub(crate) fn link_layer_address(&self) -> Option<Vec<u8>> {
        self.home_link.as_ref().map(|link| link.address().to_vec())
    }

    /// What the kernel does with the home address on the home link from now on. When it begins to
    /// answer for it, the neighbours are told.
    pub(crate) async fn set_at_home(&mut self, at_home: AtHome) -> Result<(), Error> {
        if let Some(port) = &mut self.tun {
            port.network.set_at_home(at_home).await?;
        }
        if let Some(link) = &mut self.home_link {
            link.announce(at_home != AtHome::Away);
        }
        Ok(())
    }

    /// The kernel has this IPv4 home address from now on, or none.
    pub(crate) async fn set_ipv4_home(&mut self, address: Option<Ipv4Addr>) -> Result<(), Error> {
        if let Some(port) = &mut self.tun {
            port.network.set_ipv4_home(address).await?;
        }
        Ok(())
    }

    /// Gives a packet to the kernel.
    pub(crate) async fn send_tun(&self, packet: &[u8]) -> Result<(), SendError> {
        let port = self.tun.as_ref().ok_or(SendError::NoPort)?;
        port.tun.send(packet).await.map_err(SendError::Tun)
    }

    /// Takes back what was set up in the host.
    pub(crate) async fn close(&mut self) {
        self.udp.clear();
        if let Some(TunPort { tun, mut network, reader }) = self.tun.take() {
            network.tear_down().await;
            // The device goes with its last user: only then may another node have its name.
            reader.abort();
            if let Err(error) = reader.await {
                tracing::debug!(%error, "the TUN device is not read any more");
            }
            drop(tun);
        }
    }
}

/// A packet that did not leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Nothing is open that could carry it.
    #[error("no socket or device for it")]
    NoPort,
    /// The socket refused.
    #[error("UDP: {0}")]
    Udp(io::Error),
    /// The raw socket refused.
    #[error("IPv4: {0}")]
    Ipv4(io::Error),
    /// The device refused.
    #[error(transparent)]
    Tun(homeport_hostnet::Error),
}

async fn read_udp(care_of: Ipv4Addr, socket: Arc<UdpSocket>, received: mpsc::Sender<Received>) {
    let mut buffer = vec![0; PACKET_OCTETS_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, SocketAddr::V4(peer))) => {
                let payload = buffer.get(..len).unwrap_or_default().to_vec();
                if received.send(Received::Udp { care_of, peer, payload }).await.is_err() {
                    return;
                }
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read from a UDP socket");
                tokio::time::sleep(READ_PAUSE).await;
            }
        }
    }
}

async fn read_tun(tun: Arc<Tun>, received: mpsc::Sender<Received>) {
    let mut buffer = vec![0; PACKET_OCTETS_MAX];
    loop {
        match tun.recv(&mut buffer).await {
            Ok(len) => {
                let packet = buffer.get(..len).unwrap_or_default().to_vec();
                if received.send(Received::Tun(packet)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read from the TUN device");
                tokio::time::sleep(READ_PAUSE).await;
            }
        }
    }
}
