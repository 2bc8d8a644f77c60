//! Whether clients of a real cluster see one register for each home address, whatever happens to its
//! replicas meanwhile: a history is recorded and checked.

mod checker;
#[cfg(test)]
mod checker_tests;
mod clients;
mod cluster;
mod faults;
mod register;
mod relay;
mod slow_disk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::submit::Submitter;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::checker::{Operation, Verdict};
use self::clients::{Client, Log, Shared};
use self::cluster::Cluster;
use self::faults::Fault;
use crate::bench::progress;
use crate::bench::replicas::home_address;
use crate::interrupt;
use crate::report::Report;

/// Clients, each with one operation under way.
const CLIENTS: usize = 32;
/// Without faults, before each.
const CALM: Duration = Duration::from_millis(300);
/// Operations that each kind of fault must overlap with in a run of [`LONG_SECS`] or more.
const OVERLAP_MIN: u64 = 1000;
/// From here on a run is long enough for that.
const LONG_SECS: u32 = 600;
/// Operations of a home address that are told when its history cannot be explained.
const TOLD_MAX: usize = 40;

/// How long, and what of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long clients work, at least.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    seconds: u32,
    /// Only this kind of fault, by its name in the figures.
    #[arg(long, value_name = "KIND")]
    only: Option<String>,
    /// Read from any replica's own state: are the old answers found?
    #[arg(long)]
    planted: bool,
}

/// When a fault was.
struct Struck {
    fault: Fault,
    begin_ns: u64,
    end_ns: u64,
}

/// What a run has brought.
struct Recorded {
    histories: BTreeMap<u32, Vec<Operation>>,
    struck: Vec<Struck>,
}

/// Records and checks.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let is_wanted = |fault: &Fault| options.only.as_ref().is_none_or(|only| only == fault.name());
    let wanted: Vec<Fault> = Fault::ALL.into_iter().filter(is_wanted).collect();
    let names = || Fault::ALL.map(Fault::name).join(", ");
    ensure!(!wanted.is_empty(), "--only: no such fault; expected one of {}", names());
    let mut skipped = Vec::new();
    for fault in wanted.iter().copied() {
        if let Some(why) = fault.impossible() {
            eprintln!("SKIPPED: {}: {why}", fault.name());
            skipped.push(fault);
        }
    }
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let struck: Vec<Fault> = wanted.into_iter().filter(|it| !skipped.contains(it)).collect();
    let recorded = interrupt::run(record(options, &struck, directory.path()))?;
    let mut report = Report { skipped: u64::try_from(skipped.len())?, ..Report::default() };
    judge(&recorded, options, &mut report)?;
    let is_long = options.seconds >= LONG_SECS;
    for fault in struck {
        let struck = || recorded.struck.iter().filter(move |struck| struck.fault == fault);
        let times = u64::try_from(struck().count())?;
        let all = recorded.histories.values().flatten();
        let overlapping = all.filter(|it| struck().any(|struck| struck.overlaps(it))).count();
        let overlapping = u64::try_from(overlapping)?;
        figure(&mut report, &format!("fault_{}", fault.name()), times)?;
        figure(&mut report, &format!("operations_{}", fault.name()), overlapping)?;
        report.count(!is_long || overlapping >= OVERLAP_MIN);
    }
    Ok(report)
}

impl Struck {
    fn overlaps(&self, operation: &Operation) -> bool {
        let end_ns = operation.end.as_ref().map_or(u64::MAX, |end| end.ns);
        operation.begin_ns <= self.end_ns && end_ns >= self.begin_ns
    }
}

