//! Throws random octets at every target of `homeport_tests::fuzz` under libFuzzer.
//!
//! The driver (`tests/fuzz`) is compiled with coverage counters, by the stable compiler; build scripts
//! and macros are not, which is what naming the target system is for. What a run finds that reaches
//! new code is kept in the driver's target folder and is where the next run begins; `--merge` puts the
//! shortest of it into the committed corpora.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, bail};
use homeport_tests::fuzz::{TARGETS, Target, by_name};

use crate::{packages, report::Report};

/// Coverage counters, their places in the code, and the operands of comparisons.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
const SYSTEM: &str = "x86_64-unknown-linux-gnu";
const DRIVER: &str = "tests/fuzz";
const TABLE: &str = "docs/fuzzing.md";
/// An input that takes longer has found something too.
const SECONDS_PER_INPUT_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 2048;

/// What is asked of a run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// How many targets run at the same time, each on one core.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// Afterwards put what reaches new code into the committed corpora.
    #[arg(long)]
    merge: bool,
    /// Afterwards write the lines of what ran into the table of `docs/fuzzing.md`.
    #[arg(long)]
    write: bool,
}

/// What libFuzzer says at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Statistics {
    inputs: u64,
    inputs_per_second: u64,
    /// Edges of the control flow that some input took.
    coverage: u64,
    seconds: u64,
}

/// What came of one target.
type Outcome = (Target, Statistics, Vec<PathBuf>);

/// Runs them, each on one core.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let targets = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => vec![by_name(name).with_context(|| {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            format!("no target '{name}'; there are {}", names.join(", "))
        })?],
    };
    if !packages::is_found("c++") {
        eprintln!("fuzz: libFuzzer needs a C++ compiler (c++): NOT FUZZED");
        report.skipped = u64::try_from(targets.len())?;
        return Ok(report);
    }
    let program = build(root)?;
    let mut outcomes = side_by_side(&targets, options.jobs, |target| {
        let work = Work::prepare(root, target)?;
        let (statistics, found) = work.fuzz(&program, options.seconds)?;
        if options.merge && found.is_empty() {
            work.merge(&program)?;
        }
        Ok((target, statistics, found))
    })?;
    let place = |name| TARGETS.iter().position(|target| target.name == name);
    outcomes.sort_by_key(|(target, ..)| place(target.name));
    let crashes = outcomes.iter().map(|(.., found)| found.len()).sum();
    let mut rows = Vec::new();
    for (target, statistics, found) in outcomes {
        report.count(found.is_empty());
        rows.push((target, statistics));
    }
    figures(&mut report, &rows, crashes)?;
    if options.write {
        write_table(&root.join(TABLE), &rows)?;
    }
    Ok(report)
}

/// Runs `one` for each target, at most `jobs` at a time, and says of each what came of it.
fn side_by_side(
    targets: &[Target],
    jobs: u32,
    one: impl Fn(Target) -> anyhow::Result<Outcome> + Sync,
) -> anyhow::Result<Vec<Outcome>> {
    let queue = Mutex::new(targets.iter().copied());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        let mut outcomes = Vec::new();
        while let Some(target) = next() {
            let (target, statistics, found) = one(target)?;
            let Statistics { inputs, inputs_per_second, coverage, .. } = statistics;
            println!(
                "{:14} {inputs:>11} inputs {inputs_per_second:>8}/s coverage {coverage:>5}",
                target.name
            );
            for artifact in &found {
                println!("{}: found {}", target.name, artifact.display());
            }
            outcomes.push((target, statistics, found));
        }
        anyhow::Ok(outcomes)
    };
    let finished = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut outcomes = Vec::new();
    for worker in finished {
        outcomes.extend(worker.map_err(|_| anyhow::anyhow!("a worker panicked"))??);
    }
    Ok(outcomes)
}

/// The driver, optimized.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join(DRIVER);
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--target", SYSTEM])
        .current_dir(&folder)
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the driver in {DRIVER} does not build");
    }
    Ok(folder.join("target").join(SYSTEM).join("release/homeport-fuzz"))
}

/// The folders of one target.
struct Work {
    target: Target,
    committed: PathBuf,
    /// Grows from run to run.
    found: PathBuf,
    artifacts: PathBuf,
}

