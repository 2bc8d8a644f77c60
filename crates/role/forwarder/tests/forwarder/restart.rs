//! With privileges: forwarders that are killed or ended while packets pass by XDP, and what those that
//! come after them find.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use homeport_hostnet::Tun;
use homeport_wire::{PacketBuilder, encapsulate_v6, protocol, walk};

use crate::{
    fakes::*,
    fast_path::{SENT_DOWN, SENT_UP, far_end},
    process::{Process, Scratch, was_a_forwarder},
    tun::{CARE_OF, Laboratory},
};

const LIFETIME: Duration = Duration::from_secs(3000);
/// Between two packets of one direction.
const PACE: Duration = Duration::from_millis(3);
const OTHER_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x101);
const OTHER_CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x12);

struct Stage {
    laboratory: Laboratory,
    scratch: Scratch,
    store: RunningStore,
    store_port: u16,
    _far_end: homeport_fastpath::FastPath,
}

impl Stage {
    async fn build() -> Option<Self> {
        let mut far_end = far_end()?;
        let laboratory = Laboratory::build().await;
        let world = laboratory.world.namespace();
        world.run(|| far_end.accept_redirected("down")).unwrap().unwrap();
        // What waits for a test that has no processor for a while must not be lost here.
        let long = ["link", "set", "rest", "txqueuelen", "20000"];
        world.run(|| Command::new("ip").args(long).status().unwrap()).unwrap();
        let store_port = free_port();
        let store = RunningStore::start(store_port, vec![]);
        let stage =
            Self { laboratory, scratch: Scratch::new(), store, store_port, _far_end: far_end };
        stage.store_has(1, &[(HOME, CARE_OF), (OTHER_HOME, OTHER_CARE_OF)]);
        Some(stage)
    }

    /// What the store tells those who ask from now on.
    fn store_has(&self, revision: u64, homes: &[(Ipv6Addr, Ipv6Addr)]) {
        let homes = homes.iter();
        let homes =
            homes.map(|(home, care_of)| bound(*home, SocketAddr::from((*care_of, 0)), LIFETIME));
        self.store.begins_with(vec![snapshot(revision, homes.collect())]);
    }

    /// Starts a forwarder for a test of this module.
    fn start(&self, test: &str, more: &str) -> Process {
        let tun = format!("[tun]\nnetns = \"{}\"\n", self.laboratory.edge.name());
        let test = format!("restart::{test}");
        Process::start(&self.scratch, &test, self.store_port, &format!("{tun}{more}"))
    }

    fn xdp(&self, more: &str) -> String {
        let pins = self.scratch.pins();
        format!(
            "[xdp]\nmode = \"native\"\ninterfaces = [\"up\"]\nhome_addresses_max = 1000\n\
             pin_dir = \"{}\"\n{more}\n",
            pins.display()
        )
    }

    fn rest(&self) -> &Tun {
        &self.laboratory.rest
    }

    /// Until packets of both directions pass by XDP: the router's address is known.
    async fn until_fast(&self, forwarder: &Process) {
        forwarder.until("homeport_forwarder_revision", |it| it >= 1.0).await;
        in_time("packets by XDP", async {
            loop {
                self.rest().send(&down(HOME, u32::MAX)).await.unwrap();
                self.rest().send(&up(u32::MAX)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                let sent = (forwarder.metric(SENT_DOWN).await, forwarder.metric(SENT_UP).await);
                if sent.0 > 0.0 && sent.1 > 0.0 {
                    return;
                }
            }
        })
        .await;
    }

    /// How many of ten packets for a home address come out of a tunnel to this care-of address.
    async fn tunnelled(&self, home: Ipv6Addr, care_of: Ipv6Addr) -> usize {
        static NEXT: AtomicU32 = AtomicU32::new(1 << 30);
        let first = NEXT.fetch_add(10, Ordering::Relaxed);
        let mut count = 0;
        let mut packet = vec![0; 2000];
        for number in first..first + 10 {
            self.rest().send(&down(home, number)).await.unwrap();
        }
        let listen = async {
            while count < 10 {
                let len = self.rest().recv(&mut packet).await.unwrap();
                let opened = walk(&packet[..len]).unwrap();
                if opened.header.destination == care_of && opened.upper == protocol::IPV6 {
                    // What was sent before may still come.
                    let number = number_of(walk(opened.payload).unwrap().payload);
                    count += usize::from((first..first + 10).contains(&number));
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(1), listen).await);
        count
    }

    fn attached(&self) -> bool {
        let show = || Command::new("ip").args(["link", "show", "up"]).output().unwrap();
        let shown = self.laboratory.edge.namespace().run(show).unwrap();
        String::from_utf8(shown.stdout).unwrap().contains("xdp")
    }
}

fn down(home: Ipv6Addr, number: u32) -> Vec<u8> {
    PacketBuilder::new(CORRESPONDENT, home).build(protocol::UDP, &payload(number))
}

fn up(number: u32) -> Vec<u8> {
    let inner = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &payload(number));
    encapsulate_v6(&inner, CARE_OF, AGENT, 64, 0, 0)
}

fn payload(number: u32) -> Vec<u8> {
    [&[0; 8][..], &number.to_be_bytes(), &[7; 20]].concat()
}

fn number_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[8..12].try_into().unwrap())
}

