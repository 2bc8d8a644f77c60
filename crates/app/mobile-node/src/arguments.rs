//! What can be said on the command line.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A mobile node of Mobile IPv6 with multiple care-of addresses.
///
/// Exit codes: 0 all went well; 1 the home agent refused; 2 wrong arguments or configuration; 3
/// nobody answered; 4 an echo request got no reply; 5 the host refused (socket, device, route).
#[derive(Debug, Parser)]
#[command(name = "mobile-node", version)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Subcommands,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    /// Register, and keep the bindings until a signal comes; print what happens.
    Run {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
        /// Renew all bindings at this interval, answered or not. The limit of
        /// `updates_per_second_max` is raised to fit.
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
        refresh_every_ms: Option<u64>,
        /// Write every Binding Update and its answer to this file at the end, one JSON object a
        /// line.
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
        /// End after this time as if a signal had come.
        #[arg(long, value_name = "SECS")]
        for_secs: Option<u64>,
        /// Leave the bindings to the home agent at the end.
        #[arg(long)]
        keep: bool,
    },
    /// Register, ping, and end the bindings.
    Once {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
        /// Ping this address; may be repeated.
        #[arg(long, value_name = "ADDRESS")]
        ping: Vec<Ipv6Addr>,
        /// How to ping.
        #[command(flatten)]
        echo: Echo,
        /// Leave the bindings to the home agent at the end.
        #[arg(long)]
        keep: bool,
    },
    /// Register all care-of addresses and leave the bindings to the home agent.
    Register {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
    },
    /// End bindings of an earlier run.
    Deregister {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
        /// End this binding; may be repeated. Without it all are ended.
        #[arg(long = "bid", value_name = "BID")]
        bids: Vec<u16>,
    },
    /// Be on the home link with the only interface: end all bindings of an earlier run from there,
    /// and use the home address there until a signal comes.
    Home {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
    },
    /// Register, ping an address from the home address, and leave the bindings to the home agent.
    Ping {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
        /// The address.
        destination: Ipv6Addr,
        /// How to ping.
        #[command(flatten)]
        echo: Echo,
    },
    /// Check a configuration file and print it as it was understood.
    Check {
        /// What all commands take.
        #[command(flatten)]
        common: Common,
    },
}

/// What all commands take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file (TOML). `HOMEPORT_*` environment variables override it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// All bindings in one update, as far as the rules allow.
    #[arg(long)]
    pub(crate) bulk: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to ping.
#[derive(Debug, Args)]
pub(crate) struct Echo {
    /// Through this binding; may be repeated. Without it through each.
    #[arg(long, value_name = "BID")]
    pub(crate) via: Vec<u16>,
    /// Requests to send through each.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) ping_count: u32,
    /// Milliseconds to wait for each reply.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) ping_timeout_ms: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
