//! The table as the store has it: feed messages, applied in order.

use std::net::Ipv6Addr;

use homeport_api::{
    convert::{self, Invalid},
    feed::{CorrespondentChange, HomeChange, HomePrefixChange, WatchResponse},
};
use homeport_binding as core;
use homeport_forwarding::{
    CareOf, Correspondent, Flow, FlowAction, Forwarding, ForwardingBinding, HomeEntry, HomePrefix,
    Millis, MobileNetwork, MobileNetworkV4, Table,
};

use crate::home_link::{Changes, OnLink};

/// Where the table stands.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Whether anybody wants to know what concerns home links.
    home_link: bool,
    /// The table is that of this revision; 0 before the first.
    revision: u64,
    /// A snapshot that is not whole yet, or not as new as the table. Until then the table stays.
    staged: Option<Staged>,
    /// The store's clock minus ours, milliseconds. A message that was under way for a while makes
    /// it look less than it is, so the largest value of a stream is the best.
    ahead_ms: Option<i128>,
    on_link: Changes,
    /// Home addresses that have changed since somebody asked; `None` when nobody does.
    changed: Option<Vec<Ipv6Addr>>,
}

#[derive(Debug, Default)]
struct Staged {
    table: Table,
    on_link: Changes,
    ended: bool,
}

/// What a message did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Applied {
    /// The table has reached a revision.
    pub(crate) reached: bool,
    /// The home prefixes may have changed.
    pub(crate) prefixes: bool,
    /// The table is another one.
    pub(crate) anew: bool,
    /// Records that could not be read or kept; they are gone from the table.
    pub(crate) refused: u64,
}

impl Mirror {
    /// Of nothing yet.
    pub(crate) fn new(home_link: bool) -> Self {
        Self {
            home_link,
            revision: 0,
            staged: None,
            ahead_ms: None,
            on_link: Changes::default(),
            changed: None,
        }
    }

    /// From now on [`Self::take_changed`] is asked after each message.
    pub(crate) fn remember_changed(&mut self) {
        self.changed = Some(Vec::new());
    }

    /// The home addresses that the last message has changed, unless it made a whole new table.
    pub(crate) fn take_changed(&mut self) -> Vec<Ipv6Addr> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The revision that the table has reached.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// What has changed, since this was asked last, that concerns home links.
    pub(crate) fn take_on_link(&mut self) -> Changes {
        std::mem::take(&mut self.on_link)
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
        let (table, on_link) = match &mut self.staged {
            Some(staged) => (&mut staged.table, &mut staged.on_link),
            None => (forwarding.table_mut(), &mut self.on_link),
        };
        for change in message.home_prefixes {
            applied.prefixes |= live;
            match set_prefix(table, change) {
                Ok((prefix, record)) if self.home_link => {
                    on_link.prefixes.insert(prefix, record);
                }
                Ok(_) => {}
                Err(_) => applied.refused += 1,
            }
        }
        let to_local = |ends: core::LogTime| {
            let local = i128::from(ends.0).saturating_sub(ahead_ms).max(0);
            Millis(u64::try_from(local).unwrap_or(u64::MAX))
        };
        for change in message.homes {
            let Some((home_address, home)) = read_home(change, &mut applied.refused) else {
                continue;
            };
            if let Some(changed) = self.changed.as_mut().filter(|_| live) {
                changed.push(home_address);
            }
            let entry = home.as_ref().map(|home| home_entry(home, to_local));
            if let Err(full) = table.set_home(home_address, entry) {
                tracing::error!(%full, "a home address is not served");
                applied.refused += 1;
            }
            if self.home_link {
                let home = home.and_then(|home| of_link(table, home_address, home, to_local));
                on_link.homes.insert(home_address, home);
            }
        }
        for change in message.correspondents {
            let read = read_correspondents(change, to_local, &mut applied.refused);
            let Some((home_address, care_ofs)) = read else { continue };
            if let Err(full) = table.set_correspondent(home_address, care_ofs) {
                tracing::error!(%full, "a correspondent is not served");
                applied.refused += 1;
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
                self.on_link = Changes { anew: self.home_link, ..staged.on_link };
                applied.prefixes = true;
                applied.anew = true;
            }
            None => {}
        }
        self.revision = revision;
        applied.reached = true;
    }
}

