//! Asks operations ports, by as much of HTTP as they speak.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::limits::{ADDRESSES_MAX, METRICS_OCTETS_MAX, STORE_DEADLINE};

/// An answer: its status and what it says.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The addresses behind a name, at most [`ADDRESSES_MAX`].
pub(super) async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    let found = timeout(STORE_DEADLINE, tokio::net::lookup_host(name)).await;
    let found = found.map_err(|_| "its name is not resolved in time".to_owned())?;
    let mut addresses: Vec<SocketAddr> =
        found.map_err(|error| format!("its name is not resolved: {error}"))?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() {
        return Err("its name has no address".to_owned());
    }
    Ok(addresses)
}

/// GET, whole, in time.
pub(super) async fn get(address: SocketAddr, path: &'static str) -> Result<Answer, String> {
    let late = || format!("no answer in {} s", STORE_DEADLINE.as_secs());
    let answer = timeout(STORE_DEADLINE, exchange(address, path)).await.map_err(|_| late())?;
    read(&answer.map_err(|error| error.to_string())?).ok_or("its answer is not HTTP".to_owned())
}

async fn exchange(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // Version 1.0 has no chunks: the body ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(METRICS_OCTETS_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
