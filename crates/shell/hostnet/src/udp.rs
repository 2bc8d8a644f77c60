//! UDP sockets that several processes share, and raw ones.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
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

/// Takes a socket of [`bind_udp`] out of those that share its address: what comes from now on goes to the
/// others, and what has come can still be read.
///
/// It is connected to a port that nobody uses: the kernel gives it nothing else then, and spreads peers over
/// those of the group that are not connected. There is no way back but another socket: the kernel would not
/// count this one among the others again.
pub fn leave_shared_udp(socket: &UdpSocket) -> Result<(), Error> {
    /// Of the protocol that throws everything away (RFC 863).
    const DISCARD: u16 = 9;
    let failed = |source| Error::new("connect", "a shared UDP socket".to_owned(), source);
    let own = socket.local_addr().map_err(failed)?.ip();
    let nobody = if own.is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { own };
    SockRef::from(socket).connect(&SocketAddr::new(nobody, DISCARD).into()).map_err(failed)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// How much each of two sockets has of what many peers send.
    async fn spread(sockets: [&UdpSocket; 2]) -> [usize; 2] {
        let to = sockets[0].local_addr().unwrap();
        for _ in 0..64 {
            let peer = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            peer.send_to(b"update", to).unwrap();
        }
        [received(sockets[0]).await, received(sockets[1]).await]
    }

    async fn received(socket: &UdpSocket) -> usize {
        let (mut octets, mut count) = ([0; 16], 0);
        while timeout(Duration::from_millis(200), socket.recv_from(&mut octets)).await.is_ok() {
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn a_socket_that_has_left_gets_nothing_and_loses_nothing() {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let one = bind_udp(&Namespace::Current, any).unwrap();
        let SocketAddr::V4(address) = one.local_addr().unwrap() else { panic!("it is IPv4") };
        let other = bind_udp(&Namespace::Current, address).unwrap();
        let [first, second] = spread([&one, &other]).await;
        assert!(first > 0 && second > 0 && first + second == 64, "{first} and {second}");

        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        leave_shared_udp(&one).unwrap();
        assert_eq!(spread([&one, &other]).await, [0, 64]);
        one.send_to(b"answer", peer.local_addr().unwrap()).await.unwrap();
        assert_eq!(received(&peer).await, 1, "it may still answer");

        let one = bind_udp(&Namespace::Current, address).unwrap();
        let [first, second] = spread([&one, &other]).await;
        assert!(first > 0 && second > 0 && first + second == 64, "{first} and {second}");
    }
}
