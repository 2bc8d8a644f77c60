//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use homeport_store::AdminRole;
use serde::{Deserialize, Serialize};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the store refused, and the fields at fault are printed; or there is nothing of that name
  2  the command line is wrong, or a file or directory that it names cannot be used
  3  no store that could answer was reached, or the answer to a change was lost: look before repeating
  4  a check failed";

/// Operates a Homeport cluster.
#[derive(Debug, Parser)]
#[command(name = "homeportctl", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// A store replica, host:port; repeat it or give several with commas. 127.0.0.1:7101 when nothing says
    /// otherwise.
    #[arg(
        long = "endpoint",
        env = "HOMEPORT_ENDPOINTS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        global = true
    )]
    pub(crate) endpoints: Vec<String>,
    /// Which cluster is meant: a context of the configuration file, as homeportctl context list shows them; an
    /// empty name for none. Without it the one that is used. Flags come before the environment, both before the
    /// context.
    #[arg(long, env = "HOMEPORT_CONTEXT", value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
    /// How the answer is printed: a table when nothing says otherwise.
    #[arg(short, long, value_enum, global = true)]
    pub(crate) output: Option<Format>,
    /// How long one store may take to answer.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=600),
        global = true
    )]
    pub(crate) timeout_secs: u64,
    /// A file with the token that the stores know the caller by; without, HOMEPORT_TOKEN may hold the token itself.
    #[arg(long, env = "HOMEPORT_TOKEN_FILE", value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// A PEM file with the authorities that are believed, where links are mutual TLS.
    #[arg(long, env = "HOMEPORT_TLS_CA", value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A PEM file with the operator's certificate, where links are mutual TLS.
    #[arg(long, env = "HOMEPORT_TLS_CERT", value_name = "FILE", global = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// A PEM file with the key of the operator's certificate.
    #[arg(long, env = "HOMEPORT_TLS_KEY", value_name = "FILE", global = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Have the store look whether it would do what is asked, and show what would be; nothing is written. Of an
    /// import each line is looked at alone.
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with a wide screen: all columns.
    Wide,
    /// For spreadsheets (RFC 4180): all columns.
    Csv,
    /// For programs; field names are those of the API.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Home prefixes that the cluster serves.
    HomePrefixes {
        #[command(subcommand)]
        action: HomePrefixAction,
    },
    /// Mobile nodes, their keys and what they may do.
    Subscribers {
        #[command(subcommand)]
        action: SubscriberAction,
    },
    /// What protects the signalling of mobile nodes (IPsec).
    Associations {
        #[command(subcommand)]
        action: AssociationAction,
    },
    /// Where home addresses are reachable now.
    Bindings {
        #[command(subcommand)]
        action: BindingAction,
    },
    /// The way of mobile nodes from one home agent to another.
    HomeAgents {
        #[command(subcommand)]
        action: HomeAgentAction,
    },
    /// The store's replicas: which there are, and which of them leads.
    Raft {
        #[command(subcommand)]
        action: RaftAction,
    },
    /// Backups of all that the store holds, and a new cluster out of one.
    Snapshot {
        #[command(subcommand)]
        action: SnapshotAction,
    },
    /// Forwarders, front-ends and stores: who is connected, and who is drained.
    Node {
        #[command(subcommand)]
        action: NodeAction,
    },
    /// What is the matter with the cluster.
    Alarms {
        #[command(subcommand)]
        action: AlarmAction,
    },
    /// What has happened to mobile nodes and to the cluster.
    Events(EventsArguments),
    /// What operators have written.
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
    /// The clusters that the configuration file names, and which of them is meant: homeport/config.toml in the
    /// directory for configuration, or what HOMEPORT_CONFIG names.
    Context {
        #[command(subcommand)]
        action: ContextAction,
    },
    /// Tokens, by which stores know who calls and what he may do.
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Look whether all is well; exit code 4 when something is not.
    Check(Check),
    /// Write what somebody who helps needs to know into one file, without keys.
    SupportBundle(SupportBundle),
    /// Explain an alarm, a refusal, a check or a metric by its name. It asks no store.
    Explain {
        /// As it is printed elsewhere: session-lost, IN_USE, store-leader, homeport_store_bindings.
        term: String,
    },
    /// Print the manual page of this program, or write one for it and each of its commands.
    Man {
        /// Where they are written, such as /usr/local/share/man/man1.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print the script that completes this command line in a shell.
    Completion {
        /// Of which shell.
        shell: clap_complete::Shell,
    },
    /// What each replica says of itself and of its feed's subscribers.
    Status,
    /// Show the packets of one mobile node, as forwarders see them. Each that is asked takes them off its
    /// fast path meanwhile.
    Trace(Trace),
    /// The home addresses with the most traffic, of forwarders that count it.
    Top(Top),
    /// Register a mobile node of its own through a forwarder, as any other: by UDP from an IPv4 address of this host.
    /// Then look at it in the store, ping through its tunnel, end it, and leave nothing of it. Exit code 4 when one
    /// of these fails.
    Probe(Probe),
}

