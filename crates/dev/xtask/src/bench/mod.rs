//! Benchmarks, each beside its peer in one run.

mod etcd;
mod failover;
mod forwarding;
mod latencies;
mod load;
mod noc;
pub(crate) mod processes;
pub(crate) mod replicas;
mod scale;
mod snapshot;
mod store;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Report;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The binding store on three replicas with fsync, beside three members of etcd.
    Store(Options),
    /// The dashboard over many subscribers with two bindings each: how soon it answers, what it keeps.
    Noc(Noc),
    /// What a packet costs the fast path of a forwarder, and what its table bears; needs root.
    Forwarding(forwarding::Options),
}

/// How many of them.
#[derive(Debug, Args)]
pub(crate) struct Noc {
    /// Subscribers.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10_000..=1_000_000))]
    subscribers: u32,
}

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each round of writes lasts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Rounds of each kind, ours and etcd's in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Times that the leader is killed.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// Home addresses for the part about scale.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(50_000..=4_000_000))]
    home_addresses: u32,
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Put the figures into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// Parts of the store's benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    Writes,
    Failover,
    Scale,
}

/// Measures.
pub(crate) fn run(root: &Path, bench: &Bench) -> Result<Report> {
    let options = match bench {
        Bench::Store(options) => options,
        Bench::Noc(Noc { subscribers }) => {
            let mut figures = Figures::default();
            let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
            runtime.block_on(noc::measure(&mut figures, *subscribers))?;
            figures.0.count(true);
            return Ok(figures.0);
        }
        Bench::Forwarding(options) => {
            let mut figures = Figures::default();
            forwarding::measure(&mut figures, options)?;
            if options.write {
                write_table(&root.join("docs/benchmarks.md"), "forwarding", &figures.0)?;
            }
            return Ok(figures.0);
        }
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let mut figures = Figures::default();
    let wanted = |part| options.only.is_none_or(|only| only == part);
    runtime.block_on(async {
        if wanted(Part::Writes) {
            let lasts = Duration::from_secs(options.seconds.into());
            store::measure(&mut figures, options.rounds, lasts).await?;
        }
        if wanted(Part::Failover) {
            failover::measure(&mut figures, options.kills).await?;
        }
        if wanted(Part::Scale) {
            scale::measure(&mut figures, options.home_addresses).await?;
        }
        anyhow::Ok(())
    })?;
    figures.0.count(true);
    if options.write {
        write_table(&root.join("docs/benchmarks.md"), "store", &figures.0)?;
    }
    Ok(figures.0)
}

/// Figures, told as they come.
#[derive(Debug, Default)]
pub(crate) struct Figures(Report);

impl Figures {
    fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        println!("{name:40} {value:12.2} {unit}");
        self.0.figure(name, value, unit);
    }

    fn ms(&mut self, name: &str, value: f64) {
        self.add(name, value, "ms");
    }

    fn per_second(&mut self, name: &str, value: f64) {
        self.add(name, value, "1/s");
    }

    fn ratio(&mut self, name: &str, value: f64) {
        self.add(name, value, "1");
    }
}

/// A bar of so many steps.
pub(crate) fn progress(steps: u32, what: &'static str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:45} {bar:30} {pos}/{len} {elapsed} of {duration}");
    let bar = ProgressBar::new(steps.into()).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

const END: &str = "<!-- end -->\n";

/// Replaces what stands between the two marks, but keeps the lines of figures that were not taken.
fn write_table(file: &Path, bench: &str, report: &Report) -> Result<()> {
    let begin = format!("<!-- written by cargo xtask bench {bench} --write -->\n");
    let text = std::fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    let (before, rest) = text.split_once(&begin).context("the table's begin is not marked")?;
    let (old, after) = rest.split_once(END).context("the table's end is not marked")?;
    std::fs::write(file, format!("{before}{begin}{}{END}{after}", table(old, report)))?;
    Ok(())
}

fn table(old: &str, report: &Report) -> String {
    let mut lines: Vec<String> = old.lines().skip(2).map(str::to_owned).collect();
    for figure in &report.figures {
        let begin = format!("| `{}` |", figure.name);
        let line = format!("{begin} {:.2} | {} |", figure.value, figure.unit);
        match lines.iter_mut().find(|line| line.starts_with(&begin)) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }
    let head = ["| figure | value | unit |", "|---|--:|---|"].map(str::to_owned);
    let mut text = String::new();
    for line in head.iter().chain(&lines) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_figure_replaces_the_old_one_and_leaves_the_others() {
        let mut report = Report::default();
        report.figure("a", 1.0, "ms");
        report.figure("b", 2.5, "1/s");
        let first = table("", &report);
        assert!(
            first.starts_with("| figure | value | unit |\n|---|--:|---|\n| `a` | 1.00 | ms |\n")
        );
        let mut report = Report::default();
        report.figure("b", 3.0, "1/s");
        assert_eq!(table(&first, &report), first.replace("2.50", "3.00"));
    }
}
