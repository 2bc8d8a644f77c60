//! The chart's pods without Kubernetes: their own command lines, environments, mounts, users and probes, as processes in
//! network namespaces on one machine. Three store replicas, two front-ends, two forwarders; what `helm test` runs registers
//! a mobile node through them, and a rolling update in the chart's order may lose no refresh.

mod container;
mod load;
mod place;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::Value;

use self::container::{Machine, Running, start, there, write_map};
use self::load::{Load, Refreshed};
use self::place::{HUB, Place, hub, must};
use crate::{
    chart::{self, Objects, at, items, text},
    packages,
    report::Report,
};

/// Front-ends and forwarders; the chart says how many store replicas.
const FRONT_ENDS: u8 = 2;
const FORWARDERS: u8 = 2;
/// The home agent's IPv4 address of the home prefix whose mobile nodes refresh, and of that which the test makes.
const HOME_AGENT: &str = "203.0.113.42";
const PROBED: &str = "203.0.113.41";
const PORT: u16 = 4191;
/// Refreshes before the rolling update begins, and after it has ended.
const BEFORE_AND_AFTER: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The program of the image; what `cargo xtask image` has built when it is there, else that of `cargo build`.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// In the namespace between the pods already: where the report goes.
    #[arg(long, hide = true, value_name = "FILE")]
    inside: Option<PathBuf>,
}

/// Runs it all in a namespace of its own, of which nothing is left.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::default();
    if let Some(file) = &options.inside {
        let refreshed = inside(root, options)?;
        let figures = [refreshed.begun, refreshed.failed, refreshed.again];
        let longest = u32::try_from(refreshed.longest.as_millis())?;
        fs::write(file, serde_json::to_string(&(figures, longest))?)?;
        return Ok(report);
    }
    let tools = ["ip", "unshare", "setpriv", "chroot", "curl", "sysctl"];
    let lacking = tools.into_iter().find(|tool| !packages::is_found(tool));
    let reason = match (homeport_hostnet::privileges(), lacking) {
        (Err(reason), _) => Some(reason.to_string()),
        (Ok(()), Some(tool)) => Some(format!("{tool} is not installed")),
        (Ok(()), None) => None,
    };
    let helm = chart::helm(&root.join("target/tools"), "4")?;
    if let Some(reason) = reason.or_else(|| helm.is_none().then(|| "no helm".to_owned())) {
        eprintln!("\n*** SKIPPED pods: {reason}: NOT CHECKED\n");
        report.skipped = 1;
        return Ok(report);
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    must("ip", &["netns", "add", "hpk-hub"])?;
    let mut command = Command::new("ip");
    // The names of the pods' namespaces are seen by nobody else, and end with this process.
    let apart = "mount -t tmpfs none /run/netns; exec \"$@\"";
    command.args(["netns", "exec", "hpk-hub", "/bin/sh", "-eu", "-c", apart, "sh"]);
    command.arg(std::env::current_exe()?).arg("pods").arg("--inside").arg(&file);
    if let Some(program) = &options.program {
        command.arg("--program").arg(fs::canonicalize(program)?);
    }
    let ended = command.status();
    must("ip", &["netns", "delete", "hpk-hub"])?;
    let passed = ended?.success();
    report.count(passed);
    if passed {
        let ([begun, failed, again], longest): ([u32; 3], u32) =
            serde_json::from_str(&fs::read_to_string(file)?)?;
        report.count(failed == 0);
        report.figure("refreshes", begun.into(), "1");
        report.figure("refreshes_failed", failed.into(), "1");
        report.figure("refreshes_sent_again", again.into(), "1");
        report.figure("refresh_longest_ms", longest.into(), "ms");
        report.detail.insert("refreshes".to_owned(), begun.into());
        report.detail.insert("refreshes_failed".to_owned(), failed.into());
    }
    Ok(report)
}

/// A pod that runs.
struct Served {
    place: Arc<Place>,
    /// What it is called, and its template.
    name: String,
    pod: Value,
    running: Option<Running>,
}

