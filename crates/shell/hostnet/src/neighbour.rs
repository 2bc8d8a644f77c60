//! Neighbours on a link: addresses that this host answers for, fixed neighbours, and messages to
//! all nodes.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    sync::Arc,
};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::{
    AddressFamily,
    link::LinkAttribute,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    error::Error,
    link::Network,
    namespace::{Namespace, write_sysctl},
};

impl Network {
    /// Lets the kernel answer neighbour solicitations, or ARP requests, on `link` for an address
    /// that is elsewhere, and switches that on for the interface, without the random delay
    /// (RFC 4861 §7.2.8) that spreads several proxies of one address. `router` is the R flag of the
    /// answers. The kernel keeps these in a list: not for many.
    pub async fn add_proxy_neighbour(
        &self,
        link: &str,
        address: IpAddr,
        router: bool,
    ) -> Result<(), Error> {
        if address.is_ipv6() {
            write_sysctl(self.namespace(), &format!("net/ipv6/conf/{link}/proxy_ndp"), "1")?;
        }
        let family = if address.is_ipv6() { "ipv6" } else { "ipv4" };
        let delay = format!("net/{family}/neigh/{link}/proxy_delay");
        write_sysctl(self.namespace(), &delay, "0")?;
        let index = self.link_index(link).await?;
        let mut message = proxy_message(index, address);
        if router {
            message.header.flags |= NeighbourFlags::Router;
        }
        let mut request = self.handle.neighbours().add(index, address);
        *request.message_mut() = message;
        request.replace().execute().await.map_err(|error| {
            let object = format!("proxy neighbour {address} on {}", self.link_object(link));
            Error::netlink("add", object, error)
        })
    }

    /// Ends that.
    pub async fn delete_proxy_neighbour(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        let index = self.link_index(link).await?;
        let message = proxy_message(index, address);
        self.handle.neighbours().del(message).execute().await.map_err(|error| {
            let object = format!("proxy neighbour {address} on {}", self.link_object(link));
            Error::netlink("remove", object, error)
        })
    }

    /// Sends packets for an address on `link` to this link-layer address, without asking who has
    /// it.
    pub async fn add_neighbour(
        &self,
        link: &str,
        address: IpAddr,
        link_layer_address: &[u8],
    ) -> Result<(), Error> {
        let index = self.link_index(link).await?;
        let request = self
            .handle
            .neighbours()
            .add(index, address)
            .state(NeighbourState::Permanent)
            .link_layer_address(link_layer_address)
            .replace();
        request.execute().await.map_err(|error| {
            let object = format!("neighbour {address} on {}", self.link_object(link));
            Error::netlink("add", object, error)
        })
    }

    /// Ends that: the next packet asks again.
    pub async fn delete_neighbour(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        let index = self.link_index(link).await?;
        let message = neighbour_message(index, address);
        self.handle.neighbours().del(message).execute().await.map_err(|error| {
            let object = format!("neighbour {address} on {}", self.link_object(link));
            Error::netlink("remove", object, error)
        })
    }

    /// The link-layer address of an interface; empty when it has none, as a TUN.
    pub async fn link_layer_address(&self, link: &str) -> Result<Vec<u8>, Error> {
        let failed = |error| Error::netlink("find", self.link_object(link), error);
        let mut links = self.handle.link().get().match_name(link).execute();
        let found = links.try_next().await.map_err(failed)?;
        let address = found.and_then(|message| {
            message.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::Address(address) => Some(address),
                _ => None,
            })
        });
        Ok(address.unwrap_or_default())
    }
}

fn neighbour_message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

fn proxy_message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = neighbour_message(index, address);
    message.header.flags = NeighbourFlags::Proxy;
    message
}

/// Sends ICMPv6 messages to all nodes of one link, from the link-local address of the interface,
/// with the hop limit that Neighbour Discovery demands. Needs CAP_NET_RAW. Clones share a socket.
#[derive(Clone, Debug)]
pub struct AllNodes {
    socket: Arc<Socket>,
    index: u32,
    object: Arc<str>,
}

impl AllNodes {
    /// Opens a socket for the interface with this index.
    pub fn open(namespace: &Namespace, index: u32) -> Result<Self, Error> {
        let object: Arc<str> = format!("ICMPv6 socket in {namespace}").into();
        let socket = namespace
            .run(|| opened(index))?
            .map_err(|source| Error::new("open", object.to_string(), source))?;
        Ok(Self { socket: Arc::new(socket), index, object })
    }

    /// Sends one message; the kernel fills in its checksum.
    pub fn send(&self, message: &[u8]) -> Result<(), Error> {
        const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.index);
        let sent = self.socket.send_to(message, &to.into());
        sent.map(drop).map_err(|source| Error::new("use", self.object.to_string(), source))
    }
}

fn opened(index: u32) -> io::Result<Socket> {
    /// What arrives is for nobody, so the kernel shall keep as little of it as it can.
    const RECEIVE_OCTETS: usize = 0;
    const HOP_LIMIT: u32 = 255;
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_OCTETS)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(HOP_LIMIT)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(socket)
}
