//! What a host lacks for a role, found by trying before the role starts, and what to do about it.
//!
//! Here is what roles have in common: the answer, addresses to listen on, the limit of open files. What
//! only one role needs is tried in that role. Nothing here disturbs a role that runs on the same host.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Refusal;

/// One thing that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What was tried: a name that does not change, that of the configuration's key where there is one.
    pub name: String,
    /// What it means for the role.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty when all is well.
    pub remedy: String,
}

/// What a check means for the role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It starts and does what it is configured to, but worse than it could.
    Warn,
    /// It does not start, or does not do what it is configured to.
    Fail,
}

impl Check {
    /// All is well.
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        let (name, found) = (name.into(), found.into());
        Self { name, verdict: Verdict::Ok, found, remedy: String::new() }
    }

    /// Something is worse than it could be.
    pub fn warn(
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::lacks(Verdict::Warn, name, found, remedy)
    }

    /// Something is missing.
    pub fn fail(
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::lacks(Verdict::Fail, name, found, remedy)
    }

    /// Something is missing, which means that.
    pub fn lacks(
        verdict: Verdict,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), verdict, found: found.into(), remedy: remedy.into() }
    }

    /// What a role says to its configuration: one check for each refusal, or that there is none.
    #[must_use]
    pub fn configuration(refusals: Vec<Refusal>, summary: String) -> Vec<Self> {
        if refusals.is_empty() {
            return vec![Self::ok("configuration", summary)];
        }
        let remedy = "correct this key in the configuration file or its HOMEPORT_ variable";
        let check = |it: Refusal| Self::fail("configuration", it.to_string(), remedy);
        refusals.into_iter().map(check).collect()
    }
}

/// Whether a role can listen on an address by TCP. Nothing is listened on: who connects meanwhile is
/// refused as before.
#[must_use]
pub fn tcp_listen(key: &str, address: SocketAddr) -> Check {
    let tried = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // As whoever listens does: connections that are just ending are no reason to refuse.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    listen(key, Verdict::Fail, address, tried())
}

/// Whether an address is free for a UDP socket that several forwarders may share. It is asked for
/// without sharing, so that no datagram of a socket that is there goes astray.
#[must_use]
pub fn udp_listen(key: &str, address: SocketAddrV4) -> Check {
    let tried = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&address.into())
    };
    listen(key, Verdict::Warn, address.into(), tried())
}

fn listen(key: &str, taken: Verdict, address: SocketAddr, tried: io::Result<()>) -> Check {
    let Err(error) = tried else {
        let found = match address.port() {
            0 => format!("{address}: any free port"),
            _ => format!("{address} is free"),
        };
        return Check::ok(key, found);
    };
    let found = format!("{address}: {error}");
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ADDRINUSE) if taken == Verdict::Warn => Check::warn(
            key,
            found,
            "when the other socket is another forwarder's, they share the address; end any other process there (ss -ulpn)",
        ),
        Some(Errno::ADDRINUSE) => Check::fail(
            key,
            found,
            "when this role runs already, that is its own; else choose another port or end that process (ss -tlpn)",
        ),
        Some(Errno::ADDRNOTAVAIL) => Check::fail(
            key,
            found,
            "give the host this address, or name one that it has; 0.0.0.0 or [::] is all of them",
        ),
        Some(Errno::AFNOSUPPORT) => Check::fail(
            key,
            found,
            "name an IPv4 address, or start the kernel without ipv6.disable=1",
        ),
        Some(Errno::ACCESS) => Check::fail(
            key,
            found,
            "choose a port of 1024 or more, or give the process CAP_NET_BIND_SERVICE",
        ),
        _ => Check::fail(key, found, "name an address and port of this host"),
    }
}

/// Whether a role may have so many files and connections open at once.
#[must_use]
pub fn open_files(needed: u64) -> Check {
    const NAME: &str = "open_files";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Check::warn(
            NAME,
            format!("at most {limit}; {needed} connections and files are possible"),
            format!("ulimit -n {needed}, LimitNOFILE={needed} for systemd"),
        ),
        Some(limit) => Check::ok(NAME, format!("at most {limit}")),
        None => Check::ok(NAME, "without limit"),
    }
}

/// How much memory this process may lock, octets; `None`: as much as it likes.
#[must_use]
pub fn locked_memory_octets() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn an_address_that_is_taken_or_not_here_is_told_apart() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap();
        let check = tcp_listen("listen", taken);
        assert_eq!((check.verdict, check.name.as_str()), (Verdict::Fail, "listen"));
        assert!(check.remedy.contains("another port"), "{check:?}");
        drop(listener);
        assert_eq!(tcp_listen("listen", taken).verdict, Verdict::Ok);
        // RFC 5737: an address that no host has.
        let absent = SocketAddr::from(([192, 0, 2, 77], 7101));
        let check = tcp_listen("listen", absent);
        assert!(check.remedy.contains("give the host this address"), "{check:?}");
    }

    #[test]
    fn a_udp_address_that_is_taken_may_be_shared() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(taken) = socket.local_addr().unwrap() else { panic!("IPv4") };
        assert_eq!(udp_listen("udp.listen", taken).verdict, Verdict::Warn);
        drop(socket);
        assert_eq!(udp_listen("udp.listen", taken).verdict, Verdict::Ok);
    }

    #[test]
    fn the_limit_of_open_files_is_that_of_the_process() {
        assert_eq!(open_files(1).verdict, Verdict::Ok);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if let Some(more) = limit.checked_add(1) {
            let check = open_files(more);
            assert_eq!(check.verdict, Verdict::Warn);
            assert!(check.remedy.contains(&format!("LimitNOFILE={more}")), "{check:?}");
        }
    }

    #[test]
    fn each_refusal_of_a_configuration_is_a_check() {
        let refusals = ["a", "b"].map(|key| Refusal::new(key, "is 1", "2"));
        let refused = Check::configuration(refusals.to_vec(), String::new());
        assert_eq!(refused[0].found, "a: is 1; expected 2");
        assert_eq!(refused.iter().map(|it| it.verdict).collect::<Vec<_>>(), [Verdict::Fail; 2]);
        let fine = Check::configuration(vec![], "3 stores".to_owned());
        assert_eq!(fine, [Check::ok("configuration", "3 stores")]);
    }
}
