//! What the program does.

use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser as _;
use homeport_runtime::config::{ConfigError, TelemetryConfig, load};
use homeport_runtime::{Shutdown, Task, telemetry};
use serde_json::{Value, json};

use crate::arguments::{Arguments, Common, Echo, Subcommands};
use crate::{BindingResult, Config, ConfigFault, Error, Events, MobileNode, Outcome, PingResult};

/// The home agent refused.
const EXIT_REFUSED: u8 = 1;
/// Wrong arguments or configuration; clap uses the same.
const EXIT_USAGE: u8 = 2;
/// Nobody answered.
const EXIT_NO_ANSWER: u8 = 3;
/// An echo request got no reply.
const EXIT_PING: u8 = 4;
/// The host refused.
const EXIT_HOST: u8 = 5;

/// Updates a second that `--refresh-every-ms` needs beside those of the interval itself.
const SPARE_UPDATES: u64 = 10;

/// Runs the program `mobile-node` with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mobile-node: cannot start: {error}");
            return ExitCode::from(EXIT_HOST);
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mobile-node: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The exit code of a failure.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() || error.is::<ConfigFault>() {
        return EXIT_USAGE;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Config(_) | Error::Settings(_)) => EXIT_USAGE,
        Some(Error::Refused(results)) => refused_code(results),
        Some(Error::Timeout(_)) => EXIT_NO_ANSWER,
        Some(Error::Host(_) | Error::Ended) | None => EXIT_HOST,
    }
}

fn refused_code(results: &[BindingResult]) -> u8 {
    let said_no = results.iter().any(|it| matches!(it.outcome, Outcome::Refused { .. }));
    let silent = results.iter().any(|it| it.outcome == Outcome::NoAnswer);
    if silent && !said_no { EXIT_NO_ANSWER } else { EXIT_REFUSED }
}

/// Runs a command; gives the exit code.
async fn run(arguments: Arguments) -> Result<u8> {
    let log = TelemetryConfig { log: "warn".to_owned(), ..TelemetryConfig::default() };
    let _telemetry = telemetry::init(&log, "mobile-node")?;
    match arguments.command {
        Subcommands::Run { common, refresh_every_ms, journal, for_secs, keep } => {
            let mut config = read(&common)?;
            if let Some(every_ms) = refresh_every_ms {
                refresh_every(&mut config, every_ms, common.bulk);
            }
            let plan = RunPlan { journal: journal.as_deref(), for_secs, keep };
            stay(&common, config, plan).await
        }
        Subcommands::Once { common, ping, echo, keep } => once(&common, &ping, &echo, keep).await,
        Subcommands::Register { common } => once(&common, &[], &Echo::none(), true).await,
        Subcommands::Ping { common, destination, echo } => {
            once(&common, &[destination], &echo, true).await
        }
        Subcommands::Deregister { common, bids } => deregister(&common, &bids).await,
        Subcommands::Home { common } => be_home(&common).await,
        Subcommands::Check { common } => {
            let config = read(&common)?;
            print_line(&format!("{config:#?}"))?;
            Ok(0)
        }
    }
}

impl Echo {
    fn none() -> Self {
        Self { via: Vec::new(), ping_count: 0, ping_timeout_ms: 0 }
    }
}

fn read(common: &Common) -> Result<Config> {
    let config: Config = load(&common.config)?;
    // Checked here too, so that the file is named.
    config.settings().with_context(|| common.config.display().to_string())?;
    Ok(config)
}

/// Each interval needs an update for all, or one for each.
fn refresh_every(config: &mut Config, every_ms: u64, bulk: bool) {
    config.refresh.every_ms = Some(every_ms);
    config.refresh.bulk = bulk;
    let each = u64::try_from(config.care_of.len()).unwrap_or(u64::MAX).max(1);
    let needed =
        (1000 / every_ms).saturating_add(1).saturating_mul(each).saturating_add(SPARE_UPDATES);
    let needed = u16::try_from(needed).unwrap_or(u16::MAX);
    config.updates_per_second_max = config.updates_per_second_max.max(needed);
}

struct RunPlan<'a> {
    journal: Option<&'a Path>,
    for_secs: Option<u64>,
    keep: bool,
}

