//! A forwarder as it is shipped, with its devices in the router's network namespace.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use homeport_tests::{
    dev::{Build, program_of},
    eventually, free_address, ops,
};

use super::{
    super::{processes::Process, replicas::Replicas},
    topology::Topology,
};

/// It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Forwarder {
    process: Process,
    ops: SocketAddr,
    output: PathBuf,
    pins: PathBuf,
}

impl Forwarder {
    /// Starts it as a subscriber of these replicas, with the fast path or only with its TUN.
    pub(super) fn start(
        directory: &Path,
        replicas: &Replicas,
        topology: &Topology,
        xdp: bool,
    ) -> Result<Self> {
        let name = format!("bench-{}", std::process::id());
        let stores: Vec<_> = replicas.addresses().iter().map(|at| format!("\"{at}\"")).collect();
        let ops = free_address()?;
        let mut text = format!(
            "name = \"{name}\"\nstores = [{}]\nfront_ends = [\"{}\"]\n\
             [tun]\nnetns = \"{}\"\n[ops]\nlisten = \"{ops}\"\n",
            stores.join(", "),
            free_address()?,
            topology.router_name(),
        );
        if xdp {
            let interface = &topology.ingress;
            text += &format!("[xdp]\nmode = \"native\"\ninterfaces = [\"{interface}\"]\n");
        }
        let file = directory.join("forwarder.toml");
        std::fs::write(&file, text)?;
        let mut command = Command::new(program_of(Build::Release, "homeport")?);
        command.arg("forwarder").arg("--config").arg(&file);
        let process = Process::start(directory, "forwarder", command)?;
        let output = directory.join("forwarder.out");
        let pins = PathBuf::from(format!("/sys/fs/bpf/homeport-{name}"));
        Ok(Self { process, ops, output, pins })
    }

    /// Where its fast path has what outlives it.
    pub(super) fn pins(&self) -> &Path {
        &self.pins
    }

    /// What it has logged.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_else(|error| error.to_string())
    }

    /// Until its table has so many home addresses.
    pub(super) async fn until_filled(&self, home_addresses: u32) -> Result<()> {
        eventually("a table that is filled", async || {
            let there = ops::metric(self.ops, "homeport_forwarder_home_addresses").await?;
            ensure!(there >= home_addresses.into(), "{there} of {home_addresses}");
            Ok(())
        })
        .await
    }

    /// Ends it in order: it takes its pins away itself.
    pub(super) fn stop(mut self) -> Result<()> {
        self.process.terminate()?;
        self.process.wait()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // Of one that could not end in order; else nothing is left.
        if self.pins.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.pins)
        {
            eprintln!("{}: {error}", self.pins.display());
        }
    }
}
