//! The home link: signalling that the kernel would not give away, and the word to the neighbours.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use homeport_hostnet::{Error, Ethernet, Namespace, bind_raw};
use homeport_runtime::Task;
use homeport_wire::{
    Icmpv6, NeighbourAdvertisement, NeighbourFlags, NeighbourOption, NeighbourOptions,
    PacketBuilder, protocol, walk,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::config::HomeLinkConfig;
use crate::port::{PACKET_OCTETS_MAX, READ_PAUSE, Received};

/// All nodes of a link, by IPv6 and by Ethernet (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_ETHERNET: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// Of Neighbour Discovery (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;
/// MAX_NEIGHBOR_ADVERTISEMENT and RetransTimer (RFC 4861 §10).
const ADVERTISEMENTS: u8 = 3;
const ADVERTISEMENT_PAUSE: Duration = Duration::from_secs(1);

/// The interface on the home link.
#[derive(Debug)]
pub(crate) struct HomeLink {
    ethernet: Arc<Ethernet>,
    home_address: Ipv6Addr,
    /// Said with the address: a mobile router is one at home too (RFC 3963 §6.2).
    flags: NeighbourFlags,
    announcer: Option<Task>,
    /// Nobody reads it. Without it the kernel would tell the home agent that it does not know the
    /// Mobility Header.
    _mobility: UdpSocket,
    _reader: Task,
}

impl HomeLink {
    pub(crate) fn open(
        namespace: &Namespace,
        config: &HomeLinkConfig,
        home_address: Ipv6Addr,
        is_router: bool,
        received: mpsc::Sender<Received>,
    ) -> Result<Self, Error> {
        let ethernet = Arc::new(Ethernet::open(namespace, &config.interface)?);
        let read = read(Arc::clone(&ethernet), home_address, received);
        let reader = Task::spawn("home link", read);
        let mobility = bind_raw(namespace, home_address.into(), protocol::MOBILITY)?;
        let flags = match is_router {
            true => NeighbourFlags::OVERRIDE.with(NeighbourFlags::ROUTER),
            false => NeighbourFlags::OVERRIDE,
        };
        Ok(Self {
            ethernet,
            home_address,
            flags,
            announcer: None,
            _mobility: mobility,
            _reader: reader,
        })
    }

    /// The interface's link-layer address.
    pub(crate) fn address(&self) -> [u8; 6] {
        self.ethernet.address()
    }

    /// Tells the neighbours that the home address is here (RFC 6275 §11.5.5), or ceases to.
    pub(crate) fn announce(&mut self, here: bool) {
        let announce = || {
            let ethernet = Arc::clone(&self.ethernet);
            Task::spawn("home link announcer", announce(ethernet, self.home_address, self.flags))
        };
        self.announcer = here.then(announce);
    }
}

async fn announce(ethernet: Arc<Ethernet>, home_address: Ipv6Addr, flags: NeighbourFlags) {
    let message = Icmpv6::NeighbourAdvertisement(NeighbourAdvertisement {
        flags,
        target: home_address,
        options: NeighbourOptions::of(&[NeighbourOption::TargetLinkLayer(&ethernet.address())]),
    });
    let packet = PacketBuilder::new(home_address, ALL_NODES)
        .hop_limit(HOP_LIMIT)
        .build(protocol::ICMPV6, &message.emit(home_address, ALL_NODES));
    for _ in 0..ADVERTISEMENTS {
        if let Err(error) = ethernet.send(ALL_NODES_ETHERNET, &packet).await {
            tracing::warn!(%error, "the neighbours on the home link are not told");
        }
        tokio::time::sleep(ADVERTISEMENT_PAUSE).await;
    }
}

/// Only the Mobility Header: everything else for the home address is the kernel's.
async fn read(ethernet: Arc<Ethernet>, home_address: Ipv6Addr, received: mpsc::Sender<Received>) {
    let mut buffer = vec![0; PACKET_OCTETS_MAX];
    loop {
        match ethernet.recv(&mut buffer).await {
            Ok((_, packet)) => {
                let is_signalling = walk(packet).is_ok_and(|walked| {
                    walked.header.destination == home_address && walked.upper == protocol::MOBILITY
                });
                let packet = Received::HomeLink(packet.to_vec());
                if is_signalling && received.send(packet).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read from the home link");
                tokio::time::sleep(READ_PAUSE).await;
            }
        }
    }
}
