//! The kernel's own ping, in the background.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_hostnet::Namespace;

use super::signal;
use crate::eventually;

/// A running ping.
pub(super) struct Ping {
    child: Child,
    output: PathBuf,
}

/// A reply that came.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Reply {
    /// Seconds since the Unix epoch when it came.
    pub(super) at_secs: f64,
    /// Number of its request.
    pub(super) sequence: u32,
    /// Round trip in milliseconds.
    pub(super) round_trip_ms: f64,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Pinged {
    /// Requests.
    pub(super) sent: u32,
    /// Requests without a reply.
    pub(super) lost: u32,
    /// The replies in the order in which they came.
    pub(super) replies: Vec<Reply>,
}

impl Ping {
    /// Pings on every ten milliseconds until it is stopped, or forgotten for two minutes.
    pub(super) fn start(namespace: &str, destination: &str, directory: &Path) -> Result<Self> {
        Self::spawn(namespace, &["-i", "0.01", "-c", "12000", destination], directory)
    }

    /// As [`Self::start`], every two milliseconds.
    pub(super) fn start_fast(namespace: &str, destination: &str, directory: &Path) -> Result<Self> {
        Self::spawn(namespace, &["-i", "0.002", "-c", "60000", destination], directory)
    }

    fn spawn(namespace: &str, arguments: &[&str], directory: &Path) -> Result<Self> {
        let file = tempfile::Builder::new().prefix("ping-").tempfile_in(directory)?;
        let (file, output) = file.keep()?;
        let mut command = Command::new("ping");
        let is_ipv4 = arguments.last().is_some_and(|it| it.parse::<std::net::Ipv4Addr>().is_ok());
        let family = if is_ipv4 { "-4" } else { "-6" };
        command.args([family, "-n", "-D"]).args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
        let child = Namespace::from(namespace).run(|| command.spawn())?.context("ping")?;
        Ok(Self { child, output })
    }

    /// Waits for so many more replies.
    pub(super) async fn replies(&self, more: usize) -> Result<()> {
        let before = self.read()?.len();
        eventually("replies to the correspondent node's ping", async || {
            let now = self.read()?.len();
            ensure!(now >= before + more, "{now} of {}", before + more);
            Ok(())
        })
        .await
    }

    /// Ends it and counts. Requests after the last one that was answered are not lost: their replies
    /// may be under way.
    pub(super) fn stop(mut self) -> Result<Pinged> {
        signal("-INT", self.child.id())?;
        let pinged = self.wait()?;
        let last = pinged.replies.iter().map(|reply| reply.sequence).max();
        Ok(Pinged { lost: lost(last.unwrap_or(pinged.sent), &pinged.replies), ..pinged })
    }

    fn wait(&mut self) -> Result<Pinged> {
        self.child.wait()?;
        let said = std::fs::read_to_string(&self.output)?;
        let sent = |line: &str| line.split_once(" packets transmitted")?.0.parse().ok();
        let Some(sent) = said.lines().find_map(sent) else { bail!("ping says {said}") };
        let replies = self.read()?;
        Ok(Pinged { sent, lost: lost(sent, &replies), replies })
    }

    fn read(&self) -> Result<Vec<Reply>> {
        let said = std::fs::read_to_string(&self.output)?;
        Ok(said.lines().filter_map(reply).collect())
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Pinged {
    /// The longest time without a reply, in milliseconds; the interval of the requests is part of it.
    pub(super) fn gap_ms(&self) -> f64 {
        let pairs = self.replies.iter().zip(self.replies.iter().skip(1));
        pairs.map(|(one, next)| (next.at_secs - one.at_secs) * 1000.0).fold(0.0, f64::max)
    }

    /// Round trips in milliseconds.
    pub(super) fn round_trips_ms(&self) -> Vec<f64> {
        self.replies.iter().map(|reply| reply.round_trip_ms).collect()
    }
}

/// Five requests at once, and what came back: within a second where nothing does. Where something does,
/// ping waits for the rest as long as the interval, and no longer, however busy the host is.
pub(super) async fn ping(namespace: &str, arguments: &[&str], directory: &Path) -> Result<Pinged> {
    let arguments = [&["-l", "5", "-i", "5", "-c", "5", "-W", "1"], arguments].concat();
    let mut ping = Ping::spawn(namespace, &arguments, directory)?;
    tokio::task::spawn_blocking(move || ping.wait()).await?
}

/// Requests from 1 to `last` without a reply. One may have two, when a packet was doubled.
fn lost(last: u32, replies: &[Reply]) -> u32 {
    let answered: BTreeSet<u32> = replies.iter().map(|reply| reply.sequence).collect();
    u32::try_from((1..=last).filter(|sequence| !answered.contains(sequence)).count())
        .unwrap_or(u32::MAX)
}

/// `[1700000000.123456] 64 bytes from 2001:db8::1: icmp_seq=7 ttl=62 time=0.51 ms`
fn reply(line: &str) -> Option<Reply> {
    let (at, rest) = line.strip_prefix('[')?.split_once("] ")?;
    rest.contains(" bytes from ").then_some(())?;
    let value = |key: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(key));
    Some(Reply {
        at_secs: at.parse().ok()?,
        sequence: value("icmp_seq=")?.parse().ok()?,
        round_trip_ms: value("time=")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "[1700000000.125000] 64 bytes from 2001:db8:0:1::100: icmp_seq=7 ttl=62 time=0.500 ms";

    #[test]
    fn replies_are_read_and_complaints_are_not() {
        let expected = Reply { at_secs: 1_700_000_000.125, sequence: 7, round_trip_ms: 0.5 };
        assert_eq!(reply(LINE), Some(expected));
        assert_eq!(reply("[1700000000.1] From ::1 icmp_seq=1 Destination unreachable"), None);
        assert_eq!(reply("3 packets transmitted, 3 received"), None);
    }

    #[test]
    fn a_request_is_lost_once_and_answered_once() {
        let answered = |sequence| Reply { at_secs: 1.0, sequence, round_trip_ms: 1.0 };
        assert_eq!(lost(5, &[1, 2, 2, 4].map(answered)), 2);
        assert_eq!(lost(0, &[]), 0);
    }

    #[test]
    fn the_longest_silence_is_found() {
        let at = |at_secs| Reply { at_secs, sequence: 1, round_trip_ms: 1.0 };
        let pinged =
            Pinged { sent: 3, lost: 0, replies: vec![at(1.0), at(1.25), at(1.5), at(1.0)] };
        assert_eq!(pinged.gap_ms(), 250.0);
    }
}
