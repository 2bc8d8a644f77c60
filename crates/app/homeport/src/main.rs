//! Homeport: a Mobile IPv6 home agent that runs as a cluster. One program, one subcommand a role, and
//! `dev`, which runs a whole cluster on one machine. Called as `homeportctl` or `mobile-node` it is that
//! program, so that an image holds one file.

mod certificates;
mod config;
mod dev;
mod disk;
mod preflight;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use homeport_runtime::config::{Configuration, Setting, Source};
use homeport_runtime::{Shutdown, Task, reload, telemetry};
use tokio::runtime::Runtime;

/// Millions of small records that come and go: with huge pages, as `.cargo/config.toml` asks for, a command at a million
/// bindings costs about what it costs at ten thousand.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "homeport", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one replica of the store, or see to the disk of one that does not run
    Store(StoreArgs),
    /// Run a signalling front-end
    Signalling(RoleArgs),
    /// Run a forwarder
    Forwarder(RoleArgs),
    /// Run the agent beside an IKE daemon
    IkeAgent(RoleArgs),
    /// Run the NOC's dashboard
    Noc(RoleArgs),
    /// Check a role's configuration, and say what may stand in it
    Config {
        #[command(subcommand)]
        action: config::Action,
    },
    /// Print the manual page of this program, or write one for it and each of its commands
    Man {
        /// Where they are written, such as /usr/local/share/man/man1
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Certificates for a laboratory, and what certificates say
    Certificates {
        #[command(subcommand)]
        action: certificates::Action,
    },
    /// Say what this host lacks for a role, and what to do about it
    Preflight(preflight::PreflightArgs),
    /// Run a whole cluster on this machine until ctrl-C
    Dev(dev::DevArgs),
    /// Run a cluster and let a mobile node register, move and leave
    Demo(dev::DemoArgs),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct StoreArgs {
    #[command(subcommand)]
    action: Option<disk::Action>,
    #[command(flatten)]
    role: Option<RoleArgs>,
}

#[derive(Args)]
struct RoleArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A key that goes over the file and the environment, such as telemetry.log=debug; as often as needed
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// End when standard input closes: for a supervisor whose children must not outlive it
    #[arg(long, hide = true)]
    end_with_stdin: bool,
}

const WORKERS: &str = "TOKIO_WORKER_THREADS";

fn main() -> ExitCode {
    match called_as().as_deref() {
        Some("homeportctl") => homeportctl::main(),
        Some("mobile-node") => mobile_node::main(),
        _ => run_role(),
    }
}

/// The name by which this program was started.
fn called_as() -> Option<String> {
    let path = PathBuf::from(std::env::args_os().next()?);
    Some(path.file_name()?.to_str()?.to_owned())
}

fn run_role() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match runtime_for(&cli.command) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("homeport: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("homeport: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The threads of a store wake each other for every step of a command, which costs more than the steps:
/// half as many as there are processors. `TOKIO_WORKER_THREADS` says otherwise.
fn runtime_for(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(command, Command::Store(_)) && std::env::var_os(WORKERS).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        builder.worker_threads((processors / 2).max(1));
    }
    builder.enable_all().build()
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Config { action } => return config::run(action),
        Command::Man { out } => man(out)?,
        Command::Certificates { action } => {
            let all_valid = certificates::run(&action)?;
            return Ok(if all_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Preflight(args) => return preflight::run(args).await,
        Command::Store(StoreArgs { action: Some(action), .. }) => disk::run(&action)?,
        Command::Store(StoreArgs { role, .. }) => {
            let args = role.context("--config FILE is missing")?;
            let (config, shutdown, _kept) = prepare(args)?;
            homeport_store::run(config, shutdown).await?
        }
        Command::Signalling(args) => {
            let (config, shutdown, _kept) = prepare(args)?;
            homeport_front_end::run(config, shutdown).await?
        }
        Command::Forwarder(args) => {
            let (config, shutdown, _kept) = prepare(args)?;
            homeport_forwarder::run(config, shutdown).await?
        }
        Command::IkeAgent(args) => {
            let (config, shutdown, _kept) = prepare(args)?;
            homeport_ike_agent::run(config, shutdown).await?
        }
        Command::Noc(args) => {
            let (config, shutdown, _kept) = prepare(args)?;
            homeport_noc::run(config, shutdown).await?
        }
        Command::Dev(args) => dev::dev(args).await?,
        Command::Demo(args) => dev::demo(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn man(out: Option<PathBuf>) -> std::io::Result<()> {
    match out {
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()),
        Some(dir) => {
            std::fs::create_dir_all(&dir)?;
            clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)
        }
    }
}

/// What lives as long as the role: spans that are still to be sent, and who waits for SIGHUP.
type Kept = (telemetry::TelemetryGuard, Task);

/// The configuration is read and checked before anything is opened.
fn prepare<C: Configuration + Sync>(args: RoleArgs) -> anyhow::Result<(C, Shutdown, Kept)> {
    let source = Source { path: args.config, settings: args.settings };
    let config: C = source.check()?;
    let guard = telemetry::init(config.telemetry(), C::ROLE)?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let reload = reload::on_signal(source, config.clone(), guard.log.clone());
    let reload = reload.context("cannot listen for SIGHUP")?;
    if args.end_with_stdin {
        end_with_stdin(shutdown.clone());
    }
    Ok((config, shutdown, (guard, reload)))
}

/// A supervisor that is killed closes our standard input.
fn end_with_stdin(shutdown: Shutdown) {
    std::thread::spawn(move || {
        // Whatever comes is thrown away; the end, or an error, is what matters.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        shutdown.begin();
    });
}
