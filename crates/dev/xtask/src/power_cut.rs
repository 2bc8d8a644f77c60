//! Power cuts: three replicas write on disks that lose what was not synced, at any moment, all at once or
//! one of them; each opens what is left of its disk, and all that was acknowledged must be there. Kills
//! with SIGKILL beside it, which lose no disk.

mod disks;
mod ledger;
mod writers;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::dev::all_bindings_of;
use homeport_tests::eventually;
use indicatif::ProgressBar;
use tokio::time::sleep;

use self::disks::Disks;
use self::ledger::{Demanded, Ledger, Stored, lost};
use self::writers::Writers;
use crate::bench::progress;
use crate::bench::replicas::Replicas;
use crate::interrupt;
use crate::report::Report;

/// Cuts that one cluster lives through before the next begins on empty disks.
const CUTS_PER_CLUSTER: u32 = 20;
/// Kills that one cluster lives through.
const KILLS_PER_CLUSTER: u32 = 100;
/// Kills between two looks at all that was acknowledged.
const KILLS_PER_CHECK: u32 = 10;
/// Writing before a cut, at least and at most.
const WRITING_MS: std::ops::Range<u64> = 30..700;
/// One time in so many the power of all fails again, while the replicas open what is left.
const AGAIN_ONE_OF: u32 = 3;
/// When it does.
const OPENING_MS: std::ops::Range<u64> = 0..300;
/// From one kill to the next.
const BETWEEN_KILLS_MS: std::ops::Range<u64> = 0..150;
/// A replica that does not serve by then has not opened.
const OPEN_MAX: Duration = Duration::from_secs(120);
/// How much older the disks are than said, when a loss is planted.
const PLANTED_AGE: Duration = Duration::from_millis(300);
/// Losses and lines of output that are told.
const TOLD_MAX: usize = 10;

/// What is done.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Power cuts, of all three replicas at once and of one in turn; they need root.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    rounds: u32,
    /// Kills with SIGKILL, of one replica, of two, and of all three.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    sigkills: u32,
    /// Open disks that are older than the cut: is the loss found?
    #[arg(long, conflicts_with = "sigkills")]
    planted: bool,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    rounds: u32,
    cuts_while_opening: u32,
    sigkills: u32,
    acked: u64,
    acked_lost: u64,
    opens: u64,
    opens_failed: u64,
}

impl Seen {
    /// Where nobody sees the bar.
    fn tell(&self, bar: &ProgressBar) {
        if bar.is_hidden() {
            let Self { rounds, sigkills, acked, acked_lost, opens_failed, .. } = self;
            eprintln!(
                "{rounds} power cuts, {sigkills} kills: {acked} acknowledged, {acked_lost} lost, \
                 {opens_failed} not opened"
            );
        }
    }
}

/// Cuts and kills.
pub(crate) fn run(options: &Options) -> Result<Report> {
    ensure!(options.rounds + options.sigkills > 0, "--rounds 0 without --sigkills does nothing");
    if options.rounds > 0 {
        disks::enter_own_mounts()?;
    }
    let seen = interrupt::run(async {
        let mut seen = Seen::default();
        let bar = progress(options.rounds, "power cuts");
        while seen.rounds < options.rounds {
            let goal = options.rounds.min(seen.rounds + CUTS_PER_CLUSTER);
            cut(&mut seen, goal, options.planted, &bar).await?;
            seen.tell(&bar);
        }
        bar.finish();
        let bar = progress(options.sigkills, "kills");
        while seen.sigkills < options.sigkills {
            let goal = options.sigkills.min(seen.sigkills + KILLS_PER_CLUSTER);
            kill(&mut seen, goal, &bar).await?;
            seen.tell(&bar);
        }
        bar.finish();
        Ok(seen)
    })?;
    report(&seen, options)
}