impl Work {
    fn prepare(root: &Path, target: Target) -> anyhow::Result<Self> {
        let driver = root.join(DRIVER);
        let own = driver.join("target/fuzz").join(target.name);
        let work = Self {
            target,
            committed: driver.join("corpus").join(target.name),
            found: own.join("found"),
            artifacts: own.join("artifacts"),
        };
        for folder in [&work.committed, &work.found, &work.artifacts] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(work)
    }

    /// Statistics, and what was found to fail in this run.
    fn fuzz(&self, program: &Path, seconds: u32) -> anyhow::Result<(Statistics, Vec<PathBuf>)> {
        let before = files(&self.artifacts)?;
        let output = self
            .command(program)
            .arg(format!("-max_total_time={seconds}"))
            .arg("-print_final_stats=1")
            .args([&self.found, &self.committed])
            .output()
            .context("cannot start the driver")?;
        let text = String::from_utf8_lossy(&output.stderr);
        let found: Vec<PathBuf> =
            files(&self.artifacts)?.into_iter().filter(|file| !before.contains(file)).collect();
        if !output.status.success() && found.is_empty() {
            bail!("{}: {}\n{}", self.target.name, output.status, tail(&text));
        }
        if !found.is_empty() {
            eprintln!("{}", tail(&text));
        }
        Ok((Statistics { seconds: seconds.into(), ..statistics(&text) }, found))
    }

    /// The fewest inputs that reach all edges that were reached, shortest first. How often an edge
    /// is taken does not count, else the corpora would have thousands of files.
    fn merge(&self, program: &Path) -> anyhow::Result<()> {
        let merged = self.found.with_file_name("merged");
        if merged.is_dir() {
            fs::remove_dir_all(&merged)?;
        }
        fs::create_dir_all(&merged)?;
        let Output { status, stderr, .. } = self
            .command(program)
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&merged, &self.found, &self.committed])
            .output()?;
        if !status.success() {
            bail!("{}: merge: {}", self.target.name, tail(&String::from_utf8_lossy(&stderr)));
        }
        for old in files(&self.committed)? {
            fs::remove_file(old)?;
        }
        for new in files(&merged)? {
            let name = new.file_name().context("a file has a name")?;
            fs::copy(&new, self.committed.join(name))?;
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOMEPORT_FUZZ_TARGET", self.target.name)
            .env("RUST_BACKTRACE", "0")
            .arg(format!("-max_len={}", self.target.octets_max))
            .arg(format!("-timeout={SECONDS_PER_INPUT_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        command
    }
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// The last lines, which say what failed.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn statistics(text: &str) -> Statistics {
    let mut found = Statistics::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("stat::number_of_executed_units:") => found.inputs = number(words.next()),
            Some("stat::average_exec_per_sec:") => found.inputs_per_second = number(words.next()),
            _ => {
                let coverage = words.skip_while(|word| *word != "cov:").nth(1);
                found.coverage = found.coverage.max(number(coverage));
            }
        }
    }
    found
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn figures(
    report: &mut Report,
    rows: &[(Target, Statistics)],
    crashes: usize,
) -> anyhow::Result<()> {
    let total: u64 = rows.iter().map(|(_, row)| row.inputs).sum();
    let slowest = rows.iter().map(|(_, row)| row.inputs_per_second).min().unwrap_or(0);
    report.figure("inputs_total", float(total)?, "1");
    report.figure("inputs_per_second_min", float(slowest)?, "1/s");
    report.figure("crashes", float(u64::try_from(crashes)?)?, "1");
    for (Target { name, .. }, row) in rows {
        report.figure(&format!("inputs_{name}"), float(row.inputs)?, "1");
        report.figure(&format!("inputs_per_second_{name}"), float(row.inputs_per_second)?, "1/s");
        report.figure(&format!("coverage_{name}"), float(row.coverage)?, "edges");
    }
    Ok(())
}

/// Exact up to 2^53, and written by way of two halves because no lossless conversion goes further
/// than 32 bits.
fn float(count: u64) -> anyhow::Result<f64> {
    let (high, low) = (u32::try_from(count >> 32)?, u32::try_from(count & 0xffff_ffff)?);
    Ok(f64::from(high) * 4_294_967_296.0 + f64::from(low))
}

const BEGIN: &str = "<!-- written by cargo xtask fuzz --write -->\n";
const END: &str = "<!-- end -->\n";

