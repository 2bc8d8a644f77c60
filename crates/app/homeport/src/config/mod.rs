//! `homeport config`: whether a configuration is good, and what may stand in one. All of it is said by the types
//! of the roles' configurations.

mod explain;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use homeport_runtime::config::{
    Setting, Source,
    schema::{self, Key},
};

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Read a role's configuration as the role would, and say everything that is wrong with it
    Check {
        /// The role
        #[arg(long, value_enum)]
        role: Role,
        /// Configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A key that goes over the file and the environment; as often as needed
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<Setting>,
    },
    /// Say what a key does, what may stand there and what holds without it; without a key, list all
    Explain {
        /// With its tables, such as xdp.keep_secs; of a table, all that is in it
        key: Option<String>,
        /// Only of this role
        #[arg(long, value_enum)]
        role: Option<Role>,
    },
    /// Print the JSON Schema of a role's configuration, for editors and programs
    Schema {
        /// The role; without, one schema for each role, by its name
        #[arg(long, value_enum)]
        role: Option<Role>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Keeps bindings
    Store,
    /// Answers Binding Updates
    #[value(alias = "front-end")]
    Signalling,
    /// Carries packets
    Forwarder,
    /// Stands beside an IKE daemon
    IkeAgent,
    /// Shows the dashboard
    Noc,
}

/// Does the same with the type of each role's configuration.
macro_rules! with_config {
    ($role:expr, $config:ident => $what:expr) => {
        match $role {
            Role::Store => {
                type $config = homeport_store::Config;
                $what
            }
            Role::Signalling => {
                type $config = homeport_front_end::Config;
                $what
            }
            Role::Forwarder => {
                type $config = homeport_forwarder::Config;
                $what
            }
            Role::IkeAgent => {
                type $config = homeport_ike_agent::Config;
                $what
            }
            Role::Noc => {
                type $config = homeport_noc::Config;
                $what
            }
        }
    };
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        use homeport_runtime::config::Configuration;
        with_config!(self, C => <C as Configuration>::ROLE)
    }

    pub(crate) fn keys(self) -> Vec<Key> {
        with_config!(self, C => schema::keys::<C>())
    }

    fn schema(self) -> serde_json::Value {
        with_config!(self, C => schema::of::<C>())
    }
}

pub(crate) fn run(action: Action) -> anyhow::Result<ExitCode> {
    let text = match action {
        Action::Check { role, config, settings } => {
            let source = Source { path: config, settings };
            with_config!(role, C => drop(source.check::<C>()?));
            format!("{}: good, as the configuration of {}\n", source.path.display(), role.name())
        }
        Action::Explain { key, role } => {
            let roles = role.map_or(Role::value_variants().to_vec(), |role| vec![role]);
            match explain::explain(key.as_deref(), &roles) {
                Ok(text) => text,
                Err(unknown) => bail!(unknown),
            }
        }
        Action::Schema { role: Some(role) } => format!("{:#}\n", role.schema()),
        Action::Schema { role: None } => {
            let all = Role::value_variants().iter();
            let all: serde_json::Map<_, _> =
                all.map(|role| (role.name().to_owned(), role.schema())).collect();
            format!("{:#}\n", serde_json::Value::Object(all))
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
