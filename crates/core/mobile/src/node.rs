//! The machine: its state, and the way in and out.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use core::fmt;
use core::net::Ipv4Addr;

use homeport_wire::{
    Bid, BidPriority, Lifetime, RevocationStatus, Sequence, Status, is_unicast_routable_v6,
};

use crate::command::Command;
use crate::discovery::Questions;
use crate::event::{Event, Outcome, Output, RequestId, Transmit};
use crate::exchange::{Exchange, SentUpdates, UpdateRate};
use crate::flow::Flows;
use crate::list::{Binding, Entry};
use crate::reaction::Purpose;
use crate::receive::Arrival;
use crate::request::Requests;
use crate::router::RouterState;
use crate::settings::{CareOf, Settings};
use crate::switch::Switching;
use crate::time::{Millis, Now, NtpTime};

/// Octets of a network access identifier that one option can hold.
const IDENTIFIER_OCTETS_MAX: usize = 254;
/// Mobile network prefixes in one update; with more there would be no room for bindings.
const PREFIXES_MAX: usize = 16;

/// One thing that the machine is told.
#[derive(Debug)]
pub enum Input<'p> {
    /// Do something. Its end comes as [`Event::Completed`].
    Command(RequestId, Command),
    /// A packet came.
    Packet(Arrival<'p>),
    /// [`MobileNode::next_deadline`] has come. Early calls do nothing.
    Timeout,
}

/// How much of RFC 5648 is in use with this home agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Several care-of addresses.
    Multiple {
        /// Several in one update.
        bulk: bool,
    },
    /// One at a time, by plain Binding Updates.
    Single {
        /// This one.
        active: Option<Bid>,
    },
}

/// A mobile node with one home address and one home agent.
#[derive(Clone, Debug)]
pub struct MobileNode {
    pub(crate) settings: Settings,
    pub(crate) mode: Mode,
    /// The next registration has to carry the O flag: after a start nobody knows what the home
    /// agent still has (RFC 5648 §5.3.1).
    pub(crate) overwrite: bool,
    /// Sequence number used last. One counter for all bindings (RFC 5648 §4.1).
    pub(crate) sequence: Sequence,
    pub(crate) entries: BTreeMap<Bid, Entry>,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) sent: SentUpdates,
    pub(crate) requests: Requests,
    pub(crate) rate: UpdateRate,
    pub(crate) force_udp: bool,
    pub(crate) message_id: bool,
    /// Seconds by which the home agent's clock is ahead, modulo 2^64.
    pub(crate) clock_offset_secs: u64,
    pub(crate) last_message_id: NtpTime,
    pub(crate) ipv4_home_address: Option<Ipv4Addr>,
    /// The IPv4 home address to ask for next; none when there is no use in asking.
    pub(crate) ipv4_wish: Option<Ipv4Addr>,
    pub(crate) router: RouterState,
    pub(crate) flows: Flows,
    pub(crate) questions: Questions,
    pub(crate) switching: Option<Switching>,
    /// Everything was ended because of status 139, and nothing was accepted since.
    pub(crate) ended_first: bool,
    /// The Binding Revocation that was answered last, and how.
    pub(crate) revocation: Option<(u16, RevocationStatus)>,
    pub(crate) now: Millis,
    pub(crate) out: Vec<Output>,
}

impl MobileNode {
    /// A node that has registered nothing yet. `last_sequence` should be random: it may differ from
    /// what the home agent remembers of an earlier life, which costs one exchange.
    pub fn new(settings: Settings, last_sequence: Sequence) -> Result<Self, SettingsError> {
        check(&settings)?;
        Ok(Self {
            mode: if settings.multiple_care_of {
                Mode::Multiple { bulk: true }
            } else {
                Mode::Single { active: None }
            },
            overwrite: true,
            sequence: last_sequence,
            entries: BTreeMap::new(),
            exchanges: Vec::new(),
            sent: SentUpdates::default(),
            requests: Requests::default(),
            rate: UpdateRate::new(settings.updates_per_second_max),
            force_udp: settings.force_udp,
            message_id: settings.authentication.as_ref().is_some_and(|key| key.message_id),
            clock_offset_secs: 0,
            last_message_id: NtpTime(0),
            ipv4_home_address: None,
            ipv4_wish: settings.ipv4_home_address,
            router: RouterState::default(),
            flows: Flows::default(),
            questions: Questions { identifier: last_sequence.0, ..Questions::default() },
            switching: None,
            ended_first: false,
            revocation: None,
            now: Millis(0),
            out: Vec::new(),
            settings,
        })
    }

    /// Takes one input and gives its effects, in the order in which they are to be carried out.
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Vec<Output> {
        self.now = self.now.max(now.monotonic);
        match input {
            Input::Command(request, command) => self.command(request, command),
            Input::Packet(arrival) => {
                if let Err(reason) = self.receive(arrival) {
                    self.out.push(Output::Dropped(reason));
                }
            }
            Input::Timeout => {}
        }
        self.run_timers(now.ntp);
        core::mem::take(&mut self.out)
    }

    /// What the node was told at its start; its home agent is the present one.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How much of RFC 5648 is in use.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Sequence number used last.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The IPv4 home address that the home agent has given.
    #[must_use]
    pub const fn ipv4_home_address(&self) -> Option<Ipv4Addr> {
        self.ipv4_home_address
    }

