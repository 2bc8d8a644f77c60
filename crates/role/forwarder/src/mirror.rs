//! The table as the store has it: feed messages, applied in order.

use std::{collections::BTreeSet, net::Ipv6Addr};

use homeport_api::{
    convert::{self, Invalid},
    feed::{HomeChange, HomePrefixChange, WatchResponse},
};
use homeport_binding as core;
use homeport_forwarding::{
    CareOf, Flow, FlowAction, Forwarding, ForwardingBinding, HomeEntry, HomePrefix, Millis,
    MobileNetwork, MobileNetworkV4, Table,
};

use crate::neighbours::{Change, Defence, Defended};

/// Where the table stands.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Whether anybody wants to know what is answered for on a home link.
    home_link: bool,
    /// The table is that of this revision; 0 before the first.
    revision: u64,
    /// A snapshot that is not whole yet, or not as new as the table. Until then the table stays.
    staged: Option<Staged>,
    /// The store's clock minus ours, milliseconds. A message that was under way for a while makes
    /// it look less than it is, so the largest value of a stream is the best.
    ahead_ms: Option<i128>,
    only_routers: OnlyRouters,
    defended: Vec<Change>,
}

/// Home prefixes whose home agent is the only router of the home link: a mobile node that is there
/// may speak for itself (RFC 5648 §6.3).
type OnlyRouters = BTreeSet<core::Ipv6Prefix>;

#[derive(Debug, Default)]
struct Staged {
    table: Table,
    only_routers: OnlyRouters,
    defended: Defended,
    ended: bool,
}

/// What a message did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Applied {
    /// The table has reached a revision.
    pub(crate) reached: bool,
    /// The home prefixes may have changed.
    pub(crate) prefixes: bool,
    /// Records that could not be read or kept; they are gone from the table.
    pub(crate) refused: u64,
}

impl Mirror {
    /// Of nothing yet.
    pub(crate) const fn new(home_link: bool) -> Self {
        Self {
            home_link,
            revision: 0,
            staged: None,
            ahead_ms: None,
            only_routers: OnlyRouters::new(),
            defended: Vec::new(),
        }
    }

    /// The revision that the table has reached.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// What has changed, since this was asked last, about what is answered for on a home link.
    pub(crate) fn take_defended(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.defended)
    }

    /// A stream begins: says after which revision.
    pub(crate) fn begins(&mut self) -> u64 {
        self.staged = None;
        self.ahead_ms = None;
        self.revision
    }

    /// Applies one message.
    pub(crate) fn apply(
        &mut self,
        forwarding: &mut Forwarding,
        now: Millis,
        message: WatchResponse,
    ) -> Applied {
        let mut applied = Applied::default();
        let ahead_ms = i128::from(message.log_time_ms).saturating_sub(i128::from(now.0));
        let ahead_ms = self.ahead_ms.map_or(ahead_ms, |known| known.max(ahead_ms));
        self.ahead_ms = Some(ahead_ms);
        if message.snapshot_begin {
            self.staged = Some(Staged::default());
        } else if self.staged.is_none() && (1..self.revision).contains(&message.revision) {
            // Never back: mobile nodes were told of what is here.
            return applied;
        }
        let live = self.staged.is_none();
        let (table, only_routers, mut defended) = match &mut self.staged {
            Some(staged) => {
                let defended = Watched::Whole(&mut staged.defended);
                (&mut staged.table, &mut staged.only_routers, defended)
            }
            None => {
                let defended = Watched::Changes(&mut self.defended);
                (forwarding.table_mut(), &mut self.only_routers, defended)
            }
        };
        for change in message.home_prefixes {
            applied.prefixes |= live;
            applied.refused += u64::from(set_prefix(table, only_routers, change).is_err());
        }
        let to_local = |ends: core::LogTime| {
            let local = i128::from(ends.0).saturating_sub(ahead_ms).max(0);
            Millis(u64::try_from(local).unwrap_or(u64::MAX))
        };
        for change in message.homes {
            let Some((home_address, home)) = read_home(change, &mut applied.refused) else {
                continue;
            };
            let entry = home.as_ref().map(|home| home_entry(home, to_local));
            if let Err(full) = table.set_home(home_address, entry) {
                tracing::error!(%full, "a home address is not served");
                applied.refused += 1;
            }
            if self.home_link {
                let defence = home
                    .and_then(|home| defence(table, only_routers, home_address, &home, to_local));
                defended.one(home_address, defence);
            }
        }
        if let Some(staged) = &mut self.staged {
            staged.ended |= message.snapshot_end;
        }
        if message.revision >= self.revision.max(1) {
            self.reach(forwarding, message.revision, &mut applied);
        }
        applied
    }

    fn reach(&mut self, forwarding: &mut Forwarding, revision: u64, applied: &mut Applied) {
        match self.staged.take() {
            Some(staged) if !staged.ended => {
                self.staged = Some(staged);
                return;
            }
            Some(staged) => {
                forwarding.replace_table(staged.table);
                self.only_routers = staged.only_routers;
                if self.home_link {
                    self.defended = vec![Change::Whole(staged.defended)];
                }
                applied.prefixes = true;
            }
            None => {}
        }
        self.revision = revision;
        applied.reached = true;
    }
}

