//! The machine: its state, the way in and out, and its timers.

use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

use homeport_wire::{
    Bid, BidOption, BindingRefreshRequest, Lifetime, Message, MobilityOption,
    is_unicast_routable_v6, mobility_packet,
};

use crate::budget::Budget;
use crate::cache::{Cache, Home};
use crate::event::{EndReason, Event, Output};
use crate::limits::{
    BINDING_LIFETIME_SECS_MAX, BINDINGS_PER_HOME_ADDRESS_DEFAULT, ERRORS_PER_SECOND_DEFAULT,
    EXPIRIES_PER_CALL_MAX, HOME_ADDRESSES_DEFAULT, SPENT_PAIRS_MAX, UNREACHABLE_SPAN_MS,
    UNREACHABLES_MAX,
};
use crate::receive::Arrival;
use crate::secret::{Secret, Secrets};
use crate::time::Millis;

/// What a node is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The address that mobile nodes speak to; the home address, when this node is mobile itself
    /// (RFC 6275 §5.2.9).
    pub address: Ipv6Addr,
    /// Longest lifetime granted; above [`BINDING_LIFETIME_SECS_MAX`] it is cut to that.
    pub lifetime_max: Lifetime,
    /// Home addresses to know of; one more gets status 130.
    pub home_addresses_max: usize,
    /// Bindings of one home address, 1 to [`SPENT_PAIRS_MAX`]; one more gets status 130.
    pub bindings_per_home_address_max: usize,
    /// RFC 5648; else status 166.
    pub multiple_care_of_allowed: bool,
    /// Unauthenticated answers a second, to everybody together.
    pub errors_per_second: u32,
}

impl Settings {
    /// The defaults, for this address.
    #[must_use]
    pub fn new(address: Ipv6Addr) -> Self {
        Self {
            address,
            lifetime_max: Lifetime::from_secs(BINDING_LIFETIME_SECS_MAX),
            home_addresses_max: HOME_ADDRESSES_DEFAULT,
            bindings_per_home_address_max: BINDINGS_PER_HOME_ADDRESS_DEFAULT,
            multiple_care_of_allowed: true,
            errors_per_second: ERRORS_PER_SECOND_DEFAULT,
        }
    }
}

/// Settings that no node can work with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// The address is not unicast or cannot be routed.
    Address,
    /// The lifetime is zero.
    Lifetime,
    /// No binding, or more of one home address than [`SPENT_PAIRS_MAX`].
    Bindings,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "the address is not a routable unicast address",
            Self::Lifetime => "the longest lifetime is zero",
            Self::Bindings => "the bindings of one home address are not 1 to 32",
        })
    }
}

impl core::error::Error for SettingsError {}

/// One thing that the machine is told.
#[derive(Debug)]
pub enum Input<'p> {
    /// A packet came.
    Packet(Arrival<'p>),
    /// The answer to [`Output::SecretWanted`]; the first one before any packet.
    Secret(Secret),
    /// An ICMPv6 Destination Unreachable came for a packet that went to this care-of address
    /// (RFC 6275 §9.3.4).
    Unreachable {
        /// From the routing header of the quoted packet.
        home_address: Ipv6Addr,
        /// From its IPv6 header.
        care_of: Ipv6Addr,
    },
    /// [`Correspondent::next_deadline`] has come. Early calls do nothing.
    Timeout,
}

/// A correspondent node with one address.
#[derive(Clone, Debug)]
pub struct Correspondent {
    pub(crate) settings: Settings,
    pub(crate) secrets: Secrets,
    pub(crate) cache: Cache,
    pub(crate) errors: Budget,
    pub(crate) now: Millis,
    pub(crate) out: Vec<Output>,
    secret_asked: bool,
}

