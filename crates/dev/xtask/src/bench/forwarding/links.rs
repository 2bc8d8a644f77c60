//! The data path over links: a generator, a router and a sink in network namespaces of their own, joined by
//! veth pairs. What is measured is all that one processor does for a frame: the router's receiving and
//! forwarding, and the sink's receiving.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use homeport_fastpath::{
    FastPath, NextHop,
    testbed::{Generator, Lane, Testbed, Traffic, on_link, run_on},
};

use super::{
    super::{Figures, progress},
    topology::{SINK_MAC, Topology},
};

/// What goes by before frames are counted, and how long they are counted.
pub(super) const BEFORE: Duration = Duration::from_millis(100);
pub(super) const COUNTED: Duration = Duration::from_millis(400);
/// Of `SCHED_FIFO`: the thread that sends, and the one that looks at the clock.
const SENDING: i32 = 1;
const LOOKING: i32 = 2;

/// One figure: a way through the router, and what is sent.
struct Way {
    name: String,
    lane: Lane,
    traffic: Traffic,
    best_kpps: f64,
}

fn ways(label: &str, home_addresses: u32) -> Vec<Way> {
    let mut ways = Vec::new();
    for (len, is_up) in [(64, false), (1400, false), (64, true), (1400, true)] {
        let lanes: &[_] = if is_up {
            &[("decap_dt6", Lane::Kernel), ("decap_xdp", Lane::FastPath)]
        } else {
            &[
                ("limit", Lane::Limit),
                ("addressed", Lane::Addressed),
                ("srv6", Lane::Kernel),
                ("xdp", Lane::FastPath),
            ]
        };
        for (name, lane) in lanes {
            let traffic = Traffic { is_up, ..Traffic::down(home_addresses, len) };
            let name = format!("kpps_{name}_{label}_{len}");
            ways.push(Way { name, lane: *lane, traffic, best_kpps: 0.0 });
        }
    }
    ways
}

/// Measures with up to so many home addresses; the best of so many rounds counts, and in each round
/// every way has its turn. It may be interrupted between two turns, and then leaves nothing behind.
pub(super) async fn measure(
    figures: &mut Figures,
    rounds: u32,
    home_addresses_max: u32,
) -> Result<()> {
    let mut bed = Testbed::load().context("the programs of the testbed cannot be loaded")?;
    let topology = Topology::create(&mut bed)?;
    let mut routes = 0;
    for (label, home_addresses) in [("1", 1), ("100k", 100_000), ("1m", 1_000_000)] {
        if home_addresses > home_addresses_max {
            continue;
        }
        topology.add_routes(routes + 1..=home_addresses).await?;
        routes = home_addresses;
        let path = on_link(home_addresses, towards_sink(&topology))
            .context("the XDP program cannot be measured")?;
        let mut ways = ways(label, home_addresses);
        let steps = rounds.saturating_mul(u32::try_from(ways.len()).unwrap_or(u32::MAX));
        let bar = progress(steps, "frames over links");
        for _ in 0..rounds {
            for way in &mut ways {
                let kpps = kpps(&mut bed, &topology, &path, way)?;
                way.best_kpps = way.best_kpps.max(kpps);
                bar.inc(1);
                tokio::task::yield_now().await;
            }
        }
        bar.finish_and_clear();
        for way in &ways {
            ensure!(
                way.best_kpps > 0.0,
                "{}: no frame has come through the router as it should",
                way.name
            );
            figures.add(&way.name, way.best_kpps, "1000/s");
        }
        let best = |name: &str| {
            let name = format!("kpps_{name}_{label}_64");
            ways.iter().find(|way| way.name == name).map_or(0.0, |way| way.best_kpps)
        };
        figures.ratio(&format!("ratio_xdp_vs_srv6_{label}"), best("xdp") / best("srv6"));
        figures.ratio(&format!("ratio_xdp_vs_limit_{label}"), best("xdp") / best("limit"));
        let addressed = best("xdp") / best("addressed");
        figures.ratio(&format!("ratio_xdp_vs_addressed_{label}"), addressed);
        let decap = best("decap_xdp") / best("decap_dt6");
        let name = if home_addresses == 1 { String::new() } else { format!("_{label}") };
        figures.ratio(&format!("decap_ratio_vs_dt6{name}"), decap);
    }
    figures.0.count(true);
    Ok(())
}

pub(super) const fn towards_sink(topology: &Topology) -> NextHop {
    NextHop {
        interface: topology.egress,
        mtu: 1500,
        destination: SINK_MAC,
        source: [2, 0, 0, 0, 0, 4],
    }
}

fn kpps(bed: &mut Testbed, topology: &Topology, path: &FastPath, way: &Way) -> Result<f64> {
    let generator = bed.choose(way.lane, path, &way.traffic, topology.first_hop)?;
    let bed = &*bed;
    while_sending(topology, &generator, || {
        thread::sleep(BEFORE);
        counted(bed, || {
            thread::sleep(COUNTED);
            Ok(())
        })
    })
}

/// Thousands of frames a second that the sink gets meanwhile.
pub(super) fn counted(bed: &Testbed, meanwhile: impl FnOnce() -> Result<()>) -> Result<f64> {
    let (begun, before) = (Instant::now(), bed.received()?);
    meanwhile()?;
    let (lasted, after) = (begun.elapsed(), bed.received()?);
    let frames = f64::from(u32::try_from(after.saturating_sub(before))?);
    Ok(frames / lasted.as_secs_f64() / 1000.0)
}

/// Does something while frames are sent without end: on the generator's processor, and before it.
pub(super) fn while_sending<T: Send>(
    topology: &Topology,
    generator: &Generator,
    meanwhile: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let is_over = AtomicBool::new(false);
    let namespace = topology.generator.namespace();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            namespace.run(|| -> Result<()> {
                run_on(0, 0, SENDING).context("needs CAP_SYS_NICE")?;
                while !is_over.load(Ordering::Relaxed) {
                    generator.send()?;
                }
                Ok(())
            })?
        });
        let looker = scope.spawn(|| {
            let seen = run_on(0, 0, LOOKING).context("needs CAP_SYS_NICE");
            let seen = seen.and_then(|()| meanwhile());
            is_over.store(true, Ordering::Relaxed);
            seen
        });
        let seen = looker.join().map_err(|_panicked| anyhow!("the counting ended early"))?;
        sender.join().map_err(|_panicked| anyhow!("the generator ended early"))??;
        seen
    })
}
