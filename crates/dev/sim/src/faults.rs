//! Faults, drawn from the seed: what happens to the network, the disks, the processes and the clocks.

use std::collections::BTreeMap;

use crate::bugs::Bug;
use crate::chance::Chance;
use crate::net::HostId;
use crate::world::World;

/// Pause between two faults, in milliseconds.
const PAUSE_MS: (u64, u64) = (40, 1400);
/// How long a fault lasts, in milliseconds.
const LAST_MS: (u64, u64) = (50, 2500);

/// A fault that lasts.
#[derive(Clone, Debug)]
enum Lasting {
    /// Nothing comes through this way.
    Blocked(Vec<(HostId, HostId)>),
    SlowNet(HostId),
    SlowDisk(HostId),
    Halted(HostId),
    Down(HostId),
}

/// What is drawn, with how often in a hundred faults, and the name that it is counted by.
const KINDS: [(u64, &str); 14] = [
    (12, "one_way"),
    (10, "isolated"),
    (12, "split"),
    (8, "slow_network"),
    (8, "connections_reset"),
    (10, "replica_killed"),
    (12, "power_lost"),
    (3, "power_lost_by_all"),
    (6, "slow_disk"),
    (3, "disk_failed"),
    (2, "disk_lost"),
    (7, "clock_jumped"),
    (4, "front_end_killed"),
    (3, "process_held"),
];

/// The faults of a run.
pub(crate) struct Faults {
    chance: Chance,
    next_ms: u64,
    /// With the time of their end.
    lasting: Vec<(u64, Lasting)>,
    counts: BTreeMap<&'static str, u64>,
    bug: Option<Bug>,
}

impl Faults {
    pub(crate) fn new(chance: Chance, bug: Option<Bug>) -> Self {
        Self { chance, next_ms: 0, lasting: Vec::new(), counts: BTreeMap::new(), bug }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    }

    /// Ends what is over.
    pub(crate) fn mend(&mut self, world: &mut World, now_ms: u64) {
        let (over, lasting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lasting).into_iter().partition(|(end, _)| *end <= now_ms);
        self.lasting = lasting;
        over.into_iter().for_each(|(_, fault)| end(world, &fault));
    }

    /// Ends what is over, and perhaps begins something.
    pub(crate) fn step(&mut self, world: &mut World, now_ms: u64) {
        self.mend(world, now_ms);
        if now_ms >= self.next_ms {
            self.begin(world, now_ms);
            self.next_ms = now_ms + self.chance.range(PAUSE_MS.0, PAUSE_MS.1);
        }
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, world: &mut World) {
        for (_, fault) in std::mem::take(&mut self.lasting) {
            end(world, &fault);
        }
        world.net.heal();
    }

    /// A process that ended by itself is started again, as by its supervisor.
    pub(crate) fn ended(&mut self, host: HostId, now_ms: u64) {
        let end = now_ms + self.chance.range(100, 1000);
        self.lasting.push((end, Lasting::Down(host)));
    }

    fn begin(&mut self, world: &mut World, now_ms: u64) {
        let mut at = self.chance.range(0, KINDS.iter().map(|(often, _)| often).sum());
        let kind = KINDS.iter().find(|(often, _)| {
            let is_it = at < *often;
            at = at.saturating_sub(*often);
            is_it
        });
        let Some((_, kind)) = kind else { return };
        let replica = self.draw(0, world.replicas.len());
        if !self.carry_out(world, kind, replica, now_ms) {
            return;
        }
        *self.counts.entry(kind).or_default() += 1;
        world.trace.event(&format!("fault: {kind} (replica {})", replica + 1));
    }

    fn draw(&mut self, low: usize, high: usize) -> usize {
        let bound = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        usize::try_from(self.chance.range(bound(low), bound(high))).unwrap_or(low)
    }