/// All of them.
struct Cluster {
    machine: Machine,
    objects: Objects,
    stores: Vec<Served>,
    front_ends: Vec<Served>,
    forwarders: Vec<Served>,
    jobs: Arc<Place>,
    /// The last namespace and pod that was made.
    places: u8,
    serial: u32,
}

fn inside(root: &Path, options: &Options) -> anyhow::Result<Refreshed> {
    let folder = tempfile::tempdir()?;
    let built =
        ["target-image/x86_64-unknown-linux-musl/release/homeport", "target/debug/homeport"];
    let built = built.map(|it| root.join(it));
    let [image, debug] = &built;
    let found = if image.is_file() { image } else { debug };
    let program = there(options.program.as_deref().unwrap_or(found))?;
    let machine = Machine { folder: folder.path().to_owned(), program };
    for sub in ["maps", "roots", "logs", "claims"] {
        fs::create_dir_all(machine.folder.join(sub))?;
    }
    // What nobody else may look into is looked into by the pods' user.
    must("chmod", &["755", &machine.folder.display().to_string()])?;
    fs::write(machine.hosts(), "127.0.0.1 localhost\n")?;
    println!("pods: {}", machine.program.display());
    hub()?;
    let helm = chart::helm(&root.join("target/tools"), "4")?.context("no helm")?;
    let count = format!("signalling.replicas={FRONT_ENDS}");
    let objects = chart::render(root, &helm, &["--set", &count, "--set", "telemetry.format=text"])?;
    let jobs = Arc::new(Place::make(200)?);
    let (stores, front_ends, forwarders) = (Vec::new(), Vec::new(), Vec::new());
    let mut cluster =
        Cluster { machine, objects, stores, front_ends, forwarders, jobs, places: 9, serial: 0 };
    let result = cluster.live();
    if result.is_err() {
        let kept = folder.keep();
        eprintln!("pods: logs are in {}", kept.join("logs").display());
    }
    result
}

impl Cluster {
    fn live(&mut self) -> anyhow::Result<Refreshed> {
        self.install()?;
        self.helm_test()?;
        let create =
            ["home-prefixes", "create", "2001:db8:0:1::/64", "--home-agent", "2001:db8:0:1::1"];
        let more = ["--home-agent-ipv4", HOME_AGENT, "--authentication", "none"];
        self.homeportctl(&[create.as_slice(), &more].concat())?;
        let load = Load::start(HUB, (HOME_AGENT.parse()?, PORT))?;
        println!("pods: mobile nodes are registered");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let refreshing = std::thread::spawn(move || load.run(&stopped));
        std::thread::sleep(BEFORE_AND_AFTER);
        let updated = self.update();
        std::thread::sleep(BEFORE_AND_AFTER);
        stop.store(true, Ordering::Relaxed);
        let refreshed =
            refreshing.join().map_err(|_| anyhow::anyhow!("the load has panicked"))??;
        updated?;
        println!(
            "pods: {} refreshes, {} failed, {} sent again, the longest took {} ms",
            refreshed.begun,
            refreshed.failed,
            refreshed.again,
            refreshed.longest.as_millis()
        );
        self.helm_test()?;
        Ok(refreshed)
    }

