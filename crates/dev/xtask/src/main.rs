//! `cargo xtask`: the menu of what is done to this tree. Every task checks or measures something, prints
//! what it found, writes it as JSON when asked, and exits non-zero when something failed.

mod api_lint;
mod bench;
mod browser;
mod chart;
mod conformance;
#[cfg(test)]
mod decisions;
mod differential;
mod e2e;
mod failover;
mod flood;
mod fuzz;
mod ikev2_lab;
mod image;
mod interrupt;
mod layers;
mod linearizability;
mod moves;
mod operator_day;
mod packages;
mod pods;
mod power_cut;
mod report;
mod rfc;
mod rules_lint;
mod sim;
mod suite;
mod threats;
mod tools;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use homeport_tests::conformance::{Selection, lab::Extent};

use crate::report::Report;

/// Tasks of the Homeport tree.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    /// Write the counts and figures as JSON to this file.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Lint the messages under proto, and look for what would break who speaks an older version.
    ApiLint,
    /// Measure, beside a peer in the same run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Look at every page of the dashboard in Chromium, dark and light; pictures go to target/screenshots.
    Browser {
        /// Put the pictures into docs/noc too.
        #[arg(long)]
        write: bool,
    },
    /// Lint and render the Helm chart with Helm 3 and 4, and hold it against golden files, schemas and rules.
    Chart {
        /// Write the golden files anew.
        #[arg(long)]
        write: bool,
    },
    /// Run the conformance cases on the wire of a running cluster and write docs/conformance.md.
    Conformance {
        /// Kill the store's leader between the steps of each case.
        #[arg(long)]
        during_leader_kill: bool,
        /// Only this case, or this group of cases.
        #[arg(long, value_name = "ID")]
        case: Option<String>,
        /// Refresh bindings for an hour where the case says so.
        #[arg(long)]
        full: bool,
        /// Home addresses of the case about scale, 1000 to 4000000.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..=4_000_000))]
        home_addresses: Option<u32>,
    },
    /// Compare the XDP program with the packet core over random tables and packets; needs root.
    Differential(differential::Options),
    /// Roam, ping and kill in network namespaces, decoded by tshark; needs root.
    E2e,
    /// Kill the store's leader while a mobile node refreshes every 100 ms.
    Failover {
        /// How many times.
        #[arg(long, default_value_t = 5)]
        kills: u32,
    },
    /// Flood a cluster with each kind of input while honest mobile nodes refresh; needs root.
    Flood {
        /// Of each kind, 1 to 3600.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Throw random octets at every parser and machine under libFuzzer.
    Fuzz(fuzz::Options),
    /// Let a real IKE daemon's endpoint follow a mobile node, in user-mode-linux guests; needs root.
    Ikev2Lab,
    /// Build the image, twice, and run it as the chart does.
    Image(image::Options),
    /// Check which crate depends on which: core <- shell <- role <- app.
    Layers,
    /// Record what clients of a cluster under faults see, and check that it is linearizable.
    Linearizability(linearizability::Options),
    /// Write `docs/metrics.md` from a scrape of a cluster that it starts.
    Metrics,
    /// Move mobile nodes at random under load: nothing may be sent to where they were; needs root.
    Moves(moves::Options),
    /// Live an operator's day with a cluster of a thousand subscribers, by homeportctl.
    OperatorDay,
    /// Install the Debian packages that the tests need, or say which they are.
    Packages,
    /// Run the chart's pods as processes in namespaces, and update them one by one under refreshes; needs root.
    Pods(pods::Options),
    /// Cut the power of store replicas under load, or kill them: is all that was acknowledged there?
    PowerCut(power_cut::Options),
    /// Write `docs/rfc.md`: which section of which RFC is met and tested where.
    Rfc {
        /// Write nothing; fail when the page is stale.
        #[arg(long)]
        check: bool,
    },
    /// Check the catalogue of metrics, alert rules and dashboards, and test the rules.
    RulesLint,
    /// Simulate clusters under faults that seeds decide, or look whether planted bugs are found.
    Sim(sim::Options),
    /// Run the tests of each threat in docs/security.md.
    Threats,
    /// Run every test: unit, property, integration, and documentation.
    Test,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if report.failed == 0 => ExitCode::SUCCESS,
        Ok(report) => {
            eprintln!("{} failed", report.failed);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let root = workspace_root()?;
    let report = match &arguments.task {
        Task::ApiLint => api_lint::check(&root)?,
        Task::Bench(bench) => bench::run(&root, bench)?,
        Task::Browser { write } => browser::run(&root, *write)?,
        Task::Chart { write } => chart::check(&root, *write)?,
        Task::Conformance { during_leader_kill, case, full, home_addresses } => {
            let (during_leader_kill, case) = (*during_leader_kill, case.clone());
            let mut extent = if *full { Extent::FULL } else { Extent::ORDINARY };
            extent.home_addresses = home_addresses.unwrap_or(extent.home_addresses);
            let selection = Selection { during_leader_kill, case, quick: false, extent };
            conformance::run(&root, &selection)?
        }
        Task::Differential(options) => differential::run(options)?,
        Task::E2e => e2e::run()?,
        Task::Failover { kills } => failover::run(*kills)?,
        Task::Flood { seconds } => flood::run(*seconds)?,
        Task::Fuzz(options) => fuzz::run(&root, options)?,
        Task::Ikev2Lab => ikev2_lab::run()?,
        Task::Image(options) => image::run(&root, options)?,
        Task::Layers => layers::check(&root)?,
        Task::Linearizability(options) => linearizability::run(options)?,
        Task::Metrics => rules_lint::write_catalogue(&root)?,
        Task::Moves(options) => moves::run(options)?,
        Task::OperatorDay => operator_day::run()?,
        Task::Packages => packages::install()?,
        Task::Pods(options) => pods::run(&root, options)?,
        Task::PowerCut(options) => power_cut::run(options)?,
        Task::Rfc { check } => rfc::run(&root, *check)?,
        Task::RulesLint => rules_lint::check(&root)?,
        Task::Sim(options) => sim::run(&root, options)?,
        Task::Test => suite::run(&root)?,
        Task::Threats => threats::run(&root)?,
    };
    if let Some(file) = &arguments.json {
        report.write(file)?;
    }
    Ok(report)
}

/// The top of the tree, wherever the task was started from.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.ancestors().nth(3).map(PathBuf::from).context("xtask is not in crates/dev/xtask")
}
