//! Bindings that change while their packets are forwarded: from the entry of the table, by the rules of the
//! packet core, to the line of the fast path.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_fastpath::{
    FastPath, monotonic_ms,
    testbed::{AGENT, HOME_PREFIX, Lane, Testbed, Traffic, care_of, frame_for, home, on_link},
};
use homeport_forwarding::{
    CareOf, Config, Forwarding, ForwardingBinding, HomeEntry, HomePrefix, Millis,
};
use homeport_wire::BidPriority;

use super::{
    super::{Figures, progress},
    links::{BEFORE, COUNTED, counted, towards_sink, while_sending},
    topology::Topology,
};

/// Home addresses that move, each once a second.
const HOME_ADDRESSES: u32 = 100_000;
/// Each is met before one is met again, and neighbours in time are none in the table.
const STRIDE: u64 = 7919;
/// How long changes are made at a time, and how many each millisecond.
const CHANGING: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);
const CHANGES_PER_TICK: u64 = 100;
/// Care-of addresses of each mobile node, in turn.
const TURNS: u64 = 255;

/// Mobile nodes, and where they were last.
struct Moving {
    forwarding: Forwarding,
    path: FastPath,
    changes: u64,
    refused: u64,
}

impl Moving {
    fn new(path: FastPath) -> Self {
        let mut forwarding = Forwarding::new(Config::default());
        forwarding.table_mut().set_prefix(HomePrefix {
            prefix: HOME_PREFIX,
            prefix_len: 64,
            home_agent: AGENT,
            home_agent_v4: None,
            pool_v4: None,
            real_home_link: false,
        });
        Self { forwarding, path, changes: 0, refused: 0 }
    }

    /// The mobile node of a change, and its turn.
    fn of(change: u64) -> Result<(u32, u32)> {
        let host = 1 + change * STRIDE % u64::from(HOME_ADDRESSES);
        let turn = 1 + change / u64::from(HOME_ADDRESSES) % TURNS;
        Ok((u32::try_from(host)?, u32::try_from(turn)?))
    }

    /// The next mobile node goes to its next care-of address.
    fn move_one(&mut self) -> Result<()> {
        let (host, turn) = Self::of(self.changes)?;
        let home_address = home(host);
        let now = Millis(monotonic_ms());
        let binding = ForwardingBinding {
            bid: None,
            care_of: CareOf::V6(care_of(host, turn)),
            priority: BidPriority::default(),
            verified: self.changes,
            ends: Millis(now.0 + 3_600_000),
            lifetime_ms: 3_600_000,
            home: false,
            unverified: false,
        };
        let entry = HomeEntry::new(AGENT, vec![binding]);
        let kept = self.forwarding.table_mut().set_home(home_address, Some(entry));
        let fast = self.forwarding.fast(now, home_address);
        let set = self.path.set_home(home_address, fast.as_ref(), 0);
        self.refused += u64::from(kept.is_err() || fast.is_none() || set.is_err());
        self.changes += 1;
        Ok(())
    }

    /// So many changes a second, for so long.
    fn move_for(&mut self, lasts: Duration) -> Result<()> {
        let begun = Instant::now();
        let ticks = u32::try_from(lasts.as_millis() / TICK.as_millis())?;
        for tick in 1..=ticks {
            for _ in 0..CHANGES_PER_TICK {
                self.move_one()?;
            }
            std::thread::sleep((TICK * tick).saturating_sub(begun.elapsed()));
        }
        Ok(())
    }

    /// Mobile nodes whose packets do not go where they were last.
    fn lost(&self) -> Result<u64> {
        let all = u64::from(HOME_ADDRESSES);
        ensure!(self.changes >= all, "not every mobile node has moved");
        let mut lost = 0;
        let mut output = [0; 256];
        for change in self.changes - all..self.changes {
            let (host, turn) = Self::of(change)?;
            self.path.test_run(&frame_for(host), &mut output, 1)?;
            lost += u64::from(output[38..54] != care_of(host, turn).octets());
        }
        Ok(lost)
    }
}

/// Changes bindings for so many seconds in all, with as much as goes over the links meanwhile.
pub(super) async fn measure(figures: &mut Figures, seconds: u32) -> Result<()> {
    let mut bed = Testbed::load().context("the programs of the testbed cannot be loaded")?;
    let topology = Topology::create(&mut bed)?;
    let path = on_link(HOME_ADDRESSES, towards_sink(&topology))
        .context("the XDP program cannot be measured")?;
    let traffic = Traffic { moves: true, ..Traffic::down(HOME_ADDRESSES, 64) };
    let generator = bed.choose(Lane::FastPath, &path, &traffic, topology.first_hop)?;
    let mut moving = Moving::new(path);
    // Before anything is counted each is where this finds it.
    for _ in 0..HOME_ADDRESSES {
        moving.move_one()?;
    }
    let bar = progress(seconds, "seconds of bindings that change");
    let (mut still, mut changing) = (0.0, 0.0);
    let mut took = Duration::ZERO;
    let first = moving.changes;
    for _ in 0..seconds {
        let (bed, moving) = (&bed, &mut moving);
        let seen = while_sending(&topology, &generator, || {
            std::thread::sleep(BEFORE);
            let still = counted(bed, || {
                std::thread::sleep(COUNTED);
                Ok(())
            })?;
            let begun = Instant::now();
            let changing = counted(bed, || moving.move_for(CHANGING))?;
            Ok((still, changing, begun.elapsed()))
        })?;
        still += seen.0;
        changing += seen.1;
        took += seen.2;
        bar.inc(1);
        tokio::task::yield_now().await;
    }
    bar.finish_and_clear();
    let whole = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let (lost, torn) = (moving.lost()? + moving.refused, bed.torn()?);
    let changes = whole(moving.changes - first);
    figures.per_second("updates_under_load_per_s", changes / took.as_secs_f64());
    figures.add("updates_lost", whole(lost), "1");
    figures.add("torn_reads_under_load", whole(torn), "1");
    figures.add("kpps_under_updates", changing / f64::from(seconds), "1000/s");
    figures.ratio("throughput_ratio_under_updates", changing / still);
    figures.0.count(lost == 0 && torn == 0);
    Ok(())
}