/// How often each number came, by direction.
#[derive(Default)]
struct Came {
    down: BTreeMap<u32, u32>,
    up: BTreeMap<u32, u32>,
}

impl Came {
    fn take(&mut self, packet: &[u8]) {
        let Ok(opened) = walk(packet) else { return };
        if opened.header.destination == CARE_OF && opened.upper == protocol::IPV6 {
            let inner = walk(opened.payload).unwrap();
            *self.down.entry(number_of(inner.payload)).or_default() += 1;
        } else if opened.header.destination == CORRESPONDENT && opened.upper == protocol::UDP {
            *self.up.entry(number_of(opened.payload)).or_default() += 1;
        }
    }

    /// Each of so many came once.
    fn is_whole(&self, sent: u32, what: &str) {
        for (direction, came) in [("down", &self.down), ("up", &self.up)] {
            let lost: Vec<u32> = (0..sent).filter(|it| !came.contains_key(it)).collect();
            let twice: Vec<_> = came.iter().filter(|(it, n)| **it < sent && **n > 1).collect();
            assert!(
                lost.is_empty(),
                "{direction}, {what}: {} of {sent} lost: {lost:?}",
                lost.len()
            );
            assert!(twice.is_empty(), "{direction}, {what}: more than once: {twice:?}");
        }
        println!("{what}: {sent} packets each way, none lost, none twice");
    }
}

/// Sends numbered packets both ways until it is told to stop, and takes what comes until all has; says
/// how many were sent.
async fn load(rest: &Tun, is_over: &AtomicBool, came: &mut Came) -> u32 {
    let mut sent = 0;
    let mut packet = vec![0; 2000];
    let mut ticks = tokio::time::interval(PACE);
    while !is_over.load(Ordering::Relaxed) {
        tokio::select! {
            _ = ticks.tick() => {
                rest.send(&down(HOME, sent)).await.unwrap();
                rest.send(&up(sent)).await.unwrap();
                sent += 1;
            }
            len = rest.recv(&mut packet) => came.take(&packet[..len.unwrap()]),
        }
    }
    let all = async {
        let has = |came: &BTreeMap<u32, u32>| (0..sent).all(|number| came.contains_key(&number));
        while !(has(&came.down) && has(&came.up)) {
            let len = rest.recv(&mut packet).await.unwrap();
            came.take(&packet[..len]);
        }
    };
    // What has not come by then is lost; what comes twice comes at once.
    drop(tokio::time::timeout(Duration::from_secs(2), all).await);
    sent
}