fn report(seen: &Seen, options: &Options) -> Result<Report> {
    let mut report = Report::default();
    if options.planted {
        report.count(seen.acked_lost > 0);
        println!("{} losses found of those that were planted", seen.acked_lost);
    } else {
        report.count(seen.acked_lost == 0);
    }
    report.count(seen.opens_failed == 0);
    ensure!(seen.acked > 0, "nothing was acknowledged: nothing could be lost");
    let figures = [
        ("rounds", seen.rounds.into()),
        ("cuts_while_opening", seen.cuts_while_opening.into()),
        ("sigkills", seen.sigkills.into()),
        ("acked", seen.acked),
        ("acked_lost", seen.acked_lost),
        ("opens", seen.opens),
        ("opens_failed", seen.opens_failed),
    ];
    for (name, value) in figures {
        println!("{name:20} {value}");
        report.figure(name, f64::from(u32::try_from(value)?), "1");
    }
    Ok(report)
}

/// One cluster, until so many cuts were made or a replica does not open.
async fn cut(seen: &mut Seen, goal: u32, planted: bool, bar: &ProgressBar) -> Result<()> {
    let mut disks = Disks::create()?;
    let directory = disks.directory().to_owned();
    let data_dir = |n| disks.data_dir(u64::try_from(n).unwrap_or(u64::MAX));
    let mut replicas = Replicas::start_on(&directory, None, data_dir).await?;
    let policy_revisions = replicas.policy_revisions().await?;
    let ledger = Ledger::default();
    let mut before = 0;
    while seen.rounds < goal {
        let writers = Writers::start(replicas.addresses(), ledger.clone(), policy_revisions);
        sleep(Duration::from_millis(rand::random_range(WRITING_MS))).await;
        let one = (!planted && seen.rounds % 2 == 1).then_some(seen.rounds / 2 % 3);
        let at_the_cut = match one {
            Some(n) => cut_one(&mut replicas, &mut disks, n).map(|()| None)?,
            None => Some(cut_all(&mut replicas, &mut disks, &ledger, planted).await?),
        };
        if one.is_none() && rand::random_range(0..AGAIN_ONE_OF) == 0 {
            sleep(Duration::from_millis(rand::random_range(OPENING_MS))).await;
            cut_all(&mut replicas, &mut disks, &ledger, false).await?;
            seen.cuts_while_opening += 1;
        }
        let opened = opened(seen, &mut replicas, &directory).await?;
        writers.stop().await?;
        seen.rounds += 1;
        bar.inc(1);
        seen.acked += ledger.count() - before;
        before = ledger.count();
        if !opened {
            return Ok(());
        }
        // While two of three went on, nothing may be lost that they acknowledged since.
        let demanded = at_the_cut.unwrap_or_else(|| ledger.demanded());
        let on = one.map(usize::try_from).transpose()?;
        let (stored, all_there) = look(seen, &replicas, &demanded, on).await?;
        if !all_there {
            // What else is gone, such as the home prefix, would only be told again.
            return Ok(());
        }
        ledger.begin_with(&stored);
    }
    Ok(())
}

/// The power of all three fails at one moment. What had been acknowledged by then.
async fn cut_all(
    replicas: &mut Replicas,
    disks: &mut Disks,
    ledger: &Ledger,
    planted: bool,
) -> Result<Demanded> {
    let mut demanded = ledger.demanded();
    disks.copy()?;
    if planted {
        sleep(PLANTED_AGE).await;
        demanded = ledger.demanded();
    }
    for replica in &mut replicas.processes {
        replica.kill()?;
    }
    disks.all_as_copied()?;
    replicas.processes.iter_mut().try_for_each(crate::bench::processes::Process::again)?;
    Ok(demanded)
}

/// The power of one fails, while the others go on. It is held before its disk is copied: what it would
/// promise afterwards it must not forget.
fn cut_one(replicas: &mut Replicas, disks: &mut Disks, n: u32) -> Result<()> {
    let replica = &mut replicas.processes[usize::try_from(n)?];
    replica.signal("STOP")?;
    disks.copy()?;
    replica.kill()?;
    disks.one_as_copied(n.into())?;
    replica.again()
}

