//! The cluster as the last poll saw it.

use homeport_api::admin;

/// The cluster as the last poll saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Status {
    /// When the poll ended, milliseconds since the Unix epoch; 0 before the first.
    pub(crate) taken_ms: u64,
    /// How it is, in one word.
    pub(crate) health: Health,
    /// Some replica knows a leader.
    pub(crate) leader_known: bool,
    /// The leader, when all who know one name the same.
    pub(crate) leader_id: Option<u64>,
    /// The newest term that a replica is in.
    pub(crate) term: Option<u64>,
    /// The newest revision that a replica has applied.
    pub(crate) revision: Option<u64>,
    /// Counted by the replica that the lists are from.
    pub(crate) totals: Option<Totals>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) feed_subscribers: Vec<FeedSubscriber>,
    /// Front-ends at a replica that was reached, by name.
    pub(crate) connected: Vec<admin::Node>,
    /// Replicas that did not say who is connected to them.
    pub(crate) silent_stores: usize,
    /// Who was at a feed, and is at none now.
    pub(crate) departed: Vec<Departed>,
    pub(crate) home_prefixes: Vec<HomePrefix>,
    /// Alarms, those that are put aside included: the worst first, what has ended last.
    pub(crate) alarms: Vec<admin::Alarm>,
    /// Why the alarms are not known; none before the first poll too.
    pub(crate) alarms_error: Option<String>,
    /// The store that the lists are from, and further ones are asked for at.
    pub(crate) source: Option<String>,
    pub(crate) cluster_name: String,
    /// What does not work, in words.
    pub(crate) problems: Vec<String>,
}

/// The cluster as far as this page can see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// Before the first poll.
    #[default]
    Unknown,
    /// No problem is known.
    Working,
    /// Mobile nodes can register, but something is wrong.
    Degraded,
    /// No leader or no majority: nothing can be registered.
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) home_addresses: u64,
    pub(crate) bindings: u64,
}

/// One store, configured here or named by another as a member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replica {
    /// `host:port`
    pub(crate) endpoint: String,
    pub(crate) node_id: Option<u64>,
    pub(crate) voter: Option<bool>,
    pub(crate) seen: Seen,
}

/// What is known of a replica.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It answered.
    Reached(Reached),
    /// It did not.
    Unreached {
        error: String,
        /// The first poll that did not reach it, milliseconds since the Unix epoch.
        since_ms: u64,
    },
    /// Others say that it is a member, but it is not in this process's `stores`.
    NotAsked,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reached {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader_id: Option<u64>,
    pub(crate) last_log_index: u64,
    pub(crate) committed_index: u64,
    pub(crate) applied_index: u64,
    /// How far its applied revision is behind the newest commit that any replica knows of.
    pub(crate) lag: u64,
    /// It was behind in the last poll too and has not moved.
    pub(crate) stuck: bool,
    pub(crate) home_addresses: u64,
    pub(crate) bindings: u64,
    pub(crate) version: String,
}

/// A forwarder or screen at a replica's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedSubscriber {
    pub(crate) name: String,
    /// The replica that feeds it.
    pub(crate) node_id: u64,
    pub(crate) sent_revision: u64,
    /// How far it is behind that replica.
    pub(crate) lag: u64,
    /// It was behind in the last poll too and has not moved.
    pub(crate) stuck: bool,
}

/// A subscriber that is at no feed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Departed {
    pub(crate) name: String,
    /// The last poll that saw it, milliseconds since the Unix epoch.
    pub(crate) last_seen_ms: u64,
    pub(crate) sent_revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HomePrefix {
    pub(crate) prefix: String,
    pub(crate) home_agent: String,
    pub(crate) home_agent_ipv4: Option<String>,
    pub(crate) authentication: &'static str,
    /// Nobody has to prove who they are.
    pub(crate) is_open: bool,
    pub(crate) multiple_care_of_allowed: bool,
    pub(crate) bindings_per_home_address_max: u32,
    pub(crate) lifetime_max_secs: u32,
    pub(crate) revision: u64,
}

/// One page of home addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Homes {
    pub(crate) rows: Vec<Home>,
    /// Revision that the page is of, when a store gave one.
    pub(crate) revision: Option<u64>,
    /// Names the page after this one.
    pub(crate) next_page_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Home {
    pub(crate) home_address: String,
    pub(crate) home_agent: String,
    pub(crate) sequence: u32,
    pub(crate) revision: u64,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) mobile_networks: Vec<String>,
    pub(crate) ipv4_home_address: String,
    pub(crate) flows: Vec<admin::FlowBinding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Absent for a plain RFC 6275 binding.
    pub(crate) bid: Option<u32>,
    pub(crate) care_of_address: String,
    /// For an IPv4 care-of address.
    pub(crate) udp_port: Option<u32>,
    pub(crate) behind_nat: bool,
    /// BID-PRI, when it is set.
    pub(crate) priority: Option<u32>,
    /// A home binding: delivered on the home link.
    pub(crate) home: bool,
    /// Packets do not take it yet (RFC 5648 section 10).
    pub(crate) unverified: bool,
    pub(crate) ends_ms: u64,
    pub(crate) registered_ms: u64,
    pub(crate) verified_ms: u64,
}

impl From<admin::HomePrefix> for HomePrefix {
    fn from(prefix: admin::HomePrefix) -> Self {
        let authentication = match prefix.authentication() {
            admin::Authentication::Unspecified => "unspecified",
            admin::Authentication::None => "none",
            admin::Authentication::MnHa => "MN-HA (RFC 4285)",
            admin::Authentication::Ipsec => "IPsec (RFC 4877)",
        };
        Self {
            is_open: prefix.authentication() == admin::Authentication::None,
            authentication,
            multiple_care_of_allowed: prefix.multiple_care_of_allowed.unwrap_or(true),
            bindings_per_home_address_max: prefix.bindings_per_home_address_max,
            lifetime_max_secs: prefix.lifetime_max_secs,
            revision: prefix.revision,
            home_agent_ipv4: Some(prefix.home_agent_ipv4).filter(|address| !address.is_empty()),
            prefix: prefix.prefix,
            home_agent: prefix.home_agent,
        }
    }
}

impl From<admin::HomeBindings> for Home {
    fn from(home: admin::HomeBindings) -> Self {
        Self {
            home_address: home.home_address,
            home_agent: home.home_agent,
            sequence: home.sequence,
            revision: home.revision,
            bindings: home.bindings.into_iter().map(Binding::from).collect(),
            mobile_networks: home.mobile_networks,
            ipv4_home_address: home.ipv4_home_address,
            flows: home.flows,
        }
    }
}

impl From<admin::Binding> for Binding {
    fn from(binding: admin::Binding) -> Self {
        Self {
            bid: binding.bid,
            care_of_address: binding.care_of_address,
            udp_port: Some(binding.udp_port).filter(|port| *port != 0),
            behind_nat: binding.behind_nat,
            priority: Some(binding.priority).filter(|priority| *priority != 0),
            home: binding.home,
            unverified: binding.unverified,
            ends_ms: binding.ends_ms,
            registered_ms: binding.registered_ms,
            verified_ms: binding.verified_ms,
        }
    }
}
