//! The home agent end to end: a mobile node that roams foreign links, the kernels of the mobile node and
//! of a correspondent node, each in a network namespace, and tshark as the judge of every frame.
//!
//! ```text
//!  correspondent ---\            /-- link-a --\
//!  raw0 (the test) -- router ---+--- link-b --- mobile node
//!                     |    |     \-- link-c --/
//!        captured:  uplink uplink
//!              forwarder-1 forwarder-2 -- front-ends -- store
//! ```
//!
//! `homeport dev` makes the namespaces and the cluster. The tests run each [`Case`] for its assertions,
//! `cargo xtask e2e` for the figures too. Needs root, `tshark`, `tcpdump` and `ping`.

mod binding_proof;
mod capture;
mod discovery;
pub mod flood;
mod flows;
mod handover;
mod home_link;
mod ipsec;
mod ipv4_home;
mod kills;
mod lab;
mod late;
mod legacy;
mod mobile_router;
pub mod moves;
mod multiple;
mod notices;
mod ping;
mod raw;
mod spoofed;
mod surroundings;
mod transfer;
mod tunnels;
mod verification;

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

pub(crate) use self::capture::Capture;
use self::lab::Lab;
pub(crate) use self::lab::remove_namespaces_of;
pub(crate) use self::raw::RawLink;

/// A story with an end that is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// Signalling in ESP.
    Ipsec,
    /// A handover from one link to another and de-registration, under the correspondent node's ping.
    Handover,
    /// Three care-of addresses in one Binding Update, one moved, one de-registered.
    Multiple,
    /// Packets out of tunnels that belong to no binding.
    Spoofed,
    /// Echo requests with a Home Address option.
    BindingProof,
    /// Care-of addresses that are not the mobile node's.
    CareOfVerification,
    /// A node of RFC 6275, which knows no BID.
    Plain,
    /// A node with an IPv4 care-of address.
    Ipv4,
    /// SIGKILL of the forwarder that carries the packets.
    ForwarderKill,
    /// SIGKILL of the forwarder, again and again, whose packets XDP carries.
    ForwarderKillByXdp,
    /// A drain of the forwarder that carries the packets, and its end.
    ForwarderDrain,
    /// SIGKILL of the front-end that serves the node.
    FrontEndKill,
    /// A mobile router with a host behind it.
    MobileRouter,
    /// One UDP port goes by another link than everything else.
    FlowBindings,
    /// One UDP port goes by all links at once.
    FlowCopies,
    /// An IPv4 home address, at an IPv6 care-of address and in UDP.
    Ipv4Home,
    /// The same without UDP.
    Bare,
    /// An operator revokes bindings.
    Revocation,
    /// An operator sends the node to another home agent.
    Switch,
    /// An operator lets the node look for another home agent.
    Search,
    /// The home agent reminds the node of a binding that ends.
    RefreshRequest,
    /// A node that knows its home address only.
    Discovery,
    /// An operator changes the lifetimes of the home prefix.
    PrefixChange,
    /// The defender of a real home link is killed, then ends.
    HomeLink,
    /// Large transfers through each kind of tunnel, over wide and narrow paths.
    Tunnels,
    /// The same through tunnels that XDP carries.
    TunnelsByXdp,
}

