//! UDP sockets that several processes share, and raw ones.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV4},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::{error::Error, namespace::Namespace};

/// Octets of buffer asked for in each direction: about 100 ms of full-size packets at 300 Mbit/s.
/// The kernel grants what `net.core.rmem_max` allows.
const BUFFER_OCTETS: usize = 4 << 20;

/// Binds an IPv4 socket inside a namespace, with SO_REUSEPORT: the kernel spreads peers over all
/// sockets of one address and user. Needs a tokio runtime.
pub fn bind_udp(namespace: &Namespace, address: SocketAddrV4) -> Result<UdpSocket, Error> {
    let object = || format!("UDP socket {address} in {namespace}");
    let socket =
        namespace.run(|| bound(address))?.map_err(|source| Error::new("bind", object(), source))?;
    UdpSocket::from_std(socket).map_err(|source| Error::new("watch", object(), source))
}

fn bound(address: SocketAddrV4) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER_OCTETS)?;
    socket.set_send_buffer_size(BUFFER_OCTETS)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Opens a socket for all packets of this protocol to `address`: what is received over IPv4 begins
/// with the IPv4 header, what is sent gets a header from the kernel, and ports mean nothing. For
/// tunnels that are no device, and so that the kernel does not complain about a protocol that it
/// does not know. Needs privileges and a tokio runtime.
///
/// The kernel and the runtime treat it as they do a UDP socket, so its type is that.
pub fn bind_raw(namespace: &Namespace, address: IpAddr, protocol: u8) -> Result<UdpSocket, Error> {
    let object = || format!("socket of protocol {protocol} at {address} in {namespace}");
    let socket = namespace
        .run(|| raw(address, protocol))?
        .map_err(|source| Error::new("bind", object(), source))?;
    UdpSocket::from_std(socket).map_err(|source| Error::new("watch", object(), source))
}

fn raw(address: IpAddr, protocol: u8) -> io::Result<std::net::UdpSocket> {
    let domain = Domain::for_address(SocketAddr::new(address, 0));
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER_OCTETS)?;
    socket.set_send_buffer_size(BUFFER_OCTETS)?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    Ok(socket.into())
}
