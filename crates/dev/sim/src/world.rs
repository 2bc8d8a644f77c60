//! A cluster and all that is around it: what happens in a run, millisecond by millisecond.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::bugs::Bug;
use crate::chance::Chance;
use crate::checks::{Checks, Event, Violation};
use crate::disk::Disk;
use crate::faults::Faults;
use crate::host::Host;
use crate::mobile::{MobileNodes, NODES_PER_FORWARDER};
use crate::net::{HostId, Net};
use crate::operator::{Operator, Replaced};
use crate::process;
use crate::servers::{FrontEnd, Replica};
use crate::subscriber::Subscriber;
use crate::trace::Trace;

/// Front-ends, and forwarders with their mobile nodes and a subscriber each.
const FRONT_ENDS: u64 = 2;
const FORWARDERS: u16 = 2;
/// Until the cluster serves for the first time.
const START_MAX_MS: u64 = 15_000;
/// From the end of all faults until everything has come together.
const CONVERGE_MAX_MS: u64 = 10_000;
/// Mobile nodes go on for so long after that.
const QUIET_MS: u64 = 1500;

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How long there are faults.
    pub(crate) faults_ms: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) told: bool,
}

/// What came of it.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) digest: String,
    pub(crate) events: u64,
    pub(crate) replicas: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) entries: u64,
    pub(crate) acknowledged: u64,
    pub(crate) violations: Vec<Violation>,
}

/// A replica, apart from its process.
pub(crate) struct Machine {
    disk: Disk,
    data_dir: PathBuf,
    /// The process may end by itself.
    may_end: bool,
}

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) trace: Trace,
    pub(crate) hosts: Vec<Host>,
    /// Of the first hosts.
    pub(crate) replicas: Vec<Machine>,
    pub(crate) front_ends: Range<HostId>,
    checks: Checks,
    replaced: Replaced,
    lost: BTreeSet<HostId>,
}