/// Replaces what stands between the two marks, but keeps the lines of targets that did not run.
fn write_table(file: &Path, rows: &[(Target, Statistics)]) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("the table's begin is not marked")?;
    let (old, after) = rest.split_once(END).context("the table's end is not marked")?;
    fs::write(file, format!("{before}{BEGIN}{}{END}{after}", table(old, rows)))?;
    Ok(())
}

fn table(old: &str, rows: &[(Target, Statistics)]) -> String {
    let mut text = String::from(
        "| target | what it takes | seconds | inputs | inputs a second | edges covered |\n\
         |---|---|--:|--:|--:|--:|\n",
    );
    for target in TARGETS {
        let begin = format!("| `{}` |", target.name);
        let Some((_, row)) = rows.iter().find(|(ran, _)| ran.name == target.name) else {
            let kept = old.lines().filter(|line| line.starts_with(&begin));
            text.extend(kept.flat_map(|line| [line, "\n"]));
            continue;
        };
        let Statistics { inputs, inputs_per_second, coverage, seconds } = row;
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            text,
            "{begin} {} | {seconds} | {inputs} | {inputs_per_second} | {coverage} |",
            target.what
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Seed: 1\n\
        #2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #4096\tNEW    cov: 120 ft: 300 corp: 9/90b lim: 4 exec/s: 0 rss: 41Mb L: 4/4 MS: 1\n\
        #5000\tDONE   cov: 121 ft: 301 corp: 9/90b lim: 4 exec/s: 2500 rss: 41Mb\n\
        stat::number_of_executed_units: 5000\n\
        stat::average_exec_per_sec:     2500\n";

    #[test]
    fn the_end_of_a_run_is_read() {
        let expected =
            Statistics { inputs: 5000, inputs_per_second: 2500, coverage: 121, seconds: 0 };
        assert_eq!(statistics(LOG), expected);
        assert_eq!(statistics("==1== ERROR: libFuzzer: deadly signal"), Statistics::default());
    }

    #[test]
    fn figures_name_every_target() {
        let rows: Vec<_> = TARGETS.iter().map(|target| (*target, statistics(LOG))).collect();
        let mut report = Report::default();
        figures(&mut report, &rows, 2).expect("small numbers");
        let value = |name: &str| {
            report.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
        };
        let count = f64::from(u32::try_from(TARGETS.len()).expect("few"));
        assert_eq!(value("inputs_total"), Some(5000.0 * count));
        assert_eq!(value("inputs_per_second_min"), Some(2500.0));
        assert_eq!(value("crashes"), Some(2.0));
        assert_eq!(value("coverage_bindings"), Some(121.0));
        assert_eq!(float(1 << 40).expect("exact"), 1_099_511_627_776.0);
    }

    #[test]
    fn every_target_runs_once_however_many_run_together() {
        for jobs in [1, 3, 64] {
            let run = |target| Ok((target, statistics(LOG), vec![]));
            let outcomes = side_by_side(&TARGETS, jobs, run).expect("none fails");
            let mut names: Vec<_> = outcomes.iter().map(|(target, ..)| target.name).collect();
            names.sort_unstable();
            let mut expected = TARGETS.map(|target| target.name);
            expected.sort_unstable();
            assert_eq!(names, expected);
            assert!(side_by_side(&TARGETS, jobs, |_| anyhow::bail!("no driver")).is_err());
        }
    }

    #[test]
    fn only_the_table_is_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("fuzzing.md");
        let old = "old\n| `outer` | kept |\n| `ipv6` | replaced |\n";
        fs::write(&file, format!("before\n{BEGIN}{old}{END}after\n")).expect("writes");
        let rows = [(TARGETS[0], Statistics { seconds: 60, ..statistics(LOG) })];
        write_table(&file, &rows).expect("is marked");
        let text = fs::read_to_string(&file).expect("reads");
        assert!(text.starts_with("before\n") && text.ends_with("after\n"), "{text}");
        assert!(
            text.contains("| `ipv6` |") && text.contains("| 60 | 5000 | 2500 | 121 |"),
            "{text}"
        );
        assert!(text.contains("| `outer` | kept |\n"), "{text}");
        assert!(!text.contains("old") && !text.contains("replaced"), "{text}");
        fs::write(&file, "no marks").expect("writes");
        assert!(write_table(&file, &rows).is_err());
    }
}
