//! Deterministic simulation: a cluster of Homeport in one thread, on a network, disks and clocks that fail
//! as one seed says, and invariants that must hold all the same. The same seed does the same to the octet.
//!
//! `run` runs one seed, `seeds` many, each in a process of its own, and `planted` looks whether bugs are
//! found: `cargo xtask sim` builds this program and calls it.
//!
//! ```text
//! world (one thread, one step a simulated millisecond)
//!   hosts 3 or 5 x replica     homeport-store, openraft, our log on a simulated disk
//!         2 x front-end        homeport-front-end
//!         2 x mobile nodes     five each, behind a forwarder that punts
//!         2 x subscriber       of the binding feed
//!         1 x operator         home prefix, revocations, reads, status
//!   net   connections between hosts; deliver() once a step
//!   faults, drawn from the seed
//!   tap   at each replica, and events of the others --> checks: invariants, one a file
//! ```

mod bugs;
mod campaign;
mod chance;
mod checks;
mod disk;
mod faults;
mod host;
mod invariants;
mod lies;
mod mobile;
mod net;
mod operator;
mod process;
mod proxy;
mod servers;
mod subscriber;
mod tap;
mod trace;
mod world;

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::bugs::Bug;
use crate::campaign::Seeds;
use crate::world::{Outcome, Plan};

/// How long there are faults in a run, in simulated seconds.
const FAULT_SECS: u64 = 12;

/// Runs clusters under faults that seeds decide.
#[derive(Debug, Parser)]
#[command(name = "homeport-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one seed and prints what came of it as JSON; fails when an invariant did not hold.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// How long there are faults, in simulated seconds.
        #[arg(long, default_value_t = FAULT_SECS)]
        fault_secs: u64,
        /// Plants a bug.
        #[arg(long, value_name = "NAME")]
        bug: Option<Bug>,
        /// Tells what happens on standard error, and what the processes log as `RUST_LOG` says.
        #[arg(long)]
        tell: bool,
    },
    /// Runs many seeds; fails when an invariant did not hold in one, or a seed did not repeat itself.
    Seeds(Seeds),
    /// Plants one bug after the other and runs seeds until an invariant finds it; fails when none does.
    Planted {
        /// Only this one.
        #[arg(long, value_name = "NAME")]
        bug: Option<Bug>,
        #[command(flatten)]
        seeds: Seeds,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (seed, fault_secs, bug, told) = match arguments.command {
        Command::Seeds(seeds) => return Ok(code(seeds.run()?)),
        Command::Planted { bug, seeds } => return Ok(code(seeds.planted(bug)?)),
        Command::Run { seed, fault_secs, bug, tell } => (seed, fault_secs, bug, tell),
    };
    if told {
        let filter = EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let plan = Plan { seed, faults_ms: fault_secs.saturating_mul(1000), bug, told };
    let outcome = simulate(plan)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(code(outcome.violations.is_empty()))
}

fn code(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// In a thread of its own: what a thread has drawn from the kernel before is no part of the run.
fn simulate(plan: Plan) -> anyhow::Result<Outcome> {
    let directory = tempfile::tempdir().context("cannot make a directory for the disks")?;
    process::note_panics(plan.told);
    process::arm(plan.seed);
    let path = directory.path().to_owned();
    let thread = std::thread::spawn(move || world::run(&plan, &path));
    let outcome = thread.join().map_err(|_| anyhow!("the simulation itself panicked"))?;
    Ok(outcome?)
}