/// Whether all replicas serve, each by itself, and know one leader.
async fn opened(seen: &mut Seen, replicas: &mut Replicas, directory: &Path) -> Result<bool> {
    let until = Instant::now() + OPEN_MAX;
    let mut waiting: BTreeSet<usize> = (0..replicas.processes.len()).collect();
    seen.opens += 1;
    while !waiting.is_empty() {
        for n in waiting.clone() {
            if let Some(status) = replicas.processes[n].ended()? {
                eprintln!("replica {} has ended: {status}", n + 1);
                eprintln!("{}", last_words(directory, n)?);
                seen.opens_failed += 1;
                return Ok(false);
            }
            if replicas.status(n).await.is_ok_and(|status| status.leader_id != 0) {
                waiting.remove(&n);
            }
        }
        if Instant::now() > until {
            for n in waiting {
                eprintln!("replica {} does not serve after {OPEN_MAX:?}", n + 1);
                eprintln!("{}", last_words(directory, n)?);
                seen.opens_failed += 1;
            }
            return Ok(false);
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(true)
}

/// The last lines of a replica's output.
fn last_words(directory: &Path, n: usize) -> Result<String> {
    let output = std::fs::read(directory.join(format!("store-{}.out", n + 1)))?;
    let output = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = output.lines().rev().take(TOLD_MAX).collect();
    Ok(lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

/// Looks at the store for all that is demanded: by the leader, and where one replica was cut also by that
/// one's own state. What the leader holds, and whether all was there.
async fn look(
    seen: &mut Seen,
    replicas: &Replicas,
    demanded: &Demanded,
    on: Option<usize>,
) -> Result<(Stored, bool)> {
    let stored = eventually("all bindings of the leader", async || {
        stored(replicas, replicas.leader().await?, false).await
    })
    .await?;
    let mut missing = lost(demanded, &stored);
    if let Some(n) = on {
        replicas.until_serving(n).await?;
        let own = lost(demanded, &self::stored(replicas, n, true).await?);
        missing.extend(own.into_iter().map(|what| format!("replica {}: {what}", n + 1)));
    }
    for what in missing.iter().take(TOLD_MAX) {
        eprintln!("lost: {what}");
    }
    seen.acked_lost += u64::try_from(missing.len())?;
    Ok((stored, missing.is_empty()))
}

async fn stored(replicas: &Replicas, n: usize, local: bool) -> Result<Stored> {
    let mut stored = Stored::new();
    for home in all_bindings_of(replicas.channel(n).await?, local).await? {
        let address: Ipv6Addr = home.home_address.parse()?;
        stored.insert(address, home);
    }
    Ok(stored)
}

/// One cluster, until so many kills were made or a replica does not open.
async fn kill(seen: &mut Seen, goal: u32, bar: &ProgressBar) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let mut replicas = Replicas::start(directory.path()).await?;
    let ledger = Ledger::default();
    let policy_revisions = replicas.policy_revisions().await?;
    let writers = Writers::start(replicas.addresses(), ledger.clone(), policy_revisions);
    let mut since_check = 0;
    loop {
        sleep(Duration::from_millis(rand::random_range(BETWEEN_KILLS_MS))).await;
        // One most of the time; two or all three now and then.
        let left = goal - seen.sigkills;
        let count = *[1, 1, 1, 1, 2, 3].get(rand::random_range(0..6)).context("of six")?;
        let first = rand::random_range(0..3_usize);
        let victims = (first..3).chain(0..first).take(count.min(usize::try_from(left)?));
        for n in victims.clone() {
            replicas.processes[n].kill()?;
        }
        let killed = u32::try_from(victims.clone().count())?;
        for n in victims {
            replicas.processes[n].again()?;
        }
        seen.sigkills += killed;
        since_check += killed;
        bar.inc(killed.into());
        if !opened(seen, &mut replicas, directory.path()).await? {
            break;
        }
        if since_check >= KILLS_PER_CHECK || seen.sigkills >= goal {
            since_check = 0;
            let on = Some(rand::random_range(0..3));
            look(seen, &replicas, &ledger.demanded(), on).await?;
        }
        if seen.sigkills >= goal {
            break;
        }
    }
    writers.stop().await?;
    seen.acked += ledger.count();
    Ok(())
}