    /// As after `helm install`: all at once, and no replica waits for another.
    fn install(&mut self) -> anyhow::Result<()> {
        for map in self.objects.of_kind("ConfigMap") {
            write_map(&self.machine, map)?;
        }
        let (store, front_end, forwarder) = (
            self.template("StatefulSet", "homeport-store")?,
            self.template("Deployment", "homeport-signalling")?,
            self.template("DaemonSet", "homeport-forwarder")?,
        );
        let replicas =
            at(self.workload("StatefulSet", "homeport-store")?, "spec/replicas").as_u64();
        for ordinal in 0..replicas.context("the store has no replicas")? {
            let place = self.place()?;
            let name = format!("homeport-store-{ordinal}");
            self.stores.push(Served { place, name, pod: store.clone(), running: None });
        }
        for _ in 0..FRONT_ENDS {
            let served = self.front_end(&front_end)?;
            self.front_ends.push(served);
        }
        for n in 1..=FORWARDERS {
            let place = self.place()?;
            place.forward()?;
            let name = format!("homeport-forwarder-{n}");
            self.forwarders.push(Served { place, name, pod: forwarder.clone(), running: None });
        }
        self.write_hosts()?;
        let machine = &self.machine;
        let all = self.stores.iter_mut().chain(&mut self.front_ends);
        for served in all {
            served.begin(machine)?;
        }
        for served in self.stores.iter_mut().chain(&mut self.front_ends) {
            served.wait_until_ready()?;
        }
        println!("pods: {} stores and {FRONT_ENDS} front-ends are ready", self.stores.len());
        for served in &mut self.forwarders {
            served.begin(machine)?;
            served.wait_until_ready()?;
        }
        println!("pods: {FORWARDERS} forwarders are ready");
        self.route()
    }

    /// As `helm upgrade` does it: the Job before it, then each workload by its own strategy.
    fn update(&mut self) -> anyhow::Result<()> {
        self.job("homeport-before-upgrade")?;
        for at in (0..self.stores.len()).rev() {
            let machine = &self.machine;
            let served = self.stores.get_mut(at).context("no such store")?;
            served.restart(machine)?;
        }
        self.update_front_ends()?;
        for at in 0..self.forwarders.len() {
            let served = self.forwarders.get_mut(at).context("no such forwarder")?;
            served.finish()?;
            // Its device is gone, and with it what was announced.
            self.route_without(Some(at))?;
            let machine = &self.machine;
            let served = self.forwarders.get_mut(at).context("no such forwarder")?;
            served.begin(machine)?;
            served.wait_until_ready()?;
            self.route()?;
        }
        self.job("homeport-after-upgrade")
    }

    /// One more comes, and is there for so long as the deployment says; then an old one goes.
    fn update_front_ends(&mut self) -> anyhow::Result<()> {
        let deployment = self.workload("Deployment", "homeport-signalling")?;
        let settled = at(deployment, "spec/minReadySeconds").as_u64().unwrap_or(0);
        let template = self.template("Deployment", "homeport-signalling")?;
        for _ in 0..FRONT_ENDS {
            let mut fresh = self.front_end(&template)?;
            fresh.begin(&self.machine)?;
            fresh.wait_until_ready()?;
            let mut old = self.front_ends.remove(0);
            self.front_ends.push(fresh);
            self.write_hosts_with(Some(&old))?;
            std::thread::sleep(Duration::from_secs(settled));
            // The end of a pod and its end as an address of the service begin together.
            self.write_hosts()?;
            old.finish()?;
        }
        Ok(())
    }

    fn front_end(&mut self, template: &Value) -> anyhow::Result<Served> {
        self.serial += 1;
        let name = format!("homeport-signalling-{}", self.serial);
        Ok(Served { place: self.place()?, name, pod: template.clone(), running: None })
    }

    fn place(&mut self) -> anyhow::Result<Arc<Place>> {
        self.places += 1;
        Ok(Arc::new(Place::make(self.places)?))
    }

    fn workload(&self, kind: &str, name: &str) -> anyhow::Result<&Value> {
        self.objects.find(kind, name).with_context(|| format!("the chart has no {kind} {name}"))
    }

    fn template(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(at(self.workload(kind, name)?, "spec/template").clone())
    }

    fn write_hosts(&self) -> anyhow::Result<()> {
        self.write_hosts_with(None)
    }

    /// What the cluster's DNS would say of the chart's headless services. The file keeps its inode: it is mounted.
    fn write_hosts_with(&self, more: Option<&Served>) -> anyhow::Result<()> {
        let domain = "homeport.svc.cluster.local";
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for served in &self.stores {
            let (address, name) = (served.place.address, &served.name);
            hosts += &format!("{address} {name}.homeport-store-peers.{domain}\n");
        }
        for served in self.front_ends.iter().chain(more) {
            let address = served.place.address;
            hosts += &format!("{address} homeport-signalling-ready.{domain}\n");
        }
        Ok(fs::write(self.machine.hosts(), hosts)?)
    }

