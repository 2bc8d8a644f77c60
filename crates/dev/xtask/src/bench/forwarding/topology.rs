//! Generator, router and sink, and the kernel's own routes for what the fast path does.

use std::{fs, io::Write as _, ops::RangeInclusive, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_fastpath::testbed::{AGENT, CARE_OF, FirstHop, Testbed, home, run_on};
use homeport_hostnet::{TemporaryNamespace, write_sysctl};

use super::super::progress;

/// The router's interface towards the sink, and the generator's and the sink's own.
pub(super) const EGRESS: &str = "egress";
const GENERATOR: &str = "generator";
const SINK: &str = "sink";
pub(super) const SINK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
/// Routes that one `ip` gets, and times that those are tried which the kernel has no memory for at once.
const BATCH: usize = 50_000;
const TRIES: u32 = 20;

/// See the module. All of it goes with this.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) generator: TemporaryNamespace,
    router: TemporaryNamespace,
    _sink: TemporaryNamespace,
    /// The router's interface towards the generator.
    pub(super) ingress: String,
    /// Index of the router's interface towards the sink.
    pub(super) egress: u32,
    pub(super) first_hop: FirstHop,
}

impl Topology {
    /// Makes it, with a program at both ends of each link that receives.
    pub(super) fn create(bed: &mut Testbed) -> Result<Self> {
        let create = |label| TemporaryNamespace::create(label).context("needs root");
        let generator = create("homeport-generator")?;
        let router = create("homeport-router")?;
        let sink = create("homeport-sink")?;
        // The kernel names the thread after it.
        let ingress = format!("hp{}", std::process::id());
        let mac = |[a, b, c, d, e, f]: [u8; 6]| format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}");
        ip(
            &generator,
            &format!(
                "link add {GENERATOR} type veth peer name {ingress} netns {}\nlink set {GENERATOR} up\n",
                router.name()
            ),
        )?;
        ip(
            &router,
            &format!(
                "link add {EGRESS} type veth peer name {SINK} netns {}\n\
             link set {ingress} address {}\nlink set {ingress} up\nlink set {EGRESS} up\nlink set lo up\n",
                sink.name(),
                mac(ROUTER_MAC)
            ),
        )?;
        ip(&sink, &format!("link set {SINK} address {}\nlink set {SINK} up\n", mac(SINK_MAC)))?;
        write_sysctl(&router.namespace(), "net.ipv6.conf.all.forwarding", "1")?;
        // The kernel's tunnels: their source, and their end at the home agent. Each home address gets its
        // own route later.
        ip(
            &router,
            &format!(
                "neighbour add fe80::1 lladdr {} dev {EGRESS} nud permanent\n\
             route add default via fe80::1 dev {EGRESS}\n\
             sr tunsrc set {AGENT}\n\
             route add {AGENT}/128 encap seg6local action End.DT6 table 254 dev {EGRESS}\n",
                mac(SINK_MAC)
            ),
        )?;
        sink.namespace().run(|| bed.attach_sink(SINK))??;
        router.namespace().run(|| bed.attach_router(&ingress, EGRESS, SINK_MAC))??;
        // The generator has the first processor.
        let forwarding = std::thread::available_parallelism()?.get() - 1;
        pin_receiver(&router, &ingress, forwarding)?;
        let index = |namespace: &TemporaryNamespace, interface: &str| -> Result<u32> {
            let path = format!("/sys/class/net/{interface}/ifindex");
            let said = shell(namespace, &format!("cat {path}"))?;
            said.trim().parse().with_context(|| format!("{path}: {said}"))
        };
        let first_hop = FirstHop { interface: index(&generator, GENERATOR)?, mac: ROUTER_MAC };
        let egress = index(&router, EGRESS)?;
        Ok(Self { generator, router, _sink: sink, ingress, egress, first_hop })
    }

    /// Network namespace of the router.
    pub(super) fn router_name(&self) -> &str {
        self.router.name()
    }

    /// Gives home addresses their routes into the tunnel.
    pub(super) async fn add_routes(&self, hosts: RangeInclusive<u32>) -> Result<()> {
        let hosts: Vec<u32> = hosts.collect();
        let bar = progress(u32::try_from(hosts.len())?, "routes of the kernel");
        for hosts in hosts.chunks(BATCH) {
            let mut left = hosts.to_vec();
            for _ in 0..TRIES {
                left = self.try_routes(&left)?;
                if left.is_empty() {
                    break;
                }
            }
            ensure!(left.is_empty(), "the kernel refuses {} of {BATCH} routes", left.len());
            bar.inc(u64::try_from(hosts.len())?);
            tokio::task::yield_now().await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Says which were refused.
    fn try_routes(&self, hosts: &[u32]) -> Result<Vec<u32>> {
        let mut file = std::io::BufWriter::new(tempfile::NamedTempFile::new()?);
        for host in hosts {
            writeln!(
                file,
                "route replace {}/128 encap seg6 mode encap.red segs {CARE_OF} dev {EGRESS}",
                home(*host)
            )?;
        }
        let file = file.into_inner()?;
        let mut command = Command::new("ip");
        command.args(["-n", self.router.name(), "-force", "-batch"]).arg(file.path());
        let output = command.output().context("cannot run ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // "Command failed FILE:LINE"
        let lines = said.lines().filter(|line| line.starts_with("Command failed"));
        let mut refused = Vec::new();
        for line in lines {
            let number = line.rsplit(':').next().and_then(|number| number.parse::<usize>().ok());
            let host = number.and_then(|number| hosts.get(number.checked_sub(1)?));
            refused.push(*host.with_context(|| format!("ip says {line}"))?);
        }
        ensure!(output.status.success() || !refused.is_empty(), "ip refuses routes: {said}");
        Ok(refused)
    }
}

/// Receiving on the router's interface becomes the work of a thread, and the thread's processor all its own.
fn pin_receiver(router: &TemporaryNamespace, ingress: &str, processor: usize) -> Result<()> {
    shell(router, &format!("echo 1 > /sys/class/net/{ingress}/threaded"))?;
    let begin = format!("napi/{ingress}-");
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let Ok(number) = process.file_name().to_string_lossy().parse::<i32>() else { continue };
        // It may be gone by now.
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if name.starts_with(&begin) {
            return run_on(number, processor, 1).context("needs CAP_SYS_NICE");
        }
    }
    bail!("the kernel has made no thread {begin}*; threaded NAPI needs Linux 5.12")
}

fn ip(namespace: &TemporaryNamespace, commands: &str) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(commands.as_bytes())?;
    let mut command = Command::new("ip");
    command.args(["-n", namespace.name(), "-batch"]).arg(file.path());
    finish(command).map(drop)
}

/// With the namespace's own /sys.
fn shell(namespace: &TemporaryNamespace, script: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name(), "sh", "-c", script]);
    finish(command)
}

fn finish(mut command: Command) -> Result<String> {
    let output = command.output().context("cannot run ip; install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
