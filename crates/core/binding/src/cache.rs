use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::ops::Bound;

use crate::advertisement::{Advertising, GivenUp};
use crate::association::Association;
use crate::command::{Batch, Command};
use crate::correspondents::{Correspondents, Peer};
use crate::deadlines::Deadlines;
use crate::defender::Defender;
use crate::event::{BindingEvent, LastEvents};
use crate::home::Home;
use crate::limits;
use crate::notice::Dispatch;
use crate::operations::{Operations, OperationsRecord};
use crate::ownership::{Ipv4Homes, MobileNetworks};
use crate::pages::Pages;
use crate::prefix::{Ipv4Prefix, Ipv6Prefix};
use crate::record::{HomePrefix, Policy, Revised, Subscriber};
use crate::time::LogTime;
use crate::verdict::{Outcome, Verdict};

/// The replicated state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BindingCache {
    pub(crate) now: LogTime,
    pub(crate) revision: u64,
    pub(crate) home_prefixes: BTreeMap<Ipv6Prefix, Revised<HomePrefix>>,
    pub(crate) subscribers: Pages<SubscriberEntry>,
    pub(crate) associations: Pages<Vec<Association>>,
    pub(crate) homes: Pages<Home>,
    pub(crate) mobile_networks: MobileNetworks,
    pub(crate) ipv4_homes: Ipv4Homes,
    /// Home addresses in no home prefix, by the home prefix that serves them.
    pub(crate) guests: BTreeSet<(Ipv6Prefix, Ipv6Addr)>,
    pub(crate) defenders: BTreeMap<Ipv6Prefix, Defender>,
    /// Earliest deadline of each home address.
    deadlines: Deadlines,
    bindings: usize,
    changes: Vec<Change>,
    pub(crate) notices: Vec<Dispatch>,
    /// Home prefixes whose mobile nodes are being looked up.
    pub(crate) advertising: BTreeMap<Ipv6Prefix, Advertising>,
    pub(crate) given_up: Vec<GivenUp>,
    pub(crate) correspondents: Correspondents,
    pub(crate) operations: Operations,
    pub(crate) events: LastEvents,
}

/// A subscriber with what the store keeps of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SubscriberEntry {
    pub(crate) revised: Revised<Subscriber>,
    /// Last accepted MESG-ID: outlives the bindings, else an old Binding Update could be replayed.
    pub(crate) last_message_id: u64,
}

/// What forwarders and screens must look at again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// A home prefix was written or deleted.
    HomePrefix(Ipv6Prefix),
    /// The bindings of a home address changed.
    Home(Ipv6Addr),
    /// Those of a mobile node that is no home registration changed.
    Correspondent(Ipv6Addr),
}

/// One record of the whole state, for snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateRecord {
    /// Comes first.
    Header {
        /// The newest log time.
        now: LogTime,
        /// The log index that the state is of.
        revision: u64,
    },
    /// A home prefix.
    HomePrefix(Revised<HomePrefix>),
    /// A subscriber and its last accepted MESG-ID.
    Subscriber(Revised<Subscriber>, u64),
    /// A security association: comes after the others of its home address that are older.
    Association(Association),
    /// A home address.
    Home(Ipv6Addr, Home),
    /// The forwarder that defends a home link, or did last.
    Defender(Defender),
    /// A home prefix whose mobile nodes are being looked up.
    Advertising(Advertising),
    /// A mobile node as the correspondent of a home agent: home address, home agent.
    Correspondent(Ipv6Addr, Ipv6Addr, Peer),
    /// What is kept for operators.
    Operations(OperationsRecord),
}

/// The records are not those of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateError {
    /// The header is missing or not the first record.
    Header,
    /// A record names something twice.
    Duplicate,
}

impl core::fmt::Display for StateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Header => "the state's header is missing or not its first record",
            Self::Duplicate => "the state holds the same record twice",
        })
    }
}

impl core::error::Error for StateError {}

impl BindingCache {
    /// Applies the log entry at index `revision`; one verdict for each command.
    pub fn apply(&mut self, revision: u64, batch: Batch) -> Vec<Verdict> {
        self.advance(revision);
        self.events.clear();
        let notices = self.notices.len();
        // Leaders change and their clocks differ; log time never runs back.
        self.now = self.now.max(batch.at);
        self.expire_due();
        self.expire_correspondents();
        self.advance_advertising();
        let verdicts = batch.commands.into_iter().map(|command| self.run(command)).collect();
        self.number_notices(notices);
        verdicts
    }

    pub(crate) fn run(&mut self, command: Command) -> Verdict {
        match command {
            Command::Register(registration) => self.register(registration),
            Command::Correspond(asked) => self.correspond(asked),
            Command::Protected(protected) => self.protected(protected),
            command => {
                let outcome = self.carry_out(command);
                Verdict { revision: self.revision, outcome, esp: None }
            }
        }
    }

