//! Many seeds, each in a process of its own: this program again.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::bugs::Bug;
use crate::world::Outcome;

/// One of so many seeds is run twice, to see that it does the same; and each that fails.
const RERUN_EVERY: u64 = 10;

/// Which seeds are run, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Seeds {
    /// How many seeds.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long there are faults in each, in simulated seconds.
    #[arg(long, default_value_t = crate::FAULT_SECS)]
    fault_secs: u64,
    /// Seeds that run at once: one for each core.
    #[arg(long)]
    jobs: Option<u64>,
    /// Where the counts and figures are written as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

impl Seeds {
    /// Runs all of them without planted bugs. Says whether every invariant held in each.
    pub(crate) fn run(&self) -> anyhow::Result<bool> {
        let started = Instant::now();
        let rerun = AtomicU64::new(0);
        let failed = AtomicU64::new(0);
        let results = self.each(None, |outcome| {
            let broken = self.tell(outcome);
            let again = broken || outcome.seed % RERUN_EVERY == self.seed % RERUN_EVERY;
            let differs = again && {
                rerun.fetch_add(1, Relaxed);
                self.differs(outcome, None)?
            };
            failed.fetch_add(u64::from(broken || differs), Relaxed);
            Ok(true)
        })?;
        let (rerun, failed) = (rerun.into_inner(), failed.into_inner());
        let violations = results.iter().map(|outcome| outcome.violations.len()).sum::<usize>();
        let violations = u64::try_from(violations)?;
        let passed = u64::try_from(results.len())?.saturating_sub(failed);
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for outcome in &results {
            *sums.entry("simulated_ms".to_owned()).or_default() += outcome.simulated_ms;
            *sums.entry("entries".to_owned()).or_default() += outcome.entries;
            *sums.entry("acknowledged".to_owned()).or_default() += outcome.acknowledged;
            for (kind, count) in &outcome.faults {
                *sums.entry(format!("fault_{kind}")).or_default() += count;
            }
        }
        let seconds = started.elapsed().as_secs();
        let mut figures = vec![
            figure("seeds", passed + failed, "1"),
            figure("violations", violations, "1"),
            figure("seconds", seconds, "s"),
            figure("rerun", rerun, "1"),
        ];
        figures.extend(
            sums.iter().map(|(name, sum)| {
                figure(name, *sum, if name.ends_with("_ms") { "ms" } else { "1" })
            }),
        );
        for one in &figures {
            println!("{:>24} {}", one["name"].as_str().unwrap_or_default(), one["value"]);
        }
        self.report(
            &json!({"passed": passed, "failed": failed, "skipped": 0, "figures": figures}),
        )?;
        Ok(failed == 0)
    }

    /// Says at once which invariants did not hold, if any.
    fn tell(&self, outcome: &Outcome) -> bool {
        for violation in &outcome.violations {
            println!(
                "seed {}: {} at {} ms: {}",
                outcome.seed, violation.invariant, violation.at_ms, violation.detail
            );
        }
        let broken = !outcome.violations.is_empty();
        if broken {
            let (seed, secs) = (outcome.seed, self.fault_secs);
            println!("  replay: cargo xtask sim --seed {seed} --fault-secs {secs}");
        }
        broken
    }

    /// Runs the seed again. Says whether it did anything else.
    fn differs(&self, outcome: &Outcome, bug: Option<Bug>) -> anyhow::Result<bool> {
        let differs = run_seed(outcome.seed, self.fault_secs, bug)? != *outcome;
        if differs {
            println!("seed {} does not do the same when it is run again", outcome.seed);
        }
        Ok(differs)
    }

    /// Plants each bug, and runs seeds until it is found. Says whether all are, each by a seed that finds it
    /// again to the octet.
    pub(crate) fn planted(&self, only: Option<Bug>) -> anyhow::Result<bool> {
        let (mut found_at, mut failed) = (Vec::new(), 0);
        println!("| planted bug | seeds needed | found by |");
        println!("|---|---|---|");
        for bug in Bug::ALL.iter().copied().filter(|bug| only.is_none_or(|only| only == *bug)) {
            let results = self.each(Some(bug), |outcome| Ok(outcome.violations.is_empty()))?;
            let found =
                results.iter().find_map(|outcome| Some((outcome, outcome.violations.first()?)));
            let Some((outcome, violation)) = found else {
                println!("| `{bug}` | not in {} | |", self.seeds);
                failed += 1;
                continue;
            };
            if self.differs(outcome, Some(bug))? {
                failed += 1;
                continue;
            }
            let (needed, invariant) = (outcome.seed - self.seed + 1, &violation.invariant);
            println!("| `{bug}` | {needed} | `{invariant}` |");
            found_at.push(figure(&format!("seeds_{bug}"), needed, "1"));
        }
        let passed = u64::try_from(found_at.len())?;
        let mut figures =
            vec![figure("bugs_planted", passed + failed, "1"), figure("bugs_found", passed, "1")];
        figures.extend(found_at);
        self.report(
            &json!({"passed": passed, "failed": failed, "skipped": 0, "figures": figures}),
        )?;
        Ok(failed == 0)
    }

    /// Runs the seeds in their order, some at once, for as long as `goes_on` with each; what came of them,
    /// in their order.
    fn each(
        &self,
        bug: Option<Bug>,
        goes_on: impl Fn(&Outcome) -> anyhow::Result<bool> + Sync,
    ) -> anyhow::Result<Vec<Outcome>> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jobs = self.jobs.unwrap_or(u64::try_from(cores).unwrap_or(1)).max(1);
        let next = AtomicU64::new(self.seed);
        let end = AtomicU64::new(self.seed.saturating_add(self.seeds));
        let done = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            let work = || -> anyhow::Result<()> {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end.load(Relaxed) {
                        return Ok(());
                    }
                    let outcome = run_seed(seed, self.fault_secs, bug)?;
                    if !goes_on(&outcome)? {
                        end.fetch_min(seed, Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, outcome);
                }
            };
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let ended = workers.into_iter().map(|worker| worker.join());
            let ended: Vec<_> = ended.collect();
            ended.into_iter().try_for_each(|ended| match ended {
                Ok(ended) => ended,
                Err(_panic) => bail!("a thread panicked"),
            })
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect())
    }

    fn report(&self, report: &Value) -> anyhow::Result<()> {
        let Some(file) = &self.json else { return Ok(()) };
        write_report(file, report)
    }
}

fn write_report(file: &Path, report: &Value) -> anyhow::Result<()> {
    std::fs::write(file, format!("{report}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn figure(name: &str, value: u64, unit: &str) -> Value {
    json!({"name": name, "value": value, "unit": unit})
}

/// One seed in a process of its own.
fn run_seed(seed: u64, fault_secs: u64, bug: Option<Bug>) -> anyhow::Result<Outcome> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--seed", &seed.to_string(), "--fault-secs", &fault_secs.to_string()]);
    if let Some(bug) = bug {
        command.args(["--bug", bug.name()]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said)
        .with_context(|| format!("seed {seed} ended with {} and said {said:?}", output.status))
}
