//! Whether this process may do what needs privileges.

use std::{fmt, io};

use rustix::{
    io::Errno,
    thread::{CapabilitySet, capabilities},
};

use crate::{
    namespace::{enter_new, on_a_thread},
    tun::create,
};

/// A part of root's powers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Devices, addresses, routes; XDP programs on interfaces.
    NetAdmin,
    /// Raw and packet sockets.
    NetRaw,
    /// Programs and maps in the kernel.
    Bpf,
    /// Programs that do pointer arithmetic.
    Perfmon,
    /// Namespaces and mounts; all that [`Self::Bpf`] and [`Self::Perfmon`] allow as well.
    SysAdmin,
}

impl Capability {
    /// Whether the calling thread has it. Within a user namespace that may mean little: only trying tells.
    #[must_use]
    pub fn is_effective(self) -> bool {
        let wanted = match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::Bpf => CapabilitySet::BPF,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        };
        capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

/// TUN devices or network namespaces cannot be used, and why.
#[derive(Debug)]
pub struct Unprivileged {
    reasons: Vec<String>,
}

impl Unprivileged {
    /// The reasons, each a sentence.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }
}

impl fmt::Display for Unprivileged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TUN devices and network namespaces cannot be used here: {}",
            self.reasons.join("; ")
        )
    }
}

impl std::error::Error for Unprivileged {}

/// Tries what is needed, a network namespace and a TUN in it, on a thread that takes both with it
/// when it ends.
pub fn privileges() -> Result<(), Unprivileged> {
    let tried = on_a_thread(
        "try",
        || "network namespaces".to_owned(),
        || {
            enter_new().map_err(|errno| format!("no new network namespace: {}", why(errno)))?;
            create("probe", 1500).map(drop).map_err(|error| error.to_string())
        },
    );
    let reasons = match tried {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(reason)) => vec![reason],
        Err(error) => vec![error.to_string()],
    };
    Err(Unprivileged { reasons })
}

fn why(errno: Errno) -> String {
    match errno {
        Errno::PERM => "not permitted, run as root or with CAP_SYS_ADMIN".to_owned(),
        Errno::INVAL => "the kernel is built without them (CONFIG_NET_NS)".to_owned(),
        Errno::NOSPC => "the limit user.max_net_namespaces is reached".to_owned(),
        other => io::Error::from(other).to_string(),
    }
}