impl Correspondent {
    /// A node that knows nobody. It needs an [`Input::Secret`] before it can answer.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        if !is_unicast_routable_v6(settings.address) {
            return Err(SettingsError::Address);
        }
        if settings.lifetime_max.is_deregistration() {
            return Err(SettingsError::Lifetime);
        }
        if !(1..=SPENT_PAIRS_MAX).contains(&settings.bindings_per_home_address_max) {
            return Err(SettingsError::Bindings);
        }
        let longest = Lifetime::from_secs(BINDING_LIFETIME_SECS_MAX);
        let lifetime_max = settings.lifetime_max.min(longest);
        Ok(Self {
            errors: Budget::new(settings.errors_per_second),
            settings: Settings { lifetime_max, ..settings },
            secrets: Secrets::default(),
            cache: Cache::default(),
            now: Millis(0),
            out: Vec::new(),
            secret_asked: true,
        })
    }

    /// Takes one input and gives its effects, in the order in which they are to be carried out.
    /// Time that runs back stands still.
    pub fn handle(&mut self, now: Millis, input: Input<'_>) -> Vec<Output> {
        self.now = self.now.max(now);
        self.run_timers();
        match input {
            Input::Packet(arrival) => {
                if let Err(reason) = self.receive(arrival) {
                    self.out.push(Output::Dropped(reason));
                }
            }
            Input::Secret(secret) => {
                self.secrets.supply(secret);
                self.secret_asked = false;
            }
            Input::Unreachable { home_address, care_of } => {
                self.unreachable(home_address, care_of);
            }
            Input::Timeout => {}
        }
        if self.secrets.is_wanted() && !self.secret_asked {
            self.secret_asked = true;
            self.out.push(Output::SecretWanted);
        }
        core::mem::take(&mut self.out)
    }

    /// Call [`Correspondent::handle`] at or after it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        self.cache.next_deadline()
    }

    /// What is known of a home address.
    #[must_use]
    pub fn home(&self, home_address: Ipv6Addr) -> Option<&Home> {
        self.cache.home(home_address)
    }

    /// All that is known, by home address.
    pub fn homes(&self) -> impl Iterator<Item = (Ipv6Addr, &Home)> {
        self.cache.iter()
    }

    /// What the node was told at its start, its lifetime cut to the limit.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    /// The next mobile node that asks for a token may be served, if the caller hears of it again.
    pub(crate) const fn ask_again(&mut self) {
        self.secret_asked = false;
    }

    fn run_timers(&mut self) {
        let now = self.now;
        for _ in 0..EXPIRIES_PER_CALL_MAX {
            let Some(address) = self.cache.due(now) else {
                break;
            };
            self.work_off(address);
        }
        self.secrets.discard(now);
    }

    /// Ends what has ended of one home address, and asks for what is due (RFC 6275 §9.6).
    pub(crate) fn work_off(&mut self, home_address: Ipv6Addr) {
        let now = self.now;
        let worked_off = self.cache.edit(now, home_address, |home| work_off(home, now));
        let (ended, requested) = worked_off.unwrap_or_default();
        for bid in ended {
            self.event(Event::Ended { home_address, bid, reason: EndReason::Expired });
        }
        if !requested.is_empty() {
            self.request_refresh(home_address, &requested);
        }
    }

    /// RFC 6275 §9.5.5: to the home address, never by a binding. RFC 5648 §6.4: an option for each
    /// binding that has a BID.
    fn request_refresh(&mut self, home_address: Ipv6Addr, bids: &[Option<Bid>]) {
        let mut options = BindingRefreshRequest::builder();
        for bid in bids.iter().flatten() {
            options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(*bid)));
        }
        let own = self.settings.address;
        let request = BindingRefreshRequest { options: options.finish() };
        let octets = Message::BindingRefreshRequest(request).emit(own, home_address);
        self.out.push(Output::Send(mobility_packet(own, home_address, None, None, &octets)));
        self.event(Event::RefreshRequested { home_address });
    }

    fn unreachable(&mut self, home_address: Ipv6Addr, care_of: Ipv6Addr) {
        let now = self.now;
        let given_up = self.cache.edit(now, home_address, |home| {
            let (bid, binding) = home.by_care_of(now, care_of)?;
            if binding.unreachables == 0 {
                binding.unreachable_since = now;
            }
            binding.unreachables = binding.unreachables.saturating_add(1);
            let is_persistent = binding.unreachables >= UNREACHABLES_MAX
                && now.since(binding.unreachable_since) >= UNREACHABLE_SPAN_MS;
            is_persistent.then(|| {
                home.bindings.remove(&bid);
                bid
            })
        });
        if let Some(bid) = given_up.flatten() {
            let reason = EndReason::Unreachable;
            self.event(Event::Ended { home_address, bid, reason });
        }
    }
}

/// The bindings of a home address that have ended, and those that a refresh is to be asked for.
fn work_off(home: &mut Home, now: Millis) -> (Vec<Option<Bid>>, Vec<Option<Bid>>) {
    let ended = home.expire(now);
    let mut requested = Vec::new();
    for (bid, binding) in &mut home.bindings {
        if binding.request_due().is_some_and(|due| due <= now) {
            binding.requested(now);
            requested.push(*bid);
        }
    }
    (ended, requested)
}