/// Loads the forwarder while `work` goes on.
async fn loaded<T>(stage: &Stage, what: &str, work: impl Future<Output = T>) -> T {
    let is_over = AtomicBool::new(false);
    let mut came = Came::default();
    let (sent, result) = tokio::join!(load(stage.rest(), &is_over, &mut came), async {
        let result = work.await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        is_over.store(true, Ordering::Relaxed);
        result
    });
    assert!(sent > 100, "{sent}");
    came.is_whole(sent, what);
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_lose_no_packet() {
    if was_a_forwarder().await {
        return;
    }
    let Some(stage) = Stage::build().await else { return };
    let start =
        || stage.start("restarts_under_load_lose_no_packet", &stage.xdp("at_stop = \"keep\""));
    let dead = Duration::from_secs(1);
    let mut forwarder = start();
    stage.until_fast(&forwarder).await;
    for round in 1..=3 {
        forwarder = loaded(&stage, &format!("SIGKILL {round}"), async {
            forwarder.kill();
            tokio::time::sleep(dead).await;
            let forwarder = start();
            // Also while it makes the table that it found what the store says.
            forwarder.until("homeport_forwarder_revision", |it| it >= 1.0).await;
            forwarder
        })
        .await;
        forwarder = loaded(&stage, &format!("SIGTERM {round}"), async {
            forwarder.terminate().await;
            tokio::time::sleep(dead).await;
            let forwarder = start();
            forwarder.until("homeport_forwarder_revision", |it| it >= 1.0).await;
            forwarder
        })
        .await;
    }
    let log = stage.scratch.log();
    assert_eq!(log.matches("with the table that was kept").count(), 6, "{log}");

    // Nothing after the end of the binding.
    stage.store_has(2, &[(OTHER_HOME, OTHER_CARE_OF)]);
    in_time("the revision", async {
        while forwarder.metric("homeport_forwarder_revision").await < 2.0 {
            stage.store.say(message(2, vec![unbound(HOME)])).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(stage.tunnelled(HOME, CARE_OF).await, 0);
    assert_eq!(stage.tunnelled(OTHER_HOME, OTHER_CARE_OF).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_no_forwarder_ran_is_gone_when_the_store_has_been_heard() {
    const TEST: &str = "what_ended_while_no_forwarder_ran_is_gone_when_the_store_has_been_heard";
    if was_a_forwarder().await {
        return;
    }
    let Some(stage) = Stage::build().await else { return };
    let forwarder = stage.start(TEST, &stage.xdp(""));
    stage.until_fast(&forwarder).await;
    forwarder.kill();
    assert!(stage.attached());
    stage.store_has(5, &[(OTHER_HOME, CARE_OF)]);
    assert_eq!(stage.tunnelled(HOME, CARE_OF).await, 10, "for a while it goes on");
    let forwarder = stage.start(TEST, &stage.xdp(""));
    forwarder.until("homeport_forwarder_revision", |it| it == 5.0).await;
    assert_eq!(stage.tunnelled(HOME, CARE_OF).await, 0, "it has ended");
    assert_eq!(stage.tunnelled(OTHER_HOME, CARE_OF).await, 10, "and this one has moved");

    // Another size of the table: a new one takes the place of the old one when it is whole, and no
    // packet meets neither.
    stage.store_has(6, &[(HOME, CARE_OF)]);
    stage.store.say(message(6, vec![bound(HOME, SocketAddr::from((CARE_OF, 0)), LIFETIME)])).await;
    stage.until_fast(&forwarder).await;
    let larger = stage.xdp("").replace("1000", "5000");
    let forwarder = loaded(&stage, "another size", async {
        forwarder.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let forwarder = stage.start(TEST, &larger);
        forwarder.until("homeport_forwarder_revision", |it| it == 6.0).await;
        forwarder
    })
    .await;
    let log = stage.scratch.log();
    assert!(log.contains("of another version or size"), "{log}");
    assert!(log.contains("in the place of an earlier program"), "{log}");

    // At an end in order nothing stays; and when no fast path is wanted any more, neither.
    forwarder.terminate().await;
    assert!(!stage.attached() && !stage.scratch.pins().exists());
    let forwarder = stage.start(TEST, &larger);
    stage.until_fast(&forwarder).await;
    forwarder.kill();
    assert!(stage.attached() && stage.scratch.pins().exists());
    let forwarder = stage.start(TEST, &larger.replace("native", "none"));
    forwarder.until("homeport_forwarder_revision", |it| it == 6.0).await;
    assert!(!stage.attached() && !stage.scratch.pins().exists());
    assert!(stage.scratch.log().contains("removed what was left of one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_path_without_its_forwarder_ends_by_itself() {
    const TEST: &str = "a_fast_path_without_its_forwarder_ends_by_itself";
    if was_a_forwarder().await {
        return;
    }
    let Some(stage) = Stage::build().await else { return };
    let forwarder = stage.start(TEST, &stage.xdp("keep_secs = 5"));
    stage.until_fast(&forwarder).await;
    forwarder.kill();
    assert_eq!(stage.tunnelled(HOME, CARE_OF).await, 10);
    // A forwarder that hears no store does not make it live longer.
    stage.store.begins_with(vec![]);
    let forwarder = stage.start(TEST, &stage.xdp("keep_secs = 5"));
    in_time("the end of the fast path", async {
        while stage.tunnelled(HOME, CARE_OF).await > 0 {}
    })
    .await;
    stage.store_has(1, &[(HOME, CARE_OF)]);
    forwarder.until("homeport_forwarder_revision", |it| it == 1.0).await;
    assert_eq!(stage.tunnelled(HOME, CARE_OF).await, 10);
}