/// Clients work while one fault after the other strikes.
async fn record(options: &Options, faults: &[Fault], directory: &Path) -> Result<Recorded> {
    let mut cluster = Cluster::start(directory).await?;
    let channel = cluster.channel(cluster.leader().await?).await?;
    let policy_revisions =
        Submitter::open(channel).await?.policy_revisions(home_address(0)).await?;
    let shared = Shared::new(cluster.addresses.clone(), policy_revisions, options.planted);
    let shared = Arc::new(shared);
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(Client::new(Arc::clone(&shared)).run(stopped.clone()));
    }
    let bar = progress(options.seconds, "seconds of faults");
    let mut struck = Vec::new();
    let mut faults = faults.iter().copied().cycle();
    while shared.begun.elapsed() < Duration::from_secs(options.seconds.into()) {
        sleep(CALM).await;
        let fault = faults.next().context("no kind of fault")?;
        let begin_ns = shared.now_ns();
        let done = strike(fault, &mut cluster, directory).await;
        done.with_context(|| format!("{}\n{}", fault.name(), cluster.last_words()))?;
        struck.push(Struck { fault, begin_ns, end_ns: shared.now_ns() });
        if let Some(ended) = clients.try_join_next() {
            ended?.context("a client has ended")?;
        }
        bar.set_position(shared.begun.elapsed().as_secs().min(options.seconds.into()));
    }
    bar.finish();
    stop.send_replace(true);
    let mut histories = BTreeMap::<u32, Vec<Operation>>::new();
    while let Some(log) = clients.join_next().await {
        add(&mut histories, log??);
    }
    // What was acknowledged must still be there.
    let homes: Vec<u32> = histories.keys().copied().collect();
    let mut readers = JoinSet::new();
    for part in homes.chunks(homes.len().div_ceil(CLIENTS).max(1)) {
        readers.spawn(Client::new(Arc::clone(&shared)).read_all(part.to_vec()));
    }
    while let Some(log) = readers.join_next().await {
        add(&mut histories, log??);
    }
    Ok(Recorded { histories, struck })
}

/// One fault, and all replicas serve again.
async fn strike(fault: Fault, cluster: &mut Cluster, directory: &Path) -> Result<()> {
    fault.strike(cluster, directory).await?;
    cluster.all_run()?;
    cluster.leader().await.map(drop)
}

fn add(histories: &mut BTreeMap<u32, Vec<Operation>>, log: Log) {
    for (home, operation) in log {
        histories.entry(home).or_default().push(operation);
    }
}

/// Checks each home address's history.
fn judge(recorded: &Recorded, options: &Options, report: &mut Report) -> Result<()> {
    let started = Instant::now();
    let homes: Vec<(&u32, &Vec<Operation>)> = recorded.histories.iter().collect();
    let bar = progress(u32::try_from(homes.len())?, "home addresses checked");
    let threads = std::thread::available_parallelism()?.get();
    let verdicts = std::thread::scope(|scope| {
        let parts = homes.chunks(homes.len().div_ceil(threads).max(1)).map(|part| {
            let bar = bar.clone();
            scope.spawn(move || {
                let checked = part.iter().map(|(home, history)| {
                    bar.inc(1);
                    (**home, checker::check(history))
                });
                checked.collect::<Vec<_>>()
            })
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    bar.finish();
    ensure!(verdicts.len() == homes.len(), "the checker has failed");
    let (mut anomalies, mut undecided) = (0_u64, 0_u64);
    for (home, verdict) in verdicts {
        match verdict {
            Verdict::Linearizable => {}
            Verdict::Undecided => undecided += 1,
            Verdict::Anomaly { place } => {
                if anomalies == 0 {
                    tell(home, recorded, place);
                }
                anomalies += 1;
            }
        }
    }
    let all = || recorded.histories.values().flatten();
    let count = |n: usize| u64::try_from(n);
    figure(report, "operations", count(all().count())?)?;
    figure(report, "unknown", count(all().filter(|it| it.end.is_none()).count())?)?;
    figure(report, "home_addresses", count(homes.len())?)?;
    figure(report, "faults", count(recorded.struck.len())?)?;
    figure(report, "anomalies", anomalies)?;
    figure(report, "undecided", undecided)?;
    report.figure("check_secs", started.elapsed().as_secs_f64(), "s");
    report.count(undecided == 0);
    report.count((anomalies == 0) != options.planted);
    Ok(())
}

/// What of a history stands around the operation that no order explains.
fn tell(home: u32, recorded: &Recorded, place: usize) {
    let Some(history) = recorded.histories.get(&home) else { return };
    let Some(stuck) = history.get(place) else { return };
    eprintln!("{}: no order explains {stuck:?}", home_address(home));
    let mut around: Vec<&Operation> = history.iter().collect();
    around.sort_by_key(|it| it.begin_ns.abs_diff(stuck.begin_ns));
    around.truncate(TOLD_MAX);
    around.sort_by_key(|it| it.begin_ns);
    for operation in around {
        eprintln!("  {operation:?}");
    }
    for struck in &recorded.struck {
        if struck.overlaps(stuck) {
            eprintln!("  during {}", struck.fault.name());
        }
    }
}

fn figure(report: &mut Report, name: &str, value: u64) -> Result<()> {
    println!("{name:40} {value}");
    report.figure(name, f64::from(u32::try_from(value)?), "1");
    Ok(())
}
