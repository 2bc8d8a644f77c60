//! `homeportctl`: what operators do to a running cluster, from a shell.
//!
//! It is a plain client of the store's admin API: no rule is checked here that the store checks, and
//! what the store refuses is printed with the field that it names. Exit codes are for scripts and do
//! not change: see `Failure::exit_code`.
//!
//! A library, so that the image's one program is this one too when it is called by this name.

mod arguments;
mod cluster;
mod contexts;
mod decode;
#[cfg(test)]
mod documents;
mod dry_run;
mod failure;
mod output;
mod pcapng;
mod settings;
mod verbs;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};

use crate::{
    arguments::{Arguments, Format, Verb},
    cluster::Cluster,
    failure::Failure,
    settings::Settings,
};

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&arguments)),
        Err(error) => Err(Failure::Usage(format!("cannot start: {error}"))),
    };
    match outcome.and_then(|text| print(&text)) {
        Ok(()) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        // What was found is the answer.
        Err(Failure::Checked(found)) => match print(&found) {
            Ok(()) => ExitCode::from(Failure::Checked(found).exit_code()),
            Err(failure) => ExitCode::from(failure.exit_code()),
        },
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(arguments: &Arguments) -> Result<String, Failure> {
    if arguments.dry_run {
        dry_run::check(&arguments.verb)?;
    }
    let settings = match &arguments.verb {
        // What asks no store needs no configuration file, and is there to put it right.
        Verb::Completion { .. } | Verb::Context { .. } | Verb::Token { .. } => {
            Settings::without_file(arguments)
        }
        _ => Settings::of(arguments)?,
    };
    let Settings { endpoints, bearer, links, format } = settings;
    let cluster = Cluster::new(&endpoints, arguments.timeout_secs)?.with(bearer, links);
    let cluster = cluster.dry(arguments.dry_run);
    let outcome = carry_out(arguments, &cluster, format).await.inspect_err(|failure| {
        if let Some(hint) = cluster.hint(failure) {
            eprintln!("hint: {hint}");
        }
    })?;
    if arguments.dry_run {
        eprintln!("dry run: nothing was written; this is what would be");
    }
    Ok(outcome)
}

async fn carry_out(
    arguments: &Arguments,
    cluster: &Cluster,
    format: Format,
) -> Result<String, Failure> {
    match &arguments.verb {
        Verb::HomePrefixes { action } => verbs::home_prefixes::run(cluster, format, action).await,
        Verb::Subscribers { action } => verbs::subscribers::run(cluster, format, action).await,
        Verb::Associations { action } => verbs::associations::run(cluster, format, action).await,
        Verb::Bindings { action } => verbs::bindings::run(cluster, format, action).await,
        Verb::HomeAgents { action } => verbs::home_agents::run(cluster, format, action).await,
        Verb::Raft { action } => verbs::raft::run(cluster, format, action).await,
        Verb::Snapshot { action } => verbs::snapshot::run(cluster, format, action).await,
        Verb::Node { action } => verbs::nodes::run(cluster, format, action).await,
        Verb::Alarms { action } => verbs::alarms::run(cluster, format, action).await,
        Verb::Events(events) => verbs::events::run(cluster, format, events).await,
        Verb::Audit { action } => verbs::audit::run(cluster, format, action).await,
        Verb::Context { action } => verbs::context::run(format, action),
        Verb::Token { action } => verbs::token::run(format, action),
        Verb::Check(check) => verbs::check::run(cluster, format, check).await,
        Verb::SupportBundle(bundle) => verbs::support_bundle::run(cluster, format, bundle).await,
        Verb::Explain { term } => verbs::explain::run(format, term),
        Verb::Man { out } => verbs::man::run(out.as_deref()),
        Verb::Completion { shell } => Ok(completion(*shell)),
        Verb::Status => verbs::status::run(cluster, format).await,
        Verb::Trace(trace) => verbs::trace::run(cluster, format, trace).await,
        Verb::Top(top) => verbs::top::run(cluster, format, top).await,
        Verb::Probe(probe) => verbs::probe::run(cluster, format, probe).await,
    }
}

/// The script that completes command lines in a shell.
fn completion(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "homeportctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Usage(format!("cannot write: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
