//! Whole IPv6 packets on an Ethernet link, past the host's own stack.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::IntoRawFd as _,
};

use pnet_datalink::{Channel, ChannelType, Config, NetworkInterface};
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::{error::Error, namespace::Namespace};

/// Octets of an Ethernet header without tag.
const HEADER_OCTETS: usize = 14;
const ETHER_TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHER_TYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// A socket on an Ethernet interface. It sees the Neighbour Discovery of the link, packets to
/// link-local addresses, and packets of the Mobility Header: what a home agent on a home link must see
/// although none of it is addressed to the host. Needs CAP_NET_RAW.
#[derive(Debug)]
pub struct Ethernet {
    socket: AsyncFd<Socket>,
    name: String,
    address: [u8; 6],
    link_local: Ipv6Addr,
}

impl Ethernet {
    /// Opens the interface inside a namespace. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no such Ethernet interface, when it has no link-local address, or when the host
    /// refuses.
    pub fn open(namespace: &Namespace, name: &str) -> Result<Self, Error> {
        let object = || format!("Ethernet interface {name} in {namespace}");
        let (socket, interface) = namespace
            .run(|| bound(name))?
            .map_err(|source| Error::new("open", object(), source))?;
        let address = interface.mac.map(|mac| mac.octets()).filter(|mac| *mac != [0; 6]);
        let address = address.ok_or_else(|| Error::Invalid {
            what: "Ethernet interface",
            value: name.to_owned(),
            expected: "an interface with a link-layer address",
        })?;
        let is_link_local = |address: &Ipv6Addr| address.is_unicast_link_local();
        let link_local = interface
            .ips
            .iter()
            .find_map(|network| match network.ip() {
                IpAddr::V6(address) => Some(address).filter(is_link_local),
                IpAddr::V4(_) => None,
            })
            .ok_or_else(|| Error::Invalid {
                what: "home link",
                value: name.to_owned(),
                expected: "an interface that is up and has an IPv6 link-local address",
            })?;
        #[expect(
            deprecated,
            reason = "the successor is unsafe for what may swap its descriptor; a socket does not"
        )]
        let socket =
            AsyncFd::new(socket).map_err(|source| Error::new("watch", object(), source))?;
        Ok(Self { socket, name: name.to_owned(), address, link_local })
    }

    /// The interface's link-layer address.
    #[must_use]
    pub const fn address(&self) -> [u8; 6] {
        self.address
    }

    /// The interface's link-local address.
    #[must_use]
    pub const fn link_local(&self) -> Ipv6Addr {
        self.link_local
    }

    /// Waits for a packet from another node; gives its link-layer source, and the packet itself inside
    /// `frame`. A frame longer than the buffer is cut off.
    pub async fn recv<'f>(&self, frame: &'f mut [u8]) -> Result<([u8; 6], &'f [u8]), Error> {
        loop {
            let len = self
                .socket
                .async_io(tokio::io::Interest::READABLE, |socket| {
                    io::Read::read(&mut &*socket, frame)
                })
                .await
                .map_err(|source| self.failed("read from", source))?;
            let source = frame.get(6..12).and_then(|source| source.try_into().ok());
            // What this host sends comes back to the socket.
            if let Some(source) = source
                && source != self.address
                && len > HEADER_OCTETS
            {
                return Ok((source, frame.get(HEADER_OCTETS..len).unwrap_or_default()));
            }
        }
    }

    /// Sends an IPv6 or IPv4 packet to a link-layer address.
    pub async fn send(&self, destination: [u8; 6], packet: &[u8]) -> Result<(), Error> {
        let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let ether_type = if is_ipv4 { ETHER_TYPE_IPV4 } else { ETHER_TYPE_IPV6 };
        let frame = [&destination, &self.address, &ether_type[..], packet].concat();
        self.socket
            .async_io(tokio::io::Interest::WRITABLE, |socket| socket.send(&frame))
            .await
            .map(drop)
            .map_err(|source| self.failed("write to", source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::new(operation, format!("Ethernet interface {}", self.name), source)
    }
}

fn bound(name: &str) -> io::Result<(Socket, NetworkInterface)> {
    let interface = pnet_datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| io::Error::from(rustix::io::Errno::NODEV))?;
    // Protocol 0: nothing arrives before the filter stands and the socket is bound.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.attach_filter(&filter())?;
    // The library binds a duplicate, which is the same socket, and lets it see frames for other
    // link-layer addresses: those of the groups that no socket of the host has joined.
    let config = Config {
        socket_fd: Some(socket.try_clone()?.into_raw_fd()),
        channel_type: ChannelType::Layer2,
        promiscuous: true,
        ..Config::default()
    };
    match pnet_datalink::channel(&interface, config)? {
        Channel::Ethernet(..) => Ok((socket, interface)),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// Classic BPF: IPv6 frames that carry Neighbour Discovery (ICMPv6 133 to 136), the Mobility Header or
/// destination options, or that go to a link-local address. All else stays in the kernel.
fn filter() -> [SockFilter; 14] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_OCTET: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    const ABOVE: u16 = 0x25;
    const AND: u16 = 0x54;
    const RETURN: u16 = 0x06;
    const WHOLE_FRAME: u32 = 0x0004_0000;
    let step = |code, value| SockFilter::new(code, 0, 0, value);
    // How many steps to skip when the test holds, and when it does not: the last two take and refuse.
    let test = |code, value, then, otherwise| SockFilter::new(code, then, otherwise, value);
    [
        step(LOAD_HALF, 12),
        test(EQUAL, 0x86dd, 0, 10),
        // The destination's first half is that of fe80::/10.
        step(LOAD_HALF, 38),
        step(AND, 0xffc0),
        test(EQUAL, 0xfe80, 8, 0),
        // Next Header, then the ICMPv6 type.
        step(LOAD_OCTET, 20),
        test(EQUAL, 135, 6, 0),
        test(EQUAL, 60, 5, 0),
        test(EQUAL, 58, 0, 3),
        step(LOAD_OCTET, 54),
        test(AT_LEAST, 133, 0, 1),
        test(ABOVE, 136, 0, 1),
        step(RETURN, 0),
        step(RETURN, WHOLE_FRAME),
    ]
}
