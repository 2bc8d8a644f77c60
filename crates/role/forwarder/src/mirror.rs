//! The table as the store has it: feed messages, applied in order.

use homeport_api::{
    binding,
    convert::{self, Invalid},
    feed::{HomeChange, HomePrefixChange, WatchResponse},
};
use homeport_binding as core;
use homeport_forwarding::{
    CareOf, Flow, FlowAction, Forwarding, ForwardingBinding, HomeEntry, HomePrefix, Millis,
    MobileNetwork, MobileNetworkV4, Table,
};

/// Where the table stands.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    /// The table is that of this revision; 0 before the first.
    revision: u64,
    /// A snapshot that is not whole yet, or not as new as the table. Until then the table stays.
    staged: Option<Staged>,
    /// The store's clock minus ours, milliseconds. A message that was under way for a while makes
    /// it look less than it is, so the largest value of a stream is the best.
    ahead_ms: Option<i128>,
}

#[derive(Debug, Default)]
struct Staged {
    table: Table,
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
    /// The revision that the table has reached.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
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
        let table = match &mut self.staged {
            Some(staged) => &mut staged.table,
            None => forwarding.table_mut(),
        };
        for change in message.home_prefixes {
            applied.prefixes |= live;
            applied.refused += u64::from(set_prefix(table, change).is_err());
        }
        for change in message.homes {
            let to_local = |ends: core::LogTime| {
                let local = i128::from(ends.0).saturating_sub(ahead_ms).max(0);
                Millis(u64::try_from(local).unwrap_or(u64::MAX))
            };
            applied.refused += u64::from(set_home(table, change, to_local).is_err());
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
                applied.prefixes = true;
            }
            None => {}
        }
        self.revision = revision;
        applied.reached = true;
    }
}

/// Something that a change says cannot be, or there is no room for it.
struct Refused;

impl From<Invalid> for Refused {
    fn from(error: Invalid) -> Self {
        tracing::error!(%error, "a record of the binding feed cannot be read");
        Self
    }
}

fn set_prefix(table: &mut Table, change: HomePrefixChange) -> Result<(), Refused> {
    let prefix = convert::ipv6(&change.prefix, "home_prefixes.prefix")?;
    let prefix_len = u8::try_from(change.prefix_len).unwrap_or(u8::MAX);
    // What cannot be read must not stay as it was either.
    table.remove_prefix(prefix, prefix_len);
    if let Some(message) = change.home_prefix {
        table.set_prefix(home_prefix(message)?);
    }
    Ok(())
}

fn home_prefix(message: binding::HomePrefix) -> Result<HomePrefix, Invalid> {
    let record = core::Revised::<core::HomePrefix>::try_from(message)?.record;
    Ok(HomePrefix {
        prefix: record.prefix.address(),
        prefix_len: record.prefix.len(),
        home_agent: record.home_agent,
        home_agent_v4: record.home_agent_ipv4,
        pool_v4: record.ipv4_pool.map(network_v4),
    })
}

fn set_home(
    table: &mut Table,
    change: HomeChange,
    to_local: impl Fn(core::LogTime) -> Millis,
) -> Result<(), Refused> {
    let home_address = convert::ipv6(&change.home_address, "homes.home_address")?;
    let entry = change.home.map(convert::home_of).transpose();
    let (entry, refused) = match entry {
        Ok(entry) => (entry.map(|(_, home)| home_entry(&home, to_local)), None),
        Err(error) => (None, Some(error)),
    };
    table.set_home(home_address, entry).map_err(|full| {
        tracing::error!(%full, "a home address is not served");
        Refused
    })?;
    refused.map_or(Ok(()), |error| Err(error.into()))
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
    // The home prefix names the home agent's IPv4 address; a copy here would have to follow its
    // changes.
    let flows = home.flows.iter().map(|(fid, flow)| Flow {
        fid: *fid,
        priority: flow.priority,
        selector: flow.selector.clone(),
        action: FlowAction::Forward(flow.bids.clone()),
    });
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
