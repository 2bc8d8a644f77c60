//! Pages of an operations port.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A page over HTTP.
///
/// # Errors
/// When it does not come or is refused.
pub async fn page(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no end of the header")?;
    Ok(body.to_owned())
}

/// Value of a metric, by its name and labels as they stand on the page; 0 when it is not there.
///
/// # Errors
/// When the page does not come or the value is no number.
pub async fn metric(address: SocketAddr, sample: &str) -> Result<f64> {
    let page = page(address, "/metrics").await?;
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    Ok(value.map_or(Ok(0.0), str::parse)?)
}

/// Sum of all samples of a metric, whatever their labels.
///
/// # Errors
/// When the page does not come or a value is no number.
pub async fn sum(address: SocketAddr, name: &str) -> Result<f64> {
    let page = page(address, "/metrics").await?;
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let labels_or_value = rest.strip_prefix(' ').or_else(|| Some(rest.split_once("} ")?.1));
        labels_or_value.filter(|_| rest.starts_with([' ', '{']))
    });
    let values = samples.map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
    Ok(values.into_iter().sum())
}