/// A home prefix, and its record unless it is gone.
type ReadPrefix = (core::Ipv6Prefix, Option<core::HomePrefix>);

fn set_prefix(table: &mut Table, change: HomePrefixChange) -> Result<ReadPrefix, Invalid> {
    let address = convert::ipv6(&change.prefix, "home_prefixes.prefix").map_err(unreadable)?;
    let len = u8::try_from(change.prefix_len).unwrap_or(u8::MAX);
    // What cannot be read must not stay as it was either.
    table.remove_prefix(address, len);
    let record = match change.home_prefix {
        Some(message) => {
            let record = core::Revised::<core::HomePrefix>::try_from(message);
            Some(record.map_err(unreadable)?.record)
        }
        None => None,
    };
    if let Some(record) = &record {
        table.set_prefix(home_prefix(record));
    }
    let prefix = core::Ipv6Prefix::new(address, len).ok_or(Invalid::Field {
        field: "home_prefixes.prefix",
        expected: "a prefix of at most 128 bits whose host bits are zero",
    });
    Ok((prefix.map_err(unreadable)?, record))
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

/// A mobile node that home agents are correspondent nodes of. What cannot be read is counted and
/// counts as not there.
fn read_correspondents(
    change: CorrespondentChange,
    to_local: impl Fn(core::LogTime) -> Millis,
    refused: &mut u64,
) -> Option<(Ipv6Addr, Vec<Correspondent>)> {
    let mut count = |error| {
        *refused += 1;
        unreadable(error)
    };
    let home_address = convert::ipv6(&change.home_address, "correspondents.home_address");
    let home_address = home_address.map_err(&mut count).ok()?;
    let mut care_ofs = Vec::new();
    for message in change.correspondents {
        let Ok((_, home_agent, peer)) = convert::correspondent_of(message).map_err(&mut count)
        else {
            continue;
        };
        care_ofs.extend(peer.home.bindings.into_values().map(|binding| Correspondent {
            home_agent,
            care_of: binding.care_of,
            priority: binding.priority,
            verified: binding.confirmed.0,
            ends: to_local(core::LogTime(binding.ends.0)),
        }));
    }
    Some((home_address, care_ofs))
}

/// A home address as its home link sees it; `None` when it is not of a link or nothing is there.
fn of_link(
    table: &Table,
    home_address: Ipv6Addr,
    home: core::Home,
    to_local: impl Fn(core::LogTime) -> Millis,
) -> Option<OnLink> {
    let pool = table.prefix_of(home_address)?.pool_v4;
    let probe = home.probe.filter(|probe| probe.verdict.is_none());
    let until_ms = home.bindings.values().map(|binding| to_local(binding.ends).0).max();
    if until_ms.is_none() && probe.is_none() {
        return None;
    }
    let at_home = home.bindings.into_values().find_map(|binding| binding.home);
    Some(OnLink {
        router: home.mobile_router,
        link_local: home.link_local,
        address_v4: home.ipv4_home_address.and_then(|address| {
            let pool = pool.and_then(|it| core::Ipv4Prefix::new(it.prefix, it.prefix_len))?;
            let is_of_the_link = address.len() == 32 && pool.contains(address.address());
            is_of_the_link.then_some(address.address())
        }),
        until_ms: until_ms.unwrap_or(0),
        at_home: at_home.map(|home| home.link_layer_address),
        probe,
    })
}

fn home_prefix(record: &core::HomePrefix) -> HomePrefix {
    HomePrefix {
        prefix: record.prefix.address(),
        prefix_len: record.prefix.len(),
        home_agent: record.home_agent,
        home_agent_v4: record.home_agent_ipv4,
        pool_v4: record.ipv4_pool.map(network_v4),
        real_home_link: record.real_home_link,
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
        unverified: binding.unverified,
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