/// `run`: until a signal comes.
async fn stay(common: &Common, config: Config, plan: RunPlan<'_>) -> Result<u8> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let node = MobileNode::start(config).await?;
    let printer = Task::spawn("printer", print_events(node.events(), common.json));
    let registered = tokio::select! {
        registered = node.register(common.bulk) => registered,
        () = shutdown.begun() => Err(Error::Ended),
    };
    let mut code = 0;
    // The node goes on asking, and the events tell about it.
    if let Err(error @ (Error::Refused(_) | Error::Timeout(_))) = registered {
        eprintln!("mobile-node: {error}");
        code = exit_code(&error.into());
    }
    let limit = plan.for_secs.map(Duration::from_secs);
    tokio::select! {
        () = shutdown.begun() => {}
        () = sleep(limit) => {}
    }
    // What was refused at first may have been accepted since.
    if code != 0 && !node.status().await?.registered().is_empty() {
        code = 0;
    }
    if let Some(path) = plan.journal {
        write_journal(&node, path).await?;
    }
    node.refresh_every(None, common.bulk).await?;
    if !plan.keep {
        node.deregister(&[]).await?;
    }
    node.stop().await?;
    // The events end with the node.
    printer.await.context("printing events")??;
    Ok(code)
}

async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

async fn print_events(mut events: Events, json: bool) -> io::Result<()> {
    while let Some(event) = events.next().await {
        if json {
            print_line(&event.to_json().to_string())?;
        } else {
            print_line(&event.to_string())?;
        }
    }
    Ok(())
}

async fn write_journal(node: &MobileNode, path: &Path) -> Result<()> {
    let mut text = String::new();
    for update in node.journal().await? {
        text.push_str(&serde_json::to_string(&update)?);
        text.push('\n');
    }
    tokio::fs::write(path, text).await.with_context(|| format!("writing {}", path.display()))
}

/// `once`, `register` and `ping`: register, ping, and end the bindings unless they are to be kept.
async fn once(common: &Common, destinations: &[Ipv6Addr], echo: &Echo, keep: bool) -> Result<u8> {
    let node = MobileNode::start(read(common)?).await?;
    let results = node.register(common.bulk).await?;
    print_results(common, "register", &results)?;
    let mut lost = false;
    for destination in destinations {
        lost |= !ping(common, &node, *destination, echo).await?;
    }
    if !keep {
        let results = node.deregister(&[]).await?;
        print_results(common, "deregister", &results)?;
    }
    node.stop().await?;
    Ok(if lost { EXIT_PING } else { 0 })
}

/// True when every request got a reply.
async fn ping(
    common: &Common,
    node: &MobileNode,
    destination: Ipv6Addr,
    echo: &Echo,
) -> Result<bool> {
    let timeout = Duration::from_millis(echo.ping_timeout_ms);
    let via =
        if echo.via.is_empty() { node.status().await?.registered() } else { echo.via.clone() };
    let mut all = !via.is_empty();
    for bid in via {
        let results = node.ping(destination, Some(bid), echo.ping_count, timeout).await?;
        all &= results.iter().all(PingResult::is_reply);
        print_pings(common, destination, bid, &results)?;
    }
    Ok(all)
}

async fn deregister(common: &Common, bids: &[u16]) -> Result<u8> {
    let node = MobileNode::start(read(common)?).await?;
    node.adopt().await?;
    let results =
        if common.bulk { node.deregister_bulk(bids).await? } else { node.deregister(bids).await? };
    print_results(common, "deregister", &results)?;
    node.stop().await?;
    Ok(0)
}

/// `home`: until a signal comes.
async fn be_home(common: &Common) -> Result<u8> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let node = MobileNode::start(read(common)?).await?;
    let results = tokio::select! {
        results = node.return_home() => results?,
        () = shutdown.begun() => Vec::new(),
    };
    print_results(common, "home", &results)?;
    shutdown.begun().await;
    node.stop().await?;
    Ok(0)
}

fn print_results(common: &Common, command: &str, results: &[BindingResult]) -> io::Result<()> {
    if common.json {
        let results: Vec<Value> = results
            .iter()
            .map(|result| json!({"bid": result.bid, "outcome": result.words()}))
            .collect();
        return print_line(&json!({"command": command, "results": results}).to_string());
    }
    for result in results {
        match result.bid {
            Some(bid) => print_line(&format!("BID {bid}: {}", result.words()))?,
            None => print_line(&format!("all bindings: {}", result.words()))?,
        }
    }
    Ok(())
}

fn print_pings(
    common: &Common,
    destination: Ipv6Addr,
    bid: u16,
    results: &[PingResult],
) -> io::Result<()> {
    if common.json {
        let destination = destination.to_string();
        let line =
            json!({"command": "ping", "destination": destination, "bid": bid, "results": results});
        return print_line(&line.to_string());
    }
    for result in results {
        let (number, outcome) = (result.number, result.outcome.words());
        print_line(&format!("ping {destination} via BID {bid}, {number}: {outcome}"))?;
    }
    Ok(())
}

/// One write for each line, so that lines of several processes do not mix.
fn print_line(line: &str) -> io::Result<()> {
    io::stdout().lock().write_all(format!("{line}\n").as_bytes())
}
