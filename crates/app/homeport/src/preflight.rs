//! `homeport preflight`: what this host lacks for a role, and what to do about it.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use homeport_fastpath::clock;
use homeport_runtime::{
    config::Source,
    preflight::{Check, Verdict},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Something fails. Not 1, which says that a command did not do its work, and not 2, which says that it
/// was not understood.
const HOST_LACKS: u8 = 3;

/// Tries what a role needs of this host, by trying it. A role that runs meanwhile is not disturbed, but its
/// own ports, and its TUN, are then reported as taken.
///
/// Exit status: 0 nothing fails (something may be worse than it could be), 3 something fails, 2 the
/// command line is wrong, 1 there is no answer.
#[derive(Args)]
pub(crate) struct PreflightArgs {
    /// The role; without, the three that every cluster has
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Configuration of the role (TOML); without, what any needs is tried
    #[arg(long, value_name = "FILE", requires = "role")]
    config: Option<PathBuf>,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Carries packets
    Forwarder,
    /// Answers Binding Updates
    #[value(alias = "signalling")]
    FrontEnd,
    /// Keeps bindings
    Store,
    /// Stands beside an IKE daemon
    IkeAgent,
}

impl Role {
    /// An IKE daemon is not everywhere.
    const ORDINARY: [Self; 3] = [Self::Forwarder, Self::FrontEnd, Self::Store];
}

/// One line of the answer.
#[derive(Serialize)]
struct Line {
    /// `host`, or a role.
    role: &'static str,
    #[serde(flatten)]
    check: Check,
}

#[derive(Serialize)]
struct Answer {
    /// The worst of all.
    verdict: Verdict,
    checks: Vec<Line>,
}

/// Tries, prints, and says whether anything fails.
pub(crate) async fn run(args: PreflightArgs) -> anyhow::Result<ExitCode> {
    let mut checks = vec![Line { role: "host", check: time_of_day() }];
    let roles = args.role.map_or(Role::ORDINARY.to_vec(), |role| vec![role]);
    for role in roles {
        let config = args.config.as_ref();
        let (name, found) = match role {
            Role::Forwarder => match read(config) {
                Ok(config) => ("forwarder", homeport_forwarder::preflight(config.as_ref()).await),
                Err(check) => ("forwarder", vec![check]),
            },
            Role::FrontEnd => match read(config) {
                Ok(config) => ("front-end", homeport_front_end::preflight(config.as_ref()).await),
                Err(check) => ("front-end", vec![check]),
            },
            Role::Store => match read(config) {
                Ok(config) => ("store", homeport_store::preflight(config.as_ref()).await),
                Err(check) => ("store", vec![check]),
            },
            Role::IkeAgent => match read(config) {
                Ok(config) => ("ike-agent", homeport_ike_agent::preflight(config.as_ref()).await),
                Err(check) => ("ike-agent", vec![check]),
            },
        };
        checks.extend(found.into_iter().map(|check| Line { role: name, check }));
    }
    let verdict = checks.iter().map(|line| line.check.verdict).max().unwrap_or(Verdict::Ok);
    let text = match args.output {
        Format::Table => table(&checks),
        Format::Json => serde_json::to_string_pretty(&Answer { verdict, checks })? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if verdict == Verdict::Fail { ExitCode::from(HOST_LACKS) } else { ExitCode::SUCCESS })
}

/// What cannot be read is as well a thing that is missing.
fn read<C: DeserializeOwned + JsonSchema>(config: Option<&PathBuf>) -> Result<Option<C>, Check> {
    config.map(|path| Source::file(path).read()).transpose().map_err(|error| {
        let remedy = "correct it; `homeport dev` writes complete examples into its data directory";
        Check::fail("configuration", error.to_string().replace('\n', "; "), remedy)
    })
}

/// Lifetimes are counted by the clock of the store's leader, whoever that is, and logs by that of each host.
fn time_of_day() -> Check {
    const NAME: &str = "clock";
    match clock() {
        Ok(clock) if clock.is_synchronised => {
            Check::ok(NAME, format!("synchronised, at most {} ms off", clock.error_us_max / 1000))
        }
        Ok(_) => Check::warn(
            NAME,
            "not synchronised: when the store's leader changes, lifetimes and logs may leap",
            "run chrony, ntpd or systemd-timesyncd (timedatectl set-ntp true) on the host",
        ),
        Err(error) => Check::warn(
            NAME,
            format!("the kernel does not say: {error}"),
            "let the process call adjtimex (seccomp), or look at timedatectl on the host",
        ),
    }
}

/// A line for each check: verdict, role, name, what was found and what to do.
fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Line { role, check } in lines {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let found = plain(&check.found);
        text += &format!("{verdict:<4}  {role:<9}  {:<width$}  {found}", plain(&check.name));
        if !check.remedy.is_empty() {
            text += &format!("; remedy: {}", plain(&check.remedy));
        }
        text.push('\n');
    }
    text
}

/// Names of files and devices are anybody's: nothing of them steers the terminal or makes another line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