/// Runs it in this directory, which is empty.
pub(crate) fn run(plan: &Plan, directory: &Path) -> std::io::Result<Outcome> {
    let mut world = World::new(plan, directory);
    for host in 0..world.hosts.len() {
        world.try_start(host)?;
    }
    let mut faults = Faults::new(Chance::new(plan.seed, "faults"), plan.bug);
    let mut run = Run { plan, phase: Phase::Starting, phase_began_ms: 0 };
    let mut now_ms = 0;
    while !(run.phase == Phase::Done || world.checks.has_failed()) {
        now_ms += 1;
        process::set_now(now_ms);
        run.step(&mut world, &mut faults, now_ms);
        world.tick(&mut faults, now_ms);
    }
    let (digest, events) = world.trace.digest();
    Ok(Outcome {
        seed: plan.seed,
        digest: format!("{digest:016x}"),
        events,
        replicas: u64::try_from(world.replicas.len()).unwrap_or(0),
        simulated_ms: now_ms,
        faults: faults.counts(),
        entries: world.checks.newest(),
        acknowledged: world.checks.acknowledgements(),
        violations: world.checks.violations(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until the first Binding Update is acknowledged.
    Starting,
    Faults,
    /// Without faults, until everything has come together; so many were acknowledged when it began.
    Healing {
        acknowledged: u64,
    },
    Done,
}

struct Run<'p> {
    plan: &'p Plan,
    phase: Phase,
    phase_began_ms: u64,
}

impl Run<'_> {
    fn step(&mut self, world: &mut World, faults: &mut Faults, now_ms: u64) {
        let lasted = now_ms - self.phase_began_ms;
        match self.phase {
            Phase::Starting if world.is_serving() => self.enter(world, Phase::Faults, now_ms),
            Phase::Starting if lasted > START_MAX_MS => {
                world.not_converged("the cluster does not begin to serve");
            }
            Phase::Faults if lasted <= self.plan.faults_ms => faults.step(world, now_ms),
            Phase::Faults => {
                faults.heal(world);
                let acknowledged = world.checks.acknowledgements();
                self.enter(world, Phase::Healing { acknowledged }, now_ms);
            }
            Phase::Healing { acknowledged } => {
                // Processes that have ended by themselves are still started again.
                faults.mend(world, now_ms);
                let served = world.checks.acknowledgements() > acknowledged;
                let missing =
                    if served { world.missing() } else { Some("no acknowledgement".into()) };
                match missing {
                    None if lasted > QUIET_MS => self.enter(world, Phase::Done, now_ms),
                    Some(missing) if lasted > CONVERGE_MAX_MS => world.not_converged(&missing),
                    None | Some(_) => {}
                }
            }
            Phase::Starting | Phase::Done => {}
        }
    }

    fn enter(&mut self, world: &World, phase: Phase, now_ms: u64) {
        world.trace.event(match phase {
            Phase::Starting => "starting",
            Phase::Faults => "faults begin",
            Phase::Healing { .. } => "all faults are over",
            Phase::Done => "everything has come together",
        });
        (self.phase, self.phase_began_ms) = (phase, now_ms);
    }
}

impl World {
    fn new(plan: &Plan, directory: &Path) -> Self {
        let (seed, bug) = (plan.seed, plan.bug);
        let mut chance = Chance::new(seed, "world");
        let trace = Trace::new(plan.told);
        let net = Net::new(Chance::new(seed, "net"), trace.clone());
        let checks = Checks::new(trace.clone());
        let replaced = Replaced::default();
        let replicas = if chance.percent(75) { 3 } else { 5 };
        let (mut hosts, mut machines) = (Vec::new(), Vec::new());
        for node_id in 1..=replicas {
            let disk = Disk::new(Chance::new(seed, &format!("disk {node_id}")), bug);
            let data_dir = directory.join(format!("store-{node_id}"));
            let machine =
                Machine { disk: disk.clone(), data_dir: data_dir.clone(), may_end: false };
            machines.push(machine);
            let (host, net, checks) = (hosts.len(), net.clone(), checks.clone());
            let replica = Replica { node_id, replicas, host, net, disk, data_dir, checks, bug };
            hosts.push(Host::new(format!("replica {node_id}"), move || replica.main()));
        }
        let first_front_end = hosts.len();
        for id in 1..=FRONT_ENDS {
            let front_end = FrontEnd { id, replicas, host: hosts.len(), net: net.clone(), bug };
            hosts.push(Host::new(format!("front-end {id}"), move || front_end.main()));
        }
        let front_ends = first_front_end..hosts.len();
        for forwarder in 0..FORWARDERS {
            let (host, net, checks, trace) =
                (hosts.len(), net.clone(), checks.clone(), trace.clone());
            let front_ends = FRONT_ENDS;
            let nodes = MobileNodes { forwarder, front_ends, host, seed, net, checks, trace };
            hosts.push(Host::new(format!("mobile nodes {forwarder}"), move || nodes.main()));
        }
        for id in 0..usize::from(FORWARDERS) {
            let (host, net, checks, trace) =
                (hosts.len(), net.clone(), checks.clone(), trace.clone());
            let subscriber = Subscriber { id, replicas, host, seed, net, checks, trace, bug };
            hosts.push(Host::new(format!("subscriber {id}"), move || subscriber.main()));
        }
        let operator = Operator {
            replicas,
            mobile_nodes: u64::from(FORWARDERS * NODES_PER_FORWARDER),
            host: hosts.len(),
            seed,
            net: net.clone(),
            checks: checks.clone(),
            trace: trace.clone(),
            replaced: replaced.clone(),
            bug,
        };
        hosts.push(Host::new("operator".to_owned(), move || operator.main()));
        let lost = BTreeSet::new();
        Self { net, trace, hosts, replicas: machines, front_ends, checks, replaced, lost }
    }

    /// Everybody does what there is to do in this millisecond.
    fn tick(&mut self, faults: &mut Faults, now_ms: u64) {
        self.net.deliver();
        for host in 0..self.hosts.len() {
            let Some(ended) = self.hosts.get_mut(host).and_then(Host::tick) else { continue };
            let why = ended.err().unwrap_or_else(|| "without an error".to_owned());
            self.trace.event(&format!("{} ended: {why}", self.name(host)));
            let expected = self.replicas.get(host).is_some_and(|machine| machine.may_end);
            let replica = u64::try_from(host + 1).unwrap_or(0);
            self.checks.see(&Event::Ended { replica, why: &why, expected });
            self.stop(host, true);
            faults.ended(host, now_ms);
        }
        for why in process::take_panics() {
            self.checks.see(&Event::Ended { replica: 0, why: &why, expected: false });
        }
    }

    fn name(&self, host: HostId) -> &str {
        self.hosts.get(host).map_or("?", |host| &host.name)
    }

    pub(crate) fn is_up(&self, host: HostId) -> bool {
        self.hosts.get(host).is_some_and(Host::is_up)
    }

    /// The device of a replica; of the first one when there is none.
    pub(crate) fn disk(&self, replica: HostId) -> &Disk {
        &self.replicas[replica].disk
    }

    /// The next sync fails, and with it the process. Says whether there is one.
    pub(crate) fn fail_disk(&mut self, replica: HostId) -> bool {
        let is_up = self.is_up(replica);
        if let Some(machine) = self.replicas.get_mut(replica).filter(|_| is_up) {
            machine.disk.fail();
            machine.may_end = true;
        }
        is_up
    }

    pub(crate) fn halt(&mut self, host: HostId, halted: bool) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.halt(halted);
        }
    }

    pub(crate) fn jump(&mut self, host: HostId, by_ms: i64) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.jump(by_ms);
        }
    }

    /// The process is killed; with `power_fails` nobody is told, and what its disk had not synced may be
    /// gone.
    pub(crate) fn stop(&mut self, host: HostId, power_fails: bool) {
        self.trace.event(&format!("{} stops", self.name(host)));
        self.net.stop(host, power_fails);
        if let Some(machine) = self.replicas.get(host) {
            machine.disk.stop(power_fails);
        }
        if let Some(host) = self.hosts.get_mut(host) {
            host.stop();
        }
    }

    /// Starts a process that is down.
    pub(crate) fn start(&mut self, host: HostId) {
        if let Err(error) = self.try_start(host) {
            let why = format!("it cannot be started: {error}");
            let replica = u64::try_from(host + 1).unwrap_or(0);
            self.checks.see(&Event::Ended { replica, why: &why, expected: false });
        }
    }

    fn try_start(&mut self, host: HostId) -> std::io::Result<()> {
        if self.is_up(host) {
            return Ok(());
        }
        self.trace.event(&format!("{} starts", self.name(host)));
        if let Some(machine) = self.replicas.get_mut(host) {
            machine.may_end = self.lost.contains(&host);
        }
        self.net.start(host);
        self.hosts.get_mut(host).map_or(Ok(()), Host::start)
    }

    /// One replica of three, two of five may lose their disks in a run: with the others there is still a
    /// majority.
    pub(crate) fn may_lose_disk(&self) -> bool {
        self.lost.len() < self.replicas.len() / 2
    }

    /// What the replica had written is gone. It then is another replica under the id of this one, which
    /// the others must not take, unless `stale`: the disk still says whose it is.
    pub(crate) fn lose_disk(&mut self, replica: HostId, stale: bool) {
        let Some(machine) = self.replicas.get(replica) else { return };
        machine.disk.wipe();
        self.lost.insert(replica);
        if stale {
            drop(std::fs::remove_dir_all(machine.data_dir.join("snapshots")));
            return;
        }
        drop(std::fs::remove_dir_all(&machine.data_dir));
        let mut replaced = self.replaced.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        replaced.insert(u64::try_from(replica + 1).unwrap_or(0));
    }

    /// Every replica is there, and Binding Updates are acknowledged.
    fn is_serving(&self) -> bool {
        let (replicas, _) = self.checks.stand();
        replicas.len() == self.replicas.len() && self.checks.acknowledgements() > 0
    }

    /// What has not come together yet.
    fn missing(&self) -> Option<String> {
        let (replicas, subscribers) = self.checks.stand();
        let newest = self.checks.newest();
        for host in (0..self.replicas.len()).filter(|host| !self.lost.contains(host)) {
            let node_id = u64::try_from(host + 1).unwrap_or(0);
            let reached = replicas.get(&node_id).copied().unwrap_or(0);
            if !self.is_up(host) || reached < newest {
                return Some(format!("replica {node_id} stands at {reached} of {newest}"));
            }
        }
        for id in 0..usize::from(FORWARDERS) {
            let reached = subscribers.get(&id).copied().unwrap_or(0);
            if reached < newest {
                return Some(format!("subscriber {id} stands at {reached} of {newest}"));
            }
        }
        None
    }

    fn not_converged(&self, what: &str) {
        self.checks.see(&Event::NotConverged { what });
    }
}