    fn route(&self) -> anyhow::Result<()> {
        self.route_without(None)
    }

    /// As routers do who hear the forwarders' routes.
    fn route_without(&self, gone: Option<usize>) -> anyhow::Result<()> {
        let there = self.forwarders.iter().enumerate().filter(|(at, _)| Some(*at) != gone);
        let hops: Vec<String> = there.map(|(_, it)| it.place.address.to_string()).collect();
        for home_agent in [HOME_AGENT, PROBED] {
            let route = format!("{home_agent}/32");
            let mut arguments = vec!["route", "replace", &route];
            for hop in &hops {
                arguments.extend(["nexthop", "via", hop]);
            }
            must("ip", &arguments)?;
        }
        Ok(())
    }

    /// Every container of a hook's pod, one after the other; again as often as the Job says.
    fn job(&self, name: &str) -> anyhow::Result<()> {
        let job = self.workload("Job", name)?;
        let mut left = at(job, "spec/backoffLimit").as_u64().unwrap_or(6);
        loop {
            match self.job_once(at(job, "spec/template"), name) {
                Err(error) if left > 0 => eprintln!("pods: {error:#}: again"),
                ended => return ended,
            }
            left -= 1;
        }
    }

    fn job_once(&self, pod: &Value, name: &str) -> anyhow::Result<()> {
        let spec = &pod["spec"];
        for container in items(&spec["initContainers"]).iter().chain(items(&spec["containers"])) {
            let said = self.to_its_end(pod, name, container)?;
            println!("pods: {name} {}: {}", text(&container["name"]), said.replace('\n', "; "));
        }
        Ok(())
    }

    fn helm_test(&self) -> anyhow::Result<()> {
        let pod = self.workload("Pod", "homeport-test")?;
        for container in items(at(pod, "spec/containers")) {
            let said = self.to_its_end(pod, "homeport-test", container)?;
            println!("pods: helm test: {}", said.replace('\n', "; "));
        }
        Ok(())
    }

    /// In the place of a Job, with other arguments.
    fn homeportctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let pod = self.workload("Pod", "homeport-test")?;
        let container = items(at(pod, "spec/containers")).first();
        let mut container = container.context("the test has no container")?.clone();
        container["args"] = arguments.into();
        self.to_its_end(pod, "homeportctl", &container).map(drop)
    }

    fn to_its_end(&self, pod: &Value, name: &str, container: &Value) -> anyhow::Result<String> {
        let running = start(&self.machine, &self.jobs, (pod, name), container)?;
        let (status, said) = running.wait()?;
        ensure!(status.success(), "{name} has failed ({status}): {said}");
        Ok(said)
    }
}

impl Served {
    fn container(&self) -> anyhow::Result<&Value> {
        items(at(&self.pod, "spec/containers")).first().context("a pod has no container")
    }

    fn begin(&mut self, machine: &Machine) -> anyhow::Result<()> {
        for container in items(at(&self.pod, "spec/initContainers")) {
            let running = start(machine, &self.place, (&self.pod, &self.name), container)?;
            let (status, said) = running.wait()?;
            if !status.success() {
                bail!("{}: {} has failed ({status}): {said}", self.name, text(&container["name"]));
            }
        }
        self.running =
            Some(start(machine, &self.place, (&self.pod, &self.name), self.container()?)?);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let container = self.container()?.clone();
        let running = self.running.as_mut().context("the pod does not run")?;
        running.wait_until_ready(&self.place, &container)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let running = self.running.take().context("the pod does not run")?;
        let took = running.end()?;
        println!("pods: {} ended in {} ms", self.name, took.as_millis());
        Ok(())
    }

    fn restart(&mut self, machine: &Machine) -> anyhow::Result<()> {
        self.finish()?;
        self.begin(machine)?;
        self.wait_until_ready()
    }
}
