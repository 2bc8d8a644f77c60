//! Traffic between two kernels: TCP and UDP sockets of the test in their namespaces.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_hostnet::Namespace;
use sha1::{Digest as _, Sha1};

use crate::PATIENCE;

/// A host: its namespace and its address.
pub(super) type Host = (String, IpAddr);

/// The ends of a path that goes through a tunnel.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// At the mobile node, or behind it.
    pub(super) mobile: Host,
    pub(super) correspondent: Host,
}

/// Between two tries of a datagram.
const PAUSE: Duration = Duration::from_millis(200);
const CHUNK: usize = 64 << 10;

impl Ends {
    /// Sends so many octets by TCP to the mobile end and as many back; each end compares digests.
    pub(super) async fn transfer(&self, octets: usize) -> Result<()> {
        let ends = self.clone();
        tokio::task::spawn_blocking(move || transferred(&ends, octets)).await?
    }

    /// A datagram with so many octets to the mobile end, and the same back: again until it comes. The
    /// kernel that learns of a narrow path sends the next one in fragments.
    pub(super) async fn echo(&self, octets: usize) -> Result<()> {
        let ends = self.clone();
        tokio::task::spawn_blocking(move || echoed(&ends, octets)).await?
    }
}

fn inside<T: Send>(host: &Host, work: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
    let (namespace, address) = host;
    let done = Namespace::from(namespace.as_str()).run(work)?;
    done.with_context(|| format!("a socket at {address}"))
}

fn transferred(ends: &Ends, octets: usize) -> Result<()> {
    let address = ends.mobile.1;
    let listener = inside(&ends.mobile, || TcpListener::bind((address, 0)))?;
    let to = listener.local_addr()?;
    let server = std::thread::spawn(move || -> Result<()> {
        let mut stream = accepted(&listener)?;
        let sent = exchanged(&mut stream, octets, false)?;
        ensure!(sent, "what came to the mobile end differs");
        Ok(())
    });
    let correspondent = ends.correspondent.1;
    let mut stream = inside(&ends.correspondent, || TcpStream::connect_timeout(&to, PATIENCE))
        .with_context(|| format!("from {correspondent} to {to}"))?;
    let same = exchanged(&mut stream, octets, true);
    let Ok(served) = server.join() else { bail!("the mobile end panicked") };
    served.context("the mobile end")?;
    ensure!(same.context("the correspondent end")?, "what came back differs");
    Ok(())
}

fn accepted(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(begun.elapsed() < PATIENCE, "nobody connects");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends and receives in turn; whether what came is what the other end made.
fn exchanged(stream: &mut TcpStream, octets: usize, is_first: bool) -> Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if is_first {
        send(stream, octets, 1)?;
        return Ok(receive(stream)? == digest(octets, 2));
    }
    let same = receive(stream)? == digest(octets, 1);
    send(stream, octets, 2)?;
    Ok(same)
}

fn send(stream: &mut TcpStream, octets: usize, seed: u64) -> Result<()> {
    let mut left = octets;
    for chunk in chunks(seed) {
        let part = &chunk[..left.min(CHUNK)];
        stream.write_all(part).context("TCP stands still")?;
        left -= part.len();
        if left == 0 {
            break;
        }
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn receive(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut sum = Sha1::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = stream.read(&mut chunk).context("TCP stands still")?;
        if len == 0 {
            return Ok(sum.finalize().to_vec());
        }
        sum.update(&chunk[..len]);
    }
}

fn digest(octets: usize, seed: u64) -> Vec<u8> {
    let mut sum = Sha1::new();
    let mut left = octets;
    for chunk in chunks(seed) {
        let part = &chunk[..left.min(CHUNK)];
        sum.update(part);
        left -= part.len();
        if left == 0 {
            break;
        }
    }
    sum.finalize().to_vec()
}

/// Octets without end, no two chunks the same.
fn chunks(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    (0_u64..).map(move |number| {
        let mut chunk: Vec<u8> = (0..=250_u8).cycle().take(CHUNK).collect();
        chunk[..8].copy_from_slice(&(seed << 32 | number).to_be_bytes());
        chunk
    })
}

fn echoed(ends: &Ends, octets: usize) -> Result<()> {
    let (mobile, correspondent) = (ends.mobile.1, ends.correspondent.1);
    let server = inside(&ends.mobile, || UdpSocket::bind((mobile, 0)))?;
    let client = inside(&ends.correspondent, || UdpSocket::bind((correspondent, 0)))?;
    let to: SocketAddr = server.local_addr()?;
    client.connect(to)?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PAUSE))?;
    }
    let datagram: Vec<u8> = (0..=250_u8).cycle().take(octets).collect();
    let mut buffer = vec![0; octets + 1];
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        // Either may be refused once: the kernel has just learned how narrow the path is.
        if client.send(&datagram).is_err() {
            continue;
        }
        let Ok((len, from)) = server.recv_from(&mut buffer) else { continue };
        ensure!(from.ip() == correspondent, "from {from}");
        if buffer.get(..len) != Some(&datagram) || server.send_to(&datagram, from).is_err() {
            continue;
        }
        if let Ok(len) = client.recv(&mut buffer) {
            ensure!(buffer.get(..len) == Some(&datagram), "the datagram has changed");
            return Ok(());
        }
    }
    bail!("no datagram of {octets} octets passes between {correspondent} and {mobile}")
}