/// The prefix and the addresses are of the documentation range (RFC 3849): a cluster may serve them beside its own.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// The home prefix of the mobile node; made for the while when the cluster does not serve it.
    #[arg(long, default_value = "2001:db8:ffff:1::/64")]
    pub(crate) home_prefix: ipnet::Ipv6Net,
    /// The home agent's address in a home prefix that is made.
    #[arg(long, value_name = "ADDRESS", default_value = "2001:db8:ffff:1::1")]
    pub(crate) home_agent: Ipv6Addr,
    /// The home agent's IPv4 address, which routers send to forwarders; that of the home prefix when it is there.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) home_agent_ipv4: Option<Ipv4Addr>,
    /// Its UDP port.
    #[arg(long, default_value_t = 4191)]
    pub(crate) port: u16,
    /// The home address, which no subscriber may have.
    #[arg(long, value_name = "ADDRESS", default_value = "2001:db8:ffff:1::ffff")]
    pub(crate) home_address: Ipv6Addr,
    /// The care-of address; that from which this host reaches the home agent when it is not given.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) care_of: Option<Ipv4Addr>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Look only whether the store's replicas can be replaced one by one by this program's version: all are there,
    /// follow their leader, run one version, and none is newer.
    #[arg(long)]
    pub(crate) before_upgrade: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextAction {
    /// Show all.
    List,
    /// From now on this one is meant when none is named.
    Use {
        /// As context list shows it.
        name: String,
    },
    /// Make a context or change it; the first one is used at once.
    Set {
        /// 1 to 64 of the characters a-z A-Z 0-9 . _ -
        name: String,
        /// stores=HOST:PORT,... or token_file=FILE or token=- (read from standard input) or output=FORMAT; an
        /// empty value takes the key out.
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Forget a context.
    Remove {
        /// As context list shows it.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenAction {
    /// Make one; no store is asked. The line that is printed goes into the file that admin.tokens_file of
    /// each store replica names.
    New(NewToken),
}

#[derive(Debug, Args)]
pub(crate) struct NewToken {
    /// Who will hold it, as the record of writes names him.
    #[arg(long)]
    pub(crate) name: String,
    /// viewer reads; operator also drains, sees to alarms, moves the leadership, saves snapshots (which hold keys),
    /// revokes and switches; security reads the audit record; admin does everything.
    #[arg(long, value_name = "ROLE", value_parser = PossibleValuesParser::new(AdminRole::ALL.map(AdminRole::name))
        .try_map(|name| name.parse::<AdminRole>()))]
    pub(crate) role: AdminRole,
    /// Write the token into this new file, which only its owner may read, and print the line alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeAction {
    /// Show all.
    List,
    /// Let others do what a front-end or forwarder does, and wait until nothing comes to it any more.
    Drain {
        /// front-ends/NAME or forwarders/NAME, as node list shows it.
        name: String,
        /// How long to wait, 0 not to.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait_secs: u64,
    },
    /// Let it serve again.
    Undrain {
        /// front-ends/NAME or forwarders/NAME, as node list shows it.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlarmAction {
    /// Show those that are raised, the worst first, and those that have ended and nobody has acknowledged.
    List {
        #[command(flatten)]
        page: Page,
        /// Those that are shelved as well.
        #[arg(long)]
        all: bool,
    },
    /// Take note of one; when it has ended it leaves the list.
    Ack {
        /// As alarms list shows it.
        name: String,
        /// What to keep with it.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// Do not show one for a while.
    Shelve {
        /// As alarms list shows it.
        name: String,
        /// For how long: 30m, 8h, 7d; 0s shows it again.
        #[arg(long = "for", value_parser = duration, value_name = "TIME")]
        duration: Duration,
        /// What to keep with it.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// Keep a remark about one.
    Comment {
        /// As alarms list shows it.
        name: String,
        /// What to keep.
        comment: String,
    },
    /// Show what became of alarms, newest first.
    History(Page),
}

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// Only those about this home address.
    #[arg(value_name = "HOME-ADDRESS")]
    pub(crate) home_address: Option<Ipv6Addr>,
    /// Only those of the last time: 30s, 10m, 2h.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) since: Option<Duration>,
    /// Go on with what happens.
    #[arg(long, short)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) page: Page,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditAction {
    /// Show the records, newest first.
    List(Page),
    /// Check that none was changed or taken out; exit code 4 when one was.
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct SupportBundle {
    /// Where to; only its owner may read it, and nothing is replaced.
    pub(crate) file: PathBuf,
    /// Addresses and NAIs of mobile nodes as well; keys are never in it.
    #[arg(long)]
    pub(crate) include_subscribers: bool,
}

/// Forwarders whose configuration has a section `[inspection]`.
#[derive(Debug, Args)]
pub(crate) struct Forwarders {
    /// Where a forwarder serves its inspection, host:port; repeat it or give several with commas.
    #[arg(
        long = "forwarder",
        env = "HOMEPORT_FORWARDERS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) forwarders: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// A home address, an IPv4 home address, a mobile network prefix, or a subscriber's NAI.
    #[arg(value_name = "ADDRESS")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) forwarders: Forwarders,
    /// Only packets from or to this care-of address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) care_of: Option<IpAddr>,
    /// For so long, 1 to 3600.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
    /// So many of each forwarder, 1 to 1000000.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) packets: u32,
    /// Octets of each packet, 1 to 65535.
    #[arg(long, default_value_t = 256, value_name = "OCTETS")]
    pub(crate) snap: u32,
    /// Write them as pcapng too; what became of each packet is its comment.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

/// What makes traffic much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Both directions together.
    Octets,
    /// Both directions together.
    Packets,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) forwarders: Forwarders,
    /// Most of what comes first.
    #[arg(long, value_enum, default_value_t = By::Octets)]
    pub(crate) by: By,
    /// At most so many, 1 to 1000.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: u32,
    /// Again every two seconds.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HomePrefixAction {
    /// Serve a prefix.
    Create(Box<CreateHomePrefix>),
    /// Change settings of one while it is served. Mobile nodes that are away are told of new lifetimes
    /// (RFC 6275 section 10.6.2).
    Update(Box<UpdateHomePrefix>),
    /// Tell mobile nodes that are away of one, although it has not changed.
    Advertise {
        /// 2001:db8:0:1::/64
        prefix: String,
        /// Each within this time, 0 for now [default: spread as a change is]
        #[arg(long, value_name = "SECONDS")]
        within_secs: Option<u32>,
    },
    /// Show one.
    Get {
        /// 2001:db8:0:1::/64
        prefix: String,
    },
    /// Show all.
    List(Page),
    /// Serve it no longer; refused while home addresses in it have bindings.
    Delete {
        /// 2001:db8:0:1::/64
        prefix: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateHomePrefix {
    /// 2001:db8:0:1::/64
    pub(crate) prefix: String,
    /// The home agent's address in it, 2001:db8:0:1::1
    #[arg(long)]
    pub(crate) home_agent: Ipv6Addr,
    /// The home agent's IPv4 address for UDP port 4191.
    #[arg(long)]
    pub(crate) home_agent_ipv4: Option<Ipv4Addr>,
    /// How mobile nodes prove who they are.
    #[arg(long, value_enum)]
    pub(crate) authentication: Authentication,
    /// Several care-of addresses per home address (RFC 5648) [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) multiple_care_of: Option<bool>,
    /// Several of them in one Binding Update [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) bulk: Option<bool>,
    /// A binding at home beside foreign ones [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) home_and_foreign: Option<bool>,
    /// 1 to 64 [default: 8]
    #[arg(long, value_name = "N")]
    pub(crate) bindings_max: Option<u32>,
    /// 4 to 262140 [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lifetime_max_secs: Option<u32>,
    /// The home agent is the only router of the home link.
    #[arg(long)]
    pub(crate) only_router: bool,
    /// Laboratories only: take IPv4 care-of addresses in 127.0.0.0/8.
    #[arg(long)]
    pub(crate) loopback_care_of: bool,
    /// How long addresses of the prefix are valid, 4 or more [default: for ever]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) valid_lifetime_secs: Option<u32>,
    /// How long they are preferred [default: as long as they are valid]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) preferred_lifetime_secs: Option<u32>,
    /// Data to IPv4 care-of addresses in UDP although there is no NAT (RFC 5555) [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) force_udp: Option<bool>,
    /// Mobile nodes may ask for that by the F flag [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) force_udp_requests: Option<bool>,
    /// Between two refreshes behind a NAT, 1 to 86400 [default: 110]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) nat_keepalive_secs: Option<u32>,
    /// IPv4 home addresses are assigned out of this: 198.51.100.0/24
    #[arg(long, value_name = "PREFIX")]
    pub(crate) ipv4_pool: Option<String>,
    /// Mobile routers with networks (RFC 3963) [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) mobile_networks_allowed: Option<bool>,
    /// Flow bindings per home address (RFC 6089), 0 to 64 [default: 16]
    #[arg(long, value_name = "N")]
    pub(crate) flow_bindings_max: Option<u32>,
    /// Answer whoever looks for home agents (RFC 6275 section 10.5).
    #[arg(long)]
    pub(crate) home_agent_discovery: bool,
    /// Answer mobile nodes that ask for the prefix (RFC 6275 section 10.6).
    #[arg(long)]
    pub(crate) prefix_discovery: bool,
    /// A link stands behind the prefix: look for duplicates and defend home addresses there (RFC 6275
    /// sections 10.3.1, 10.4.1).
    #[arg(long)]
    pub(crate) real_home_link: bool,
    /// Preference in Router Advertisements on that link, higher is better [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) home_agent_preference: Option<u16>,
    /// From a change of lifetimes until the first mobile node is told (RFC 6275 section 10.6.2) [default: 600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) prefix_advertisement_delay_min_secs: Option<u32>,
    /// From a change of lifetimes until the last mobile node is told [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) prefix_advertisement_delay_max_secs: Option<u32>,
    /// Packets go to a care-of address once it is known to be the mobile node's (RFC 5648 section 10) [default:
    /// true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) care_of_verification: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateHomePrefix {
    /// 2001:db8:0:1::/64
    pub(crate) prefix: String,
    /// The home agent's IPv4 address for UDP port 4191: where there is none yet.
    #[arg(long)]
    pub(crate) home_agent_ipv4: Option<Ipv4Addr>,
    /// Several care-of addresses per home address (RFC 5648).
    #[arg(long, value_name = "BOOL")]
    pub(crate) multiple_care_of: Option<bool>,
    /// Several of them in one Binding Update.
    #[arg(long, value_name = "BOOL")]
    pub(crate) bulk: Option<bool>,
    /// A binding at home beside foreign ones.
    #[arg(long, value_name = "BOOL")]
    pub(crate) home_and_foreign: Option<bool>,
    /// 1 to 64
    #[arg(long, value_name = "N")]
    pub(crate) bindings_max: Option<u32>,
    /// 4 to 262140
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lifetime_max_secs: Option<u32>,
    /// The home agent is the only router of the home link.
    #[arg(long, value_name = "BOOL")]
    pub(crate) only_router: Option<bool>,
    /// Laboratories only: take IPv4 care-of addresses in 127.0.0.0/8.
    #[arg(long, value_name = "BOOL")]
    pub(crate) loopback_care_of: Option<bool>,
    /// How long addresses of the prefix are valid, 4 or more; no binding lasts longer.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) valid_lifetime_secs: Option<u32>,
    /// How long they are preferred, at most as long.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) preferred_lifetime_secs: Option<u32>,
    /// Data to IPv4 care-of addresses in UDP although there is no NAT (RFC 5555).
    #[arg(long, value_name = "BOOL")]
    pub(crate) force_udp: Option<bool>,
    /// Mobile nodes may ask for that by the F flag.
    #[arg(long, value_name = "BOOL")]
    pub(crate) force_udp_requests: Option<bool>,
    /// Between two refreshes behind a NAT, 1 to 86400
    #[arg(long, value_name = "SECONDS")]
    pub(crate) nat_keepalive_secs: Option<u32>,
    /// IPv4 home addresses are assigned out of this; it can only grow.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) ipv4_pool: Option<String>,
    /// Mobile routers with networks (RFC 3963).
    #[arg(long, value_name = "BOOL")]
    pub(crate) mobile_networks_allowed: Option<bool>,
    /// Flow bindings per home address (RFC 6089), 0 to 64
    #[arg(long, value_name = "N")]
    pub(crate) flow_bindings_max: Option<u32>,
    /// Answer whoever looks for home agents (RFC 6275 section 10.5).
    #[arg(long, value_name = "BOOL")]
    pub(crate) home_agent_discovery: Option<bool>,
    /// Answer mobile nodes that ask for the prefix, and tell them of changes (RFC 6275 section 10.6).
    #[arg(long, value_name = "BOOL")]
    pub(crate) prefix_discovery: Option<bool>,
    /// Preference in Router Advertisements on the home link, higher is better.
    #[arg(long, value_name = "N")]
    pub(crate) home_agent_preference: Option<u16>,
    /// From a change of lifetimes until the first mobile node is told.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) prefix_advertisement_delay_min_secs: Option<u32>,
    /// From a change of lifetimes until the last mobile node is told.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) prefix_advertisement_delay_max_secs: Option<u32>,
    /// Packets go to a care-of address once it is known to be the mobile node's (RFC 5648 section 10).
    #[arg(long, value_name = "BOOL")]
    pub(crate) care_of_verification: Option<bool>,
}

/// How mobile nodes prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Authentication {
    /// Laboratories only: every Binding Update is believed.
    None,
    /// RFC 4285, with each subscriber's key.
    MnHa,
    /// ESP in transport mode (RFC 4877), with security associations.
    Ipsec,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AssociationAction {
    /// Set one by hand: for laboratories and migration. Those of IKEv2 come by themselves.
    Create(CreateAssociation),
    /// Show all, or those that a filter lets through; keys are never shown.
    List {
        #[command(flatten)]
        page: Page,
        /// Only these: 'home_address = 2001:db8:0:1::/64'
        #[arg(long, default_value = "", hide_default_value = true)]
        filter: String,
    },
    /// Believe and send nothing under it any more.
    Delete {
        /// 2001:db8:0:1::100
        home_address: Ipv6Addr,
        /// SPI of what the mobile node sends; 0x for hexadecimal.
        #[arg(value_parser = spi)]
        inbound_spi: u32,
    },
}

/// The file with the keys is TOML: inbound_encryption, inbound_authentication, outbound_encryption and
/// outbound_authentication, each in hexadecimal digits and as long as the suite takes; those that it does not
/// take are left out. Inbound is what the mobile node sends.
#[derive(Debug, Args)]
pub(crate) struct CreateAssociation {
    /// Of a subscriber, 2001:db8:0:1::100
    pub(crate) home_address: Ipv6Addr,
    /// aes-cbc-hmac-sha2-256, -384 or -512, null-hmac-sha2-256, -384 or -512; aes-gcm-16 is of IKEv2 alone.
    #[arg(long)]
    pub(crate) suite: String,
    /// SPI of what the mobile node sends, 256 or more; 0x for hexadecimal.
    #[arg(long, value_parser = spi)]
    pub(crate) inbound_spi: u32,
    /// SPI of what the home agent sends.
    #[arg(long, value_parser = spi)]
    pub(crate) outbound_spi: u32,
    /// The keys, - for standard input; keep it from others.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: PathBuf,
    /// What it protects.
    #[arg(long, value_enum, default_value_t = Protects::Signalling)]
    pub(crate) protects: Protects,
    /// Sequence numbers of 64 bits.
    #[arg(long)]
    pub(crate) extended_sequence_numbers: bool,
    /// Packets behind the newest that may still come, 0 to 1024; with 0 replays are left to the sequence number
    /// of the Binding Update, as a mobile node needs that begins its own anew when it starts anew.
    #[arg(long, value_name = "PACKETS", default_value_t = 0)]
    pub(crate) replay_window: u32,
}

/// What a security association protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protects {
    /// Mobility Headers of all types.
    Mobility,
    /// Prefix discovery.
    PrefixDiscovery,
    /// Both.
    Signalling,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriberAction {
    /// Admit a mobile node.
    Create(Box<CreateSubscriber>),
    /// Admit all that a CSV file names.
    Import(ImportSubscribers),
    /// Show one; keys are never shown.
    Get {
        /// 2001:db8:0:1::100
        home_address: Ipv6Addr,
    },
    /// Show all, or those that a filter lets through.
    List(Listing),
    /// Look for whose this is.
    Find {
        /// An NAI or how it begins; a home address, IPv4 home address, care-of address or one in a mobile
        /// network; or a prefix that such addresses lie in.
        query: String,
        #[command(flatten)]
        page: Page,
        /// Ask the endpoint's own state, which may be behind, not the leader.
        #[arg(long)]
        local: bool,
    },
    /// Admit it no longer.
    Delete {
        /// 2001:db8:0:1::100
        home_address: Ipv6Addr,
    },
}

/// The first line names the columns: home_address, and as many of nai, spi, key_hex, message_id_required,
/// multiple_care_of, bulk, bindings_max, mobile_networks_allowed, flow_bindings_max, home_prefix,
/// mobile_networks (with spaces between them), mobile_networks_explicit and ipv4_home_address as are needed.
/// An empty cell is as an option of `subscribers create` that is not given. Nothing is written when a line is wrong.
#[derive(Debug, Args)]
pub(crate) struct ImportSubscribers {
    /// The file (RFC 4180), - for standard input; keep it from others, there are keys in it.
    pub(crate) file: PathBuf,
    /// Leave those that are there already as they are, instead of ending at the first.
    #[arg(long)]
    pub(crate) skip_existing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateSubscriber {
    /// 2001:db8:0:1::100
    pub(crate) home_address: Ipv6Addr,
    /// Network Access Identifier, node-7@example.net
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) nai: String,
    /// RFC 4285 security parameter index, 256 or more; 0x for hexadecimal.
    #[arg(long, value_parser = spi)]
    pub(crate) spi: Option<u32>,
    /// File with the RFC 4285 key: 16 octets, or 32 hexadecimal digits; - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "key_hex")]
    pub(crate) key_file: Option<PathBuf>,
    /// The key as 32 hexadecimal digits; other users of this machine can see it, prefer --key-file.
    #[arg(long, value_name = "HEX")]
    pub(crate) key_hex: Option<String>,
    /// Demand the message id of RFC 4285 section 5.3 against replay.
    #[arg(long)]
    pub(crate) message_id_required: bool,
    /// Instead of the home prefix's setting.
    #[arg(long, value_name = "BOOL")]
    pub(crate) multiple_care_of: Option<bool>,
    /// Instead of the home prefix's setting.
    #[arg(long, value_name = "BOOL")]
    pub(crate) bulk: Option<bool>,
    /// Instead of the home prefix's setting, 1 to 64.
    #[arg(long, value_name = "N")]
    pub(crate) bindings_max: Option<u32>,
    /// Instead of the home prefix's setting.
    #[arg(long, value_name = "BOOL")]
    pub(crate) mobile_networks_allowed: Option<bool>,
    /// Instead of the home prefix's setting, 0 to 64.
    #[arg(long, value_name = "N")]
    pub(crate) flow_bindings_max: Option<u32>,
    /// The home prefix that serves it, where the home address lies in one of its mobile networks.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) home_prefix: Option<String>,
    /// A mobile network prefix that it owns, 2001:db8:100::/56; may be repeated.
    #[arg(long = "mobile-network", value_name = "PREFIX")]
    pub(crate) mobile_networks: Vec<String>,
    /// Its Binding Updates must name the prefixes.
    #[arg(long)]
    pub(crate) mobile_networks_explicit: bool,
    /// Its own IPv4 home address or prefix, 198.51.100.77 or 198.51.100.64/28
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ipv4_home_address: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BindingAction {
    /// Show the bindings of one home address.
    Get {
        /// 2001:db8:0:1::100
        home_address: Ipv6Addr,
        /// Ask the endpoint's own state, which may be behind, not the leader.
        #[arg(long)]
        local: bool,
    },
    /// Tell a mobile node that bindings end (RFC 5846), and end them.
    Revoke {
        /// 2001:db8:0:1::100
        home_address: Ipv6Addr,
        /// BID of a binding; repeat it or give several with commas [default: all]
        #[arg(long = "bid", value_name = "BID", value_delimiter = ',')]
        bids: Vec<u32>,
        /// What the mobile node is told.
        #[arg(long, value_enum, default_value_t = Trigger::Administrative)]
        trigger: Trigger,
    },
    /// Show the bindings of all home addresses, or of those that a filter lets through.
    List {
        #[command(flatten)]
        listing: Listing,
        /// Ask the endpoint's own state, which may be behind, not the leader.
        #[arg(long)]
        local: bool,
    },
}

/// Why bindings are revoked (RFC 5846).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trigger {
    /// No reason is told.
    Unspecified,
    /// The mobile node's Binding Updates are refused meanwhile.
    Administrative,
    /// The user has ended the session.
    UserSessionEnded,
    /// The access network has ended the session.
    AccessSessionEnded,
    /// The mobile node may know other bindings than the home agent.
    OutOfSync,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HomeAgentAction {
    /// Ask mobile nodes to leave for another home agent (RFC 5142); they are served until their
    /// bindings end, which are not renewed.
    Switch(Switch),
}

#[derive(Debug, Args)]
pub(crate) struct Switch {
    /// 2001:db8:0:1::100 for one mobile node, or 2001:db8:0:1::/64 for all of a home prefix or a
    /// part of one, one a second.
    pub(crate) target: String,
    /// A home agent to go to, best first; repeat it or give several with commas. Without any the
    /// mobile nodes search.
    #[arg(long = "to", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) addresses: Vec<Ipv6Addr>,
    /// How long this home agent will be there yet, 4 to 262140 [default: not told]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_left_secs: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RaftAction {
    /// Show them.
    Members,
    /// Make a replica a member. It runs already, on an empty disk, with peers that do not name it;
    /// it gets the whole state first, for which --timeout-secs may be too short: then give the same
    /// command again.
    Add(AddReplica),
    /// Let a replica go for ever; its process can be stopped then, and its id is not used again.
    Remove {
        /// As in its configuration.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        node_id: u64,
    },
    /// Make the replicas those that are named, one by one, and wait for each: what a chart or a script runs after it
    /// has started replicas, or before it stops some. Doing it again does no harm.
    Reconcile(Reconcile),
    /// All replicas run this version, and none goes back: what it keeps for operators is kept from now on. A
    /// cluster that began with this version needs no such call.
    FinishUpgrade,
    /// Let another replica lead, for instance before a host is looked after.
    Transfer {
        /// Which one [default: the one whose log is the longest]
        #[arg(long = "to", value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node_id: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddReplica {
    /// As in its configuration; one that no other disk has had.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) node_id: u64,
    /// Where the other replicas reach it.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// It gets the log and does not vote.
    #[arg(long, conflicts_with = "replaces")]
    pub(crate) learner_only: bool,
    /// It takes the place of this one in the same step: for a replica whose disk is lost.
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) replaces: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["add", "remove"])))]
pub(crate) struct Reconcile {
    /// A replica and where the others reach it; repeat it or give several with commas.
    #[arg(long = "member", value_name = "NODE=HOST:PORT", value_parser = member, value_delimiter = ',', required = true)]
    pub(crate) members: Vec<(u64, String)>,
    /// Add those that are no members yet.
    #[arg(long)]
    pub(crate) add: bool,
    /// Let those go that are not named. One that comes takes the place of the one at its address in one step; without
    /// --add that one stays.
    #[arg(long)]
    pub(crate) remove: bool,
    /// How long all of it may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) within_secs: u64,
}

/// `4=store-4.example.net:7101`
fn member(text: &str) -> Result<(u64, String), String> {
    let wrong = "expected NODE=HOST:PORT, such as 4=store-4.example.net:7101";
    let (node, address) = text.split_once('=').ok_or(wrong)?;
    match node.trim().parse() {
        Ok(node) if node > 0 && address.contains(':') => Ok((node, address.trim().to_owned())),
        _ => Err(wrong.to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotAction {
    /// Write all that the store holds now into a file, keys of subscribers included.
    Save {
        /// Only its owner may read it; it is there when it is whole.
        file: PathBuf,
        /// Replace the file when it exists.
        #[arg(long)]
        force: bool,
        /// Ask the endpoint's own state, which may be behind, not the leader.
        #[arg(long)]
        local: bool,
        /// Then remove the oldest files in its directory whose names end in .hpb, until so many are left.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
    },
    /// Read all of such a file, check it, and show what is in it. Asks no store.
    Verify {
        /// Written by save.
        file: PathBuf,
    },
    /// Make the data directory of the first replica of a new cluster out of such a file. Asks no store.
    /// The other replicas start with empty data directories and are added by `raft add`.
    Restore(RestoreSnapshot),
}

#[derive(Debug, Args)]
pub(crate) struct RestoreSnapshot {
    /// Written by save.
    pub(crate) file: PathBuf,
    /// Data directory of the replica: new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Id of the replica, as in its configuration; the new cluster has not used any yet.
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) node_id: u64,
    /// Where other replicas reach it.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// Name of the new cluster, as in its configuration [default: that of the old one]
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster_name: Option<String>,
}

/// How much of a list.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Page {
    /// At most so many; standard error says when there are more.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub(crate) limit: u32,
}

/// What of a list, how much of it, and in which order.
#[derive(Clone, Debug, Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    pub(crate) page: Page,
    /// Only these: 'nai = "mn*" AND key_present = true'; see docs/operations/errors.md#filter_invalid
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// Sort by this field, and desc after it for the other direction: 'revision desc' [default: home_address]
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FIELD")]
    pub(crate) order_by: String,
}

/// "30s", "10m", "8h", "7d".
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; expected one like 30s, 10m, 8h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.saturating_mul(factor)))
}

fn spi(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_its_exit_codes() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_help().to_string();
        assert!(help.contains("1  the store refused"), "{help}");
    }

    #[test]
    fn a_time_has_a_unit() {
        for (text, secs) in [("30s", 30), ("10m", 600), ("8h", 28_800), ("7d", 604_800), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(secs)));
        }
        for wrong in ["", "10", "m", "-1s", "1.5h", "10 m", "1w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_spi_may_be_hexadecimal() {
        assert_eq!(spi("256"), Ok(256));
        assert_eq!(spi("0x100"), Ok(256));
        assert!(spi("-1").is_err() && spi("0x1ffffffff").is_err() && spi("").is_err());
    }
}