    /// Everything but Binding Updates.
    pub(crate) fn carry_out(&mut self, command: Command) -> Outcome {
        match command {
            Command::Protected(protected) => self.protected(protected).outcome,
            Command::Register(registration) => self.register(registration).outcome,
            Command::Correspond(asked) => self.correspond(asked).outcome,
            Command::PutHomePrefix { home_prefix, must_not_exist } => {
                self.put_home_prefix(home_prefix, must_not_exist)
            }
            Command::UpdateHomePrefix { home_prefix, base_revision } => {
                self.update_home_prefix(home_prefix, base_revision)
            }
            Command::DeleteHomePrefix(prefix) => self.delete_home_prefix(prefix),
            Command::PutSubscriber { subscriber, must_not_exist } => {
                self.put_subscriber(subscriber, must_not_exist)
            }
            Command::DeleteSubscriber(home_address) => self.delete_subscriber(home_address),
            Command::Revoke(revoke) => self.revoke(revoke),
            Command::RevocationAnswer(answer) => self.revocation_answered(answer),
            Command::Switch(switch) => self.switch(switch),
            Command::AdvertiseHomePrefix { prefix, within } => self.advertise(prefix, within),
            Command::PrefixesSolicited(solicited) => self.prefixes_solicited(solicited),
            Command::CareOfVerified(answer) => self.care_of_verified(answer),
            Command::DuplicateAddressDetection(found) => self.detected(found),
            Command::DefendHomeLink { prefix, forwarder } => {
                self.defend_home_link(prefix, forwarder)
            }
            Command::ReleaseHomeLink { prefix, forwarder } => {
                self.release_home_link(prefix, &forwarder)
            }
            Command::PutSecurityAssociation { association, must_not_exist } => {
                self.put_association(association, must_not_exist)
            }
            Command::DeleteSecurityAssociation { home_address, inbound_spi } => {
                self.delete_association(home_address, inbound_spi)
            }
            Command::Operate(operation) => self.operate(operation),
            Command::Audited(audited) => self.audited(audited),
        }
    }

    /// Takes note of a log entry that holds no command, so that the revision is always the log index.
    pub fn advance(&mut self, revision: u64) {
        assert!(revision > self.revision, "log entries are applied once and in order");
        self.revision = revision;
    }

    /// Log index of the newest entry applied.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Newest log time.
    #[must_use]
    pub const fn now(&self) -> LogTime {
        self.now
    }

    /// When something ends next; an entry with that time or a later one works it off.
    #[must_use]
    pub fn next_deadline(&self) -> Option<LogTime> {
        let looking = self.advertising.values().next().map(|_| self.now);
        let next = self.deadlines.first().map(|(at, _)| at);
        let next = next.into_iter().chain(self.correspondents.next_deadline()).min();
        looking.or(next)
    }

    /// Hands over what changed since the last call, in order; the same thing may be named twice.
    pub fn take_changes(&mut self) -> Vec<Change> {
        core::mem::take(&mut self.changes)
    }

    /// Number of home addresses known, tombstones included.
    #[must_use]
    pub fn home_address_count(&self) -> usize {
        self.homes.len()
    }

