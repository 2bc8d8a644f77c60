//! The Debian packages that the tests need beside Rust.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::report::Report;

/// Program and the package it comes from.
const NEEDED: [(&str, &str); 13] = [
    ("tshark", "tshark"),
    ("tcpdump", "tcpdump"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    // A translator of addresses in front of mobile nodes, and links without offloads.
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    // Compiles the XDP program.
    ("clang", "clang"),
    // Writes the fixtures of the packet core.
    ("scapy", "python3-scapy"),
    // Guests whose kernel has ESP over IPv6, and the IKE daemon in them.
    ("linux.uml", "user-mode-linux"),
    ("modprobe", "kmod"),
    ("/usr/lib/ipsec/charon", "strongswan-charon"),
    ("swanctl", "strongswan-swanctl"),
    // Looks at the dashboard.
    ("chromium", "chromium"),
];

/// Whether this process may make network namespaces and install packages.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether `program` can be started by name.
pub(crate) fn is_found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(sbin).any(|folder| folder.join(program).is_file())
}

/// Installs what is missing when that is possible; otherwise names it in one line.
pub(crate) fn install() -> anyhow::Result<Report> {
    let mut report = Report::default();
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| !is_found(program))
        .map(|(_, package)| *package)
        .collect();
    report.passed = u64::try_from(NEEDED.len() - missing.len())?;
    if missing.is_empty() {
        return Ok(report);
    }
    if !is_root() || !Path::new("/usr/bin/apt-get").is_file() {
        eprintln!("missing packages, please install: {}", missing.join(" "));
        report.skipped = u64::try_from(missing.len())?;
        return Ok(report);
    }
    eprintln!("installing {}", missing.join(" "));
    apt_get(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[install.as_slice(), missing.as_slice()].concat())?;
    report.passed = u64::try_from(NEEDED.len())?;
    Ok(report)
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_by_name() {
        assert!(is_found("sh"));
        assert!(!is_found("no-such-program-of-this-name"));
    }
}