    /// The care-of addresses by BID.
    #[must_use]
    pub fn bindings(&self) -> Vec<BindingView> {
        self.entries.values().map(|entry| self.view(entry)).collect()
    }

    fn view(&self, entry: &Entry) -> BindingView {
        let bid = entry.address.bid;
        BindingView {
            bid,
            care_of: entry.address.care_of,
            priority: entry.address.priority,
            wanted: entry.wanted,
            under_way: self.exchanges.iter().any(|exchange| exchange.contains(bid)),
            registered: entry.binding.as_ref().map(|binding| RegisteredView {
                care_of: binding.care_of,
                lifetime: binding.lifetime,
                remaining_ms: binding.expires.since(self.now),
                status: binding.status,
                sequence: binding.sequence,
                behind_translator: binding.keepalive_secs.is_some(),
            }),
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    pub(crate) fn send(&mut self, transmit: Transmit) {
        self.out.push(Output::Send(transmit));
    }

    pub(crate) fn settle(&mut self, subject: Option<Bid>, purpose: Purpose, outcome: Outcome) {
        let events = self.requests.settle(subject, purpose, outcome);
        self.out.extend(events.into_iter().map(Output::Event));
    }

    /// The binding that carries packets: the named one, else the one with the best priority, else
    /// the newest. A care-of address whose binding is not acknowledged carries nothing, for the
    /// home agent would drop it.
    pub(crate) fn carrier(&self, via: Option<Bid>) -> Option<&Binding> {
        let via = match self.mode {
            Mode::Multiple { .. } => via,
            Mode::Single { active } => Some(active?),
        };
        let bound = self
            .entries
            .values()
            .filter_map(|entry| entry.binding.as_ref().map(|binding| (entry, binding)))
            .filter(|(entry, _)| via.is_none_or(|bid| entry.address.bid == bid));
        bound
            .min_by_key(|(entry, binding)| {
                (entry.address.priority.rank(), core::cmp::Reverse(binding.confirmed_at))
            })
            .map(|(_, binding)| binding)
    }
}

/// A care-of address as seen from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingView {
    /// Its name.
    pub bid: Bid,
    /// The address that the node wants to be reached at.
    pub care_of: CareOf,
    /// Preference.
    pub priority: BidPriority,
    /// The node keeps it registered.
    pub wanted: bool,
    /// An update about it waits for its answer.
    pub under_way: bool,
    /// What the home agent has acknowledged.
    pub registered: Option<RegisteredView>,
}

/// A binding as acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisteredView {
    /// Its care-of address.
    pub care_of: CareOf,
    /// Lifetime granted.
    pub lifetime: Lifetime,
    /// Milliseconds left.
    pub remaining_ms: u64,
    /// Effective status.
    pub status: Status,
    /// The acknowledged update.
    pub sequence: Sequence,
    /// A translator is on the way.
    pub behind_translator: bool,
}

/// Settings that no node can work with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// The home address is not unicast or cannot be routed.
    HomeAddress,
    /// The home agent's address is not unicast or cannot be routed.
    HomeAgent,
    /// The home prefix is longer than an address.
    HomePrefix,
    /// The lifetime is below four seconds, which would delete what is to be registered.
    Lifetime,
    /// The network access identifier is empty or longer than an option.
    Identifier,
    /// The key is empty.
    Key,
    /// Too many mobile network prefixes, or one longer than 128 bits.
    Prefixes,
    /// A link-layer address that does not fit into an option.
    LinkLayerAddress,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HomeAddress => "the home address is not a routable unicast address",
            Self::HomeAgent => "the home agent's address is not a routable unicast address",
            Self::HomePrefix => "the home prefix is above 128 bits",
            Self::Lifetime => "the lifetime is below four seconds",
            Self::Identifier => "the network access identifier is empty or above 254 octets",
            Self::Key => "the key is empty",
            Self::Prefixes => "more than 16 mobile network prefixes, or one above 128 bits",
            Self::LinkLayerAddress => "the link-layer address is empty or above 254 octets",
        })
    }
}

impl core::error::Error for SettingsError {}

fn check(settings: &Settings) -> Result<(), SettingsError> {
    let fits = |octets: &[u8]| !octets.is_empty() && octets.len() <= IDENTIFIER_OCTETS_MAX;
    let key = settings.authentication.as_ref();
    let router = settings.mobile_router.as_ref();
    let checks = [
        (is_unicast_routable_v6(settings.home_address), SettingsError::HomeAddress),
        (
            settings.home_agent.is_unspecified() || is_unicast_routable_v6(settings.home_agent),
            SettingsError::HomeAgent,
        ),
        (settings.home_prefix_len <= 128, SettingsError::HomePrefix),
        (!settings.lifetime.is_deregistration(), SettingsError::Lifetime),
        (key.is_none_or(|key| fits(&key.identifier)), SettingsError::Identifier),
        (key.is_none_or(|key| !key.key.is_empty()), SettingsError::Key),
        (
            router.is_none_or(|router| {
                router.prefixes.len() <= PREFIXES_MAX
                    && router.prefixes.iter().all(|prefix| prefix.length <= 128)
            }),
            SettingsError::Prefixes,
        ),
        (settings.link_layer_address.as_deref().is_none_or(fits), SettingsError::LinkLayerAddress),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, error)| Err(error))
}