    /// Number of subscribers.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        self.subscribers.len()
    }

    /// Number of bindings.
    #[must_use]
    pub const fn binding_count(&self) -> usize {
        self.bindings
    }

    /// What is known of a home address.
    #[must_use]
    pub fn home(&self, home_address: Ipv6Addr) -> Option<&Home> {
        self.homes.get(&home_address)
    }

    /// Home addresses in order, those after `after` only.
    pub fn homes_after(&self, after: Option<Ipv6Addr>) -> impl Iterator<Item = (Ipv6Addr, &Home)> {
        self.homes.from(start_after(after))
    }

    /// A home prefix.
    #[must_use]
    pub fn home_prefix(&self, prefix: Ipv6Prefix) -> Option<&Revised<HomePrefix>> {
        self.home_prefixes.get(&prefix)
    }

    /// Home prefixes in order, those after `after` only.
    pub fn home_prefixes_after(
        &self,
        after: Option<Ipv6Prefix>,
    ) -> impl Iterator<Item = &Revised<HomePrefix>> {
        let rest = (start_after(after), Bound::Unbounded);
        self.home_prefixes.range(rest).map(|(_, prefix)| prefix)
    }

    /// A subscriber.
    #[must_use]
    pub fn subscriber(&self, home_address: Ipv6Addr) -> Option<&Revised<Subscriber>> {
        self.subscribers.get(&home_address).map(|entry| &entry.revised)
    }

    /// Subscribers in order, those after `after` only.
    pub fn subscribers_after(
        &self,
        after: Option<Ipv6Addr>,
    ) -> impl Iterator<Item = &Revised<Subscriber>> {
        self.subscribers.from(start_after(after)).map(|(_, entry)| &entry.revised)
    }

    /// The records that decide how a Binding Update of this home address, sent to this home agent,
    /// is checked.
    #[must_use]
    pub fn policy(&self, home_address: Ipv6Addr, home_agent: Ipv6Addr) -> Policy {
        let serving = self.serving_prefix(home_address);
        let advertisement = self.home(home_address).and_then(|home| home.advertisement);
        let addressed =
            || self.home_prefixes.values().find(|prefix| prefix.record.home_agent == home_agent);
        Policy {
            home_address_served: serving.is_some(),
            home_prefix: serving.or_else(addressed).cloned(),
            subscriber: self.subscriber(home_address).cloned(),
            advertised_revision: advertisement.map(|it| it.home_prefix_revision),
            associations: self.associations(home_address).to_vec(),
        }
    }

    /// The home prefix that this home address is of.
    pub(crate) fn serving_prefix(&self, home_address: Ipv6Addr) -> Option<&Revised<HomePrefix>> {
        let serving = self
            .home_prefixes
            .values()
            .filter(|prefix| prefix.record.prefix.contains(home_address))
            .max_by_key(|prefix| prefix.record.prefix.len());
        // RFC 3963: a mobile router may take its home address out of its own mobile network.
        let foster = || {
            let subscriber = &self.subscriber(home_address)?.record;
            let is_own = subscriber.mobile_networks.iter().any(|p| p.contains(home_address));
            self.home_prefixes.get(&subscriber.home_prefix?).filter(|_| is_own)
        };
        serving.or_else(foster)
    }

    /// The whole state of now as records, the header first: they do not change when it does. Costs
    /// next to nothing until they are asked for, and never more memory than what has changed meanwhile.
    pub fn records(&self) -> impl Iterator<Item = StateRecord> + Send + use<> {
        let header = StateRecord::Header { now: self.now, revision: self.revision };
        let prefixes = self.home_prefixes.clone().into_values().map(StateRecord::HomePrefix);
        let subscribers = self.subscribers.clone().into_iter();
        let subscribers = subscribers
            .map(|(_, entry)| StateRecord::Subscriber(entry.revised, entry.last_message_id));
        let associations = self.associations.clone().into_iter();
        let associations = associations.flat_map(|(_, all)| all).map(StateRecord::Association);
        let homes = self.homes.clone().into_iter();
        let homes = homes.map(|(address, home)| StateRecord::Home(address, home));
        let defenders = self.defenders.clone().into_values().map(StateRecord::Defender);
        let advertising = self.advertising.clone().into_values().map(StateRecord::Advertising);
        let records =
            core::iter::once(header).chain(prefixes).chain(subscribers).chain(associations);
        let correspondents = self.correspondents.peers.clone().into_iter();
        let correspondents = correspondents.flat_map(|(address, peers)| {
            let record = move |(agent, peer)| StateRecord::Correspondent(address, agent, peer);
            peers.into_iter().map(record)
        });
        let operations = self.operations.records().map(StateRecord::Operations);
        let records = records.chain(homes).chain(defenders).chain(advertising);
        records.chain(correspondents).chain(operations)
    }

    /// The state that these records are of.
    ///
    /// # Errors
    /// When the header is not first or a record comes twice.
    pub fn from_records(
        records: impl IntoIterator<Item = StateRecord>,
    ) -> Result<Self, StateError> {
        let mut records = records.into_iter();
        let Some(StateRecord::Header { now, revision }) = records.next() else {
            return Err(StateError::Header);
        };
        let mut cache = Self { now, revision, ..Self::default() };
        for record in records {
            let fresh = match record {
                StateRecord::Header { .. } => return Err(StateError::Header),
                StateRecord::HomePrefix(prefix) => {
                    cache.home_prefixes.insert(prefix.record.prefix, prefix).is_none()
                }
                StateRecord::Subscriber(revised, last_message_id) => {
                    cache.own(&revised.record);
                    let home_address = revised.record.home_address;
                    let entry = SubscriberEntry { revised, last_message_id };
                    cache.subscribers.insert(home_address, entry).is_none()
                }
                StateRecord::Association(association) => cache.restore_association(association),
                StateRecord::Home(address, home) => {
                    cache.bindings = cache.bindings.saturating_add(home.bindings.len());
                    if let Some(at) = home.deadline() {
                        cache.deadlines.insert(at, address);
                    }
                    if let Some(prefix) = home.ipv4_home_address {
                        cache.ipv4_homes.hold(prefix, address);
                    }
                    cache.homes.insert(address, home).is_none()
                }
                StateRecord::Defender(defender) => {
                    cache.defenders.insert(defender.prefix, defender).is_none()
                }
                StateRecord::Correspondent(home_address, home_agent, peer) => {
                    cache.correspondents.restore(home_address, home_agent, peer)
                }
                StateRecord::Advertising(advertising) => {
                    cache.advertising.insert(advertising.prefix, advertising).is_none()
                }
                StateRecord::Operations(record) => cache.operations.restore(record),
            };
            if !fresh {
                return Err(StateError::Duplicate);
            }
        }
        cache.rebuild_pools();
        Ok(cache)
    }

    /// Enters what a subscriber owns.
    pub(crate) fn own(&mut self, record: &Subscriber) {
        let home_address = record.home_address;
        for prefix in &record.mobile_networks {
            self.mobile_networks.insert(*prefix, home_address);
        }
        if let Some(prefix) = record.ipv4_home_address {
            self.ipv4_homes.insert_own(prefix, home_address);
        }
        self.guests.extend(record.home_prefix.map(|prefix| (prefix, home_address)));
    }

    /// Takes back what a subscriber owned.
    pub(crate) fn disown(&mut self, record: &Subscriber) {
        for prefix in &record.mobile_networks {
            self.mobile_networks.remove(*prefix);
        }
        if let Some(prefix) = record.ipv4_home_address {
            self.ipv4_homes.remove_own(prefix);
        }
        if let Some(prefix) = record.home_prefix {
            self.guests.remove(&(prefix, record.home_address));
        }
    }

    /// Makes the pools of IPv4 home addresses anew from the records: when an operator changes one.
    pub(crate) fn rebuild_pools(&mut self) {
        self.ipv4_homes.clear_pools();
        let prefixes = || self.home_prefixes.values().map(|prefix| &prefix.record);
        let pools = prefixes().filter_map(|record| Some((record.prefix, record.ipv4_pool?)));
        pools.for_each(|(prefix, pool)| self.ipv4_homes.insert_pool(prefix, pool));
        let agents = prefixes().filter_map(|record| record.home_agent_ipv4);
        agents.for_each(|agent| self.ipv4_homes.reserve(Ipv4Prefix::host(agent)));
        self.ipv4_homes.reserve_all();
    }

    pub(crate) fn changed(&mut self, change: Change) {
        if self.changes.last() != Some(&change) {
            self.changes.push(change);
        }
    }

    /// Takes the record of a home address out, without what has ended: every change of a record
    /// goes through this and [`Self::put_home`], which keep deadlines and counts.
    pub(crate) fn take_home(&mut self, home_address: Ipv6Addr) -> Option<Home> {
        let mut home = self.homes.remove(&home_address)?;
        if let Some(at) = home.deadline() {
            self.deadlines.remove(at, home_address);
        }
        self.bindings = self.bindings.saturating_sub(home.bindings.len());
        let held = home.ipv4_home_address;
        let expired = home.expire(self.now);
        let moment = (self.now, self.revision);
        if home.advance_notice(home_address, moment, &mut self.notices) || expired {
            if home.bindings.is_empty() {
                self.happened_to(home_address, BindingEvent::Ended);
            }
            if home.ipv4_home_address.is_none() {
                held.into_iter().for_each(|prefix| self.ipv4_homes.release(prefix));
            }
            home.revision = self.revision;
            self.changed(Change::Home(home_address));
        }
        self.advance_advertisement(home_address, &mut home);
        home.advance_care_of_tests(home_address, moment, &mut self.notices);
        if home.is_forgotten(self.now) {
            if home.is_probing() {
                self.changed(Change::Home(home_address));
            }
            return None;
        }
        Some(home)
    }

    pub(crate) fn put_home(&mut self, home_address: Ipv6Addr, home: Home) {
        if let Some(at) = home.deadline() {
            self.deadlines.insert(at, home_address);
        }
        self.bindings = self.bindings.saturating_add(home.bindings.len());
        let replaced = self.homes.insert(home_address, home);
        assert!(replaced.is_none(), "a home address is taken out before it is put back");
    }

    fn expire_due(&mut self) {
        for _ in 0..limits::EXPIRIES_PER_BATCH_MAX {
            let Some((_, home_address)) = self.deadlines.first().filter(|(at, _)| *at <= self.now)
            else {
                return;
            };
            if let Some(home) = self.take_home(home_address) {
                self.put_home(home_address, home);
            }
        }
    }
}

pub(crate) fn start_after<K>(after: Option<K>) -> Bound<K> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

impl BindingCache {
    /// For messages: what is said of a home prefix that does not exist.
    pub(crate) fn prefix_names(&self) -> String {
        use core::fmt::Write as _;
        let mut names = String::new();
        for prefix in self.home_prefixes.keys().take(8) {
            let separator = if names.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _infallible = write!(names, "{separator}{prefix}");
        }
        if names.is_empty() { String::from("none") } else { names }
    }
}