/// One measured value.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// How a case ended.
#[derive(Debug)]
pub struct Outcome {
    /// An error where anything was not as it should be.
    pub result: Result<()>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Frames on the forwarders' links that tshark decoded.
    pub frames_decoded: u32,
    /// Those that it finds malformed, wrong in their checksum, or warns about.
    pub frames_malformed: u32,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Ipsec,
        Self::Handover,
        Self::Multiple,
        Self::Spoofed,
        Self::BindingProof,
        Self::CareOfVerification,
        Self::Plain,
        Self::Ipv4,
        Self::ForwarderKill,
        Self::ForwarderKillByXdp,
        Self::ForwarderDrain,
        Self::FrontEndKill,
        Self::MobileRouter,
        Self::FlowBindings,
        Self::FlowCopies,
        Self::Ipv4Home,
        Self::Bare,
        Self::Revocation,
        Self::Switch,
        Self::Search,
        Self::RefreshRequest,
        Self::Discovery,
        Self::PrefixChange,
        Self::HomeLink,
        Self::Tunnels,
        Self::TunnelsByXdp,
    ];

    /// The case in a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipsec => "signalling in ESP",
            Self::Handover => "handover and de-registration",
            Self::Multiple => "three care-of addresses",
            Self::Spoofed => "spoofed tunnels",
            Self::BindingProof => "proof of a binding",
            Self::CareOfVerification => "other people's addresses",
            Self::Plain => "a node without BIDs",
            Self::Ipv4 => "an IPv4 care-of address",
            Self::ForwarderKill => "a forwarder is killed",
            Self::ForwarderKillByXdp => "a forwarder is killed that has XDP",
            Self::ForwarderDrain => "a forwarder is drained",
            Self::FrontEndKill => "a front-end is killed",
            Self::MobileRouter => "a mobile router",
            Self::FlowBindings => "flow bindings",
            Self::FlowCopies => "copies of a flow",
            Self::Ipv4Home => "an IPv4 home address",
            Self::Revocation => "bindings are revoked",
            Self::Bare => "IPv4 tunnels without UDP",
            Self::Switch => "another home agent",
            Self::Search => "a search for another home agent",
            Self::RefreshRequest => "a refresh request",
            Self::Discovery => "discovery of home agent and prefix",
            Self::PrefixChange => "a home prefix that changes",
            Self::HomeLink => "a real home link is taken over",
            Self::Tunnels => "each kind of tunnel",
            Self::TunnelsByXdp => "tunnels by XDP",
        }
    }

    /// How nodes prove who they are.
    const fn authentication(self) -> &'static str {
        match self {
            Self::Spoofed
            | Self::BindingProof
            | Self::CareOfVerification
            | Self::Plain
            | Self::Ipv4
            | Self::ForwarderKill
            | Self::ForwarderKillByXdp
            | Self::ForwarderDrain
            | Self::FrontEndKill => "none",
            _ => "mn-ha",
        }
    }

    /// Runs it in a laboratory of its own, which is gone afterwards.
    pub async fn run(self) -> Outcome {
        let started = match self {
            // Tens of megabytes go by.
            Self::Tunnels
            | Self::TunnelsByXdp
            | Self::ForwarderKillByXdp
            | Self::ForwarderDrain => Lab::start_unseen(self.authentication()).await,
            _ => Lab::start(self.authentication()).await,
        };
        let mut lab = match started {
            Ok(lab) => lab,
            Err(error) => {
                let result = Err(error.context("the laboratory"));
                let (figures, frames_decoded, frames_malformed) = (Vec::new(), 0, 0);
                return Outcome { result, figures, frames_decoded, frames_malformed };
            }
        };
        let told = match self {
            Self::Ipsec => ipsec::tell(&mut lab).await,
            Self::Handover => handover::tell(&mut lab).await,
            Self::Multiple => multiple::tell(&mut lab).await,
            Self::Spoofed => spoofed::tell(&mut lab).await,
            Self::BindingProof => binding_proof::tell(&mut lab).await,
            Self::CareOfVerification => verification::tell(&mut lab).await,
            Self::Plain => legacy::tell_plain(&mut lab).await,
            Self::Ipv4 => legacy::tell_ipv4(&mut lab).await,
            Self::ForwarderKill => kills::tell_forwarder(&mut lab).await,
            Self::ForwarderKillByXdp => kills::tell_forwarder_by_xdp(&mut lab).await,
            Self::ForwarderDrain => kills::tell_drained_forwarder(&mut lab).await,
            Self::FrontEndKill => kills::tell_front_end(&mut lab).await,
            Self::MobileRouter => mobile_router::tell(&mut lab).await,
            Self::FlowBindings => flows::tell(&mut lab).await,
            Self::FlowCopies => flows::tell_copies(&mut lab).await,
            Self::Ipv4Home => ipv4_home::tell_in_udp(&mut lab).await,
            Self::Bare => ipv4_home::tell_bare(&mut lab).await,
            Self::Revocation => notices::tell_revocation(&mut lab).await,
            Self::Switch => notices::tell_switch(&mut lab).await,
            Self::Search => notices::tell_search(&mut lab).await,
            Self::RefreshRequest => notices::tell_refresh(&mut lab).await,
            Self::Discovery => discovery::tell(&mut lab).await,
            Self::PrefixChange => discovery::tell_change(&mut lab).await,
            Self::HomeLink => home_link::tell(&mut lab).await,
            Self::Tunnels => tunnels::tell(&mut lab).await,
            Self::TunnelsByXdp => tunnels::tell_xdp(&mut lab).await,
        };
        let result = told.map_err(|error| error.context(lab.cluster.logs()));
        lab.outcome(result)
    }
}

/// Runs a case as a test: skipped, and loudly, where the host does not let us.
///
/// # Errors
/// What was not as it should be.
pub async fn test(case: Case) -> Result<()> {
    if let Err(reason) = possible() {
        // Not by the macro: the test harness would keep that to itself.
        writeln!(std::io::stderr(), "\n*** SKIPPED {}: {reason}\n", case.name())?;
        return Ok(());
    }
    let outcome = case.run().await;
    for Figure { name, value, unit } in &outcome.figures {
        println!("{name}: {value} {unit}");
    }
    println!("{} frames decoded", outcome.frames_decoded);
    outcome.result
}

/// Whether the cases can run here.
///
/// # Errors
/// Why not.
pub fn possible() -> Result<()> {
    homeport_hostnet::privileges()?;
    for program in ["tshark", "tcpdump", "ping", "ip", "nft", "ethtool"] {
        let mut command = Command::new(program);
        command.arg(if program == "ping" { "-V" } else { "--version" });
        if command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            bail!("{program} is not installed (`cargo xtask packages` as root installs it)");
        }
    }
    Ok(())
}

/// Sends a signal to a process that is ours.
fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill").arg(name).arg(pid.to_string()).status()?;
    anyhow::ensure!(status.success(), "kill {name} {pid}");
    Ok(())
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