    /// Says whether it took place.
    fn carry_out(&mut self, world: &mut World, kind: &str, replica: HostId, now_ms: u64) -> bool {
        let end_ms = now_ms + self.chance.range(LAST_MS.0, LAST_MS.1);
        match kind {
            "one_way" | "isolated" | "split" => {
                let pairs = self.cut(world, kind, replica);
                pairs.iter().for_each(|(from, to)| world.net.block(*from, *to, true));
                self.lasting.push((end_ms, Lasting::Blocked(pairs)));
            }
            "slow_network" => {
                let host = self.draw(0, world.hosts.len());
                world.net.slow(host, self.chance.range(5, 300));
                self.lasting.push((end_ms, Lasting::SlowNet(host)));
            }
            "connections_reset" => {
                let host = self.draw(0, world.hosts.len());
                world.net.reset(replica, host);
            }
            "slow_disk" => {
                world.disk(replica).slow(self.chance.range(5, 200));
                self.lasting.push((end_ms, Lasting::SlowDisk(replica)));
            }
            "disk_failed" => return world.fail_disk(replica),
            "clock_jumped" => {
                let far = if self.chance.percent(10) { 3_600_000 } else { 5_000 };
                let by = i64::try_from(self.chance.range(0, 2 * far)).unwrap_or(0);
                let far = i64::try_from(far).unwrap_or(0);
                world.jump(replica, by - far);
            }
            _ => return self.stop(world, kind, replica, end_ms),
        }
        true
    }

    /// Processes stop, or are held.
    fn stop(&mut self, world: &mut World, kind: &str, replica: HostId, end_ms: u64) -> bool {
        let host = match kind {
            "front_end_killed" => {
                let front_ends = world.front_ends.clone();
                self.draw(front_ends.start, front_ends.end)
            }
            _ => replica,
        };
        if kind != "power_lost_by_all" && !world.is_up(host) {
            return false;
        }
        match kind {
            "process_held" => {
                world.halt(host, true);
                self.lasting.push((end_ms, Lasting::Halted(host)));
            }
            "power_lost_by_all" => {
                for replica in 0..world.replicas.len() {
                    if world.is_up(replica) {
                        world.stop(replica, true);
                        let end_ms = end_ms + self.chance.range(0, 400);
                        self.lasting.push((end_ms, Lasting::Down(replica)));
                    }
                }
            }
            "disk_lost" => {
                if !world.may_lose_disk() {
                    return false;
                }
                world.stop(replica, true);
                world.lose_disk(replica, self.bug == Some(Bug::StaleEpoch));
                self.lasting.push((end_ms, Lasting::Down(replica)));
            }
            _ => {
                world.stop(host, kind == "power_lost");
                self.lasting.push((end_ms, Lasting::Down(host)));
            }
        }
        true
    }

    /// Which ways are cut.
    fn cut(&mut self, world: &World, kind: &str, replica: HostId) -> Vec<(HostId, HostId)> {
        let hosts = 0..world.hosts.len();
        let both = |(one, other)| [(one, other), (other, one)];
        match kind {
            "one_way" => {
                let other = self.draw(0, world.hosts.len());
                let pair =
                    if self.chance.percent(50) { (replica, other) } else { (other, replica) };
                vec![pair]
            }
            "isolated" => {
                let others = hosts.filter(|host| *host != replica);
                others.flat_map(|other| both((replica, other))).collect()
            }
            // Everybody else reaches both sides.
            _ => {
                let sides: Vec<bool> =
                    world.replicas.iter().map(|_| self.chance.percent(50)).collect();
                let mut pairs = Vec::new();
                for (one, side) in sides.iter().enumerate() {
                    let others = sides.iter().enumerate().filter(|(_, other)| *other != side);
                    pairs.extend(others.map(|(other, _)| (one, other)));
                }
                pairs
            }
        }
    }
}

fn end(world: &mut World, fault: &Lasting) {
    match fault {
        Lasting::Blocked(pairs) => {
            pairs.iter().for_each(|(from, to)| world.net.block(*from, *to, false));
        }
        Lasting::SlowNet(host) => world.net.slow(*host, 0),
        Lasting::SlowDisk(host) => world.disk(*host).slow(0),
        Lasting::Halted(host) => world.halt(*host, false),
        Lasting::Down(host) => world.start(*host),
    }
}
