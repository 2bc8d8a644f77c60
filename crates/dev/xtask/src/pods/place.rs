//! Where a pod runs: a network namespace on a bridge, and a root directory with nothing in it but what the image has and
//! what the pod mounts.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// The bridge's own address: what pods have as their router.
pub(super) const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Names of the image's one program.
const NAMES: [&str; 2] = ["homeportctl", "mobile-node"];

/// Runs a program that must succeed.
pub(super) fn must(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

/// The namespace that this process is in becomes the network between the pods.
pub(super) fn hub() -> anyhow::Result<()> {
    must("ip", &["link", "set", "lo", "up"])?;
    must("ip", &["link", "add", "br0", "type", "bridge"])?;
    must("ip", &["address", "add", &format!("{HUB}/24"), "dev", "br0"])?;
    must("ip", &["link", "set", "br0", "up"])?;
    for setting in [
        "ip_forward=1",
        "conf.all.send_redirects=0",
        "conf.br0.send_redirects=0",
        "conf.all.rp_filter=0",
        "conf.br0.rp_filter=0",
    ] {
        must("sysctl", &["-qw", &format!("net.ipv4.{setting}")])?;
    }
    Ok(())
}

/// A namespace of its own.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

impl Place {
    pub(super) fn make(number: u8) -> anyhow::Result<Self> {
        let (name, port) = (format!("hpk-{number}"), format!("pod{number}"));
        let address = Ipv4Addr::new(10, 77, 0, number);
        must("ip", &["netns", "add", &name])?;
        let veth = ["type", "veth", "peer", "name", "eth0", "netns", &name];
        must("ip", &[&["link", "add", &port], veth.as_slice()].concat())?;
        must("ip", &["link", "set", &port, "master", "br0", "up"])?;
        let inside = |arguments: &[&str]| must("ip", &[&["-n", &name], arguments].concat());
        inside(&["link", "set", "lo", "up"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        inside(&["route", "add", "default", "via", &HUB.to_string()])?;
        Ok(Self { name, address })
    }

    /// As preflight asks of an edge host.
    pub(super) fn forward(&self) -> anyhow::Result<()> {
        for setting in [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv4.conf.eth0.rp_filter=0",
        ] {
            must("ip", &["netns", "exec", &self.name, "sysctl", "-qw", setting])?;
        }
        Ok(())
    }
}

/// What is mounted where.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    pub(super) from: PathBuf,
    /// Absolute, inside.
    pub(super) to: String,
    pub(super) read_only: bool,
}

/// A root directory like the image's, with places for what is mounted; gives the script that mounts it all.
pub(super) fn root(
    folder: &Path,
    program: &Path,
    hosts: &Path,
    mounts: &[Mount],
) -> anyhow::Result<String> {
    let bin = folder.join("usr/bin");
    fs::create_dir_all(&bin)?;
    for name in NAMES {
        let link = bin.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink("homeport", link)?;
        }
    }
    let read_only =
        |from: &Path, to: &str| Mount { from: from.to_owned(), to: to.to_owned(), read_only: true };
    let mut all = vec![
        read_only(program, "/usr/bin/homeport"),
        read_only(hosts, "/etc/hosts"),
        read_only(Path::new("/proc"), "/proc"),
        read_only(Path::new("/dev/null"), "/dev/null"),
        read_only(Path::new("/dev/urandom"), "/dev/urandom"),
    ];
    // A program that is not static needs its libraries, and they these files, which the image has not.
    let etc = folder.join("etc");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("nsswitch.conf"), "hosts: files\n")?;
    fs::write(etc.join("host.conf"), "multi on\n")?;
    for library in ["/lib", "/lib64", "/usr/lib"] {
        if Path::new(library).exists() {
            all.push(read_only(Path::new(library), library));
        }
    }
    all.extend_from_slice(mounts);
    let shown = folder.display();
    let mut script = format!("mount --bind {shown} {shown}\n");
    let mut locks = String::new();
    for mount in &all {
        let target = folder.join(mount.to.trim_start_matches('/'));
        if mount.from.is_dir() {
            fs::create_dir_all(&target)?;
        } else {
            fs::create_dir_all(target.parent().context("a mount has no parent")?)?;
            fs::write(&target, "")?;
        }
        script += &format!("mount --bind {} {}\n", mount.from.display(), target.display());
        if mount.read_only {
            locks += &format!("mount -o remount,bind,ro {}\n", target.display());
        }
    }
    Ok(script + &locks + &format!("mount -o remount,bind,ro {shown}\n"))
}