/// Where it is noted what is answered for.
enum Watched<'m> {
    Whole(&'m mut Defended),
    Changes(&'m mut Vec<Change>),
}

impl Watched<'_> {
    fn one(&mut self, home_address: Ipv6Addr, defence: Option<Defence>) {
        let change = Change::One(home_address, defence);
        match self {
            Self::Whole(whole) => {
                change.apply(whole);
            }
            Self::Changes(changes) => changes.push(change),
        }
    }
}

fn set_prefix(
    table: &mut Table,
    only_routers: &mut OnlyRouters,
    change: HomePrefixChange,
) -> Result<(), Invalid> {
    let prefix = convert::ipv6(&change.prefix, "home_prefixes.prefix").map_err(unreadable)?;
    let prefix_len = u8::try_from(change.prefix_len).unwrap_or(u8::MAX);
    // What cannot be read must not stay as it was either.
    table.remove_prefix(prefix, prefix_len);
    only_routers.retain(|it| (it.address(), it.len()) != (prefix, prefix_len));
    if let Some(message) = change.home_prefix {
        let record = core::Revised::<core::HomePrefix>::try_from(message).map_err(unreadable)?;
        table.set_prefix(home_prefix(&record.record));
        if record.record.only_router {
            only_routers.insert(record.record.prefix);
        }
    }
    Ok(())
}

fn unreadable(error: Invalid) -> Invalid {
    tracing::error!(%error, "a record of the binding feed cannot be read");
    error
}

/// The home address of a change and what is there. What cannot be read is counted and counts as
/// not there.
fn read_home(change: HomeChange, refused: &mut u64) -> Option<(Ipv6Addr, Option<core::Home>)> {
    let mut count = |error| {
        *refused += 1;
        unreadable(error)
    };
    let home_address =
        convert::ipv6(&change.home_address, "homes.home_address").map_err(&mut count).ok()?;
    let home = change.home.map(convert::home_of).transpose().map_err(&mut count);
    Some((home_address, home.ok().flatten().map(|(_, home)| home)))
}

/// How a home address is answered for on the home link; `None` when it is not: it is of a mobile
/// network and not of the link, or its mobile node is there and speaks for itself.
fn defence(
    table: &Table,
    only_routers: &OnlyRouters,
    home_address: Ipv6Addr,
    home: &core::Home,
    to_local: impl Fn(core::LogTime) -> Millis,
) -> Option<Defence> {
    let prefix = table.prefix_of(home_address)?;
    let pool = prefix.pool_v4;
    let prefix = core::Ipv6Prefix::new(prefix.prefix, prefix.prefix_len)?;
    let at_home = home.bindings.values().find_map(|binding| binding.home.as_ref());
    if at_home.is_some() && only_routers.contains(&prefix) {
        return None;
    }
    let ends = home.bindings.values().map(|binding| to_local(binding.ends).0).max()?;
    let address = at_home.map(|at_home| at_home.link_layer_address.clone());
    Some(Defence {
        router: home.mobile_router,
        address_v4: home.ipv4_home_address.and_then(|address| {
            let pool = pool.and_then(|it| core::Ipv4Prefix::new(it.prefix, it.prefix_len))?;
            let is_of_the_link = address.len() == 32 && pool.contains(address.address());
            is_of_the_link.then_some(address.address())
        }),
        until_ms: ends,
        at_home: address.filter(|address| !address.is_empty()),
    })
}

fn home_prefix(record: &core::HomePrefix) -> HomePrefix {
    HomePrefix {
        prefix: record.prefix.address(),
        prefix_len: record.prefix.len(),
        home_agent: record.home_agent,
        home_agent_v4: record.home_agent_ipv4,
        pool_v4: record.ipv4_pool.map(network_v4),
        real_home_link: false,
    }
}

fn home_entry(home: &core::Home, to_local: impl Fn(core::LogTime) -> Millis) -> HomeEntry {
    let bindings = home.bindings.iter().map(|(bid, binding)| ForwardingBinding {
        bid: *bid,
        care_of: match binding.care_of {
            core::CareOf::Ipv6(address) => CareOf::V6(address),
            core::CareOf::Ipv4 { address, port, udp: true, .. } => CareOf::V4 { address, port },
            core::CareOf::Ipv4 { address, udp: false, .. } => CareOf::V4Direct(address),
        },
        priority: binding.priority,
        verified: binding.verified.0,
        ends: to_local(binding.ends),
        lifetime_ms: binding.ends.0.saturating_sub(binding.verified.0),
        home: binding.home.is_some(),
    });
    let flows = home.flows.iter().map(|(fid, flow)| Flow {
        fid: *fid,
        priority: flow.priority,
        selector: flow.selector.clone(),
        action: FlowAction::Forward(flow.bids.clone()),
    });
    // The home prefix names the home agent's IPv4 address; a copy here would have to follow its
    // changes.
    HomeEntry {
        networks: home.mobile_networks.iter().map(network).collect(),
        networks_v4: home.ipv4_home_address.map(network_v4).into_iter().collect(),
        flows: flows.collect(),
        ..HomeEntry::new(home.home_agent, bindings.collect())
    }
}

fn network(prefix: &core::Ipv6Prefix) -> MobileNetwork {
    MobileNetwork { prefix: prefix.address(), prefix_len: prefix.len() }
}

fn network_v4(prefix: core::Ipv4Prefix) -> MobileNetworkV4 {
    MobileNetworkV4 { prefix: prefix.address(), prefix_len: prefix.len() }
}
