//! What the home agent tells a mobile node of its own accord: Binding Revocation (RFC 5846 §7) and Home
//! Agent Switch (RFC 5142 §5.1). Mobile Prefix Advertisements and tests of care-of addresses take the same
//! way, but stand beside these: see `advertisement` and `care_of_test`.
//!
//! A home address has one notice in progress at most. It lives no longer than the bindings that it is
//! about. When to send it is log time, so that every replica knows what is due, whoever leads then.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::time::Duration;

use homeport_wire::{Bid, Lifetime, RevocationTrigger, is_unicast_routable_v6};

use crate::association::Protects;
use crate::cache::{BindingCache, Change};
use crate::care_of_test::Nonce;
use crate::choices;
use crate::event::BindingEvent;
use crate::home::{Binding, CareOf, Home};
use crate::limits;
use crate::time::LogTime;
use crate::verdict::{EspNumber, Outcome, Refusal, RefusalKind, Silence};

/// Triggers that fit one mobile node without proxies (RFC 5846 §5.1).
const TRIGGERS: [RevocationTrigger; 5] = [
    RevocationTrigger::UNSPECIFIED,
    RevocationTrigger::ADMINISTRATIVE,
    RevocationTrigger::USER_SESSION_ENDED,
    RevocationTrigger::ACCESS_SESSION_ENDED,
    RevocationTrigger::OUT_OF_SYNC,
];

/// A notice in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Binding Revocation.
    Revocation(Revocation),
    /// Home Agent Switch.
    Switch(HomeAgentSwitch),
}

/// Bindings that are being revoked. Packets go on until the answer, or the end of the retries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// Why.
    pub trigger: RevocationTrigger,
    /// Of the Binding Revocation Indication: the answer copies it.
    pub sequence: u16,
    /// Which bindings; empty for all of the home address.
    pub bids: BTreeSet<Bid>,
    /// How often it is sent again yet.
    pub retries_left: u8,
    /// When it is sent again, or given up.
    pub next: LogTime,
    /// How long was waited for `next`.
    pub interval: Duration,
}

/// The mobile node is asked to leave for another home agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeAgentSwitch {
    /// Other home agents, best first; none lets the mobile node search.
    pub addresses: Vec<Ipv6Addr>,
    /// When this home agent will be gone, where that is known.
    pub until: Option<LogTime>,
    /// It was sent: from then on the bindings are not renewed.
    pub announced: bool,
    /// When it is sent next.
    pub next: LogTime,
    /// How long will be waited for the answer then.
    pub interval: Duration,
}

/// Asks to revoke bindings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revoke {
    /// Whose.
    pub home_address: Ipv6Addr,
    /// Which; empty for all.
    pub bids: Vec<Bid>,
    /// Why.
    pub trigger: RevocationTrigger,
}

/// An authentic Binding Revocation Acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevocationAnswer {
    /// Whose.
    pub home_address: Ipv6Addr,
    /// Copied from the indication.
    pub sequence: u16,
}

/// Asks a mobile node to leave for another home agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switch {
    /// Whom.
    pub home_address: Ipv6Addr,
    /// Other home agents, best first.
    pub addresses: Vec<Ipv6Addr>,
    /// How long to wait before it is sent: many mobile nodes do not leave at once.
    pub delay: Duration,
    /// After this time, counted from now, this home agent will be gone; where that is known.
    pub time_left: Option<Duration>,
}

/// A notice that is due to be sent now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dispatch {
    /// When it became due.
    pub at: LogTime,
    /// Log index at which it became due: the records of this revision, or newer ones, make its packet.
    pub revision: u64,
    /// To whom.
    pub home_address: Ipv6Addr,
    /// From whom: the address that the mobile node registered with.
    pub home_agent: Ipv6Addr,
    /// Where to; a home binding's is the home address itself.
    pub care_of: CareOf,
    /// What.
    pub message: DispatchMessage,
    /// With what it is sent, where a security association protects it.
    pub esp: Option<EspNumber>,
}

/// Content of a [`Dispatch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DispatchMessage {
    /// Binding Revocation Indication.
    Revocation {
        /// Why.
        trigger: RevocationTrigger,
        /// Sequence number.
        sequence: u16,
        /// Which bindings, ascending; empty for all.
        bids: Vec<Bid>,
    },
    /// Home Agent Switch.
    Switch {
        /// Other home agents, best first.
        addresses: Vec<Ipv6Addr>,
        /// Binding Refresh Advice: how long this home agent is there yet.
        time_left: Option<Lifetime>,
    },
    /// Mobile Prefix Advertisement: what it says is the home prefix's record.
    PrefixAdvertisement,
    /// An Echo Request that only the mobile node answers, to a care-of address of its own.
    CareOfTest {
        /// What the answer repeats.
        nonce: Nonce,
    },
}

impl DispatchMessage {
    /// A Mobility Header; else ICMPv6.
    #[must_use]
    pub const fn is_mobility(&self) -> bool {
        !matches!(self, Self::PrefixAdvertisement | Self::CareOfTest { .. })
    }

    /// Whose numbers it takes; `None` where it goes in the clear.
    pub(crate) const fn protected_by(&self) -> Option<Protects> {
        match self {
            Self::Revocation { .. } | Self::Switch { .. } => Some(Protects::Mobility),
            Self::PrefixAdvertisement => Some(Protects::PrefixDiscovery),
            Self::CareOfTest { .. } => None,
        }
    }
}

impl Notice {
    /// When something of it is due.
    #[must_use]
    pub const fn deadline(&self) -> LogTime {
        match self {
            Self::Revocation(revocation) => revocation.next,
            Self::Switch(switch) => switch.next,
        }
    }

    /// A Binding Update that asks for lifetime is refused: administrative reasons do not go away by
    /// asking again, and who was asked to leave is not kept (RFC 5142 §5.1).
    #[must_use]
    pub fn refuses_renewal(&self) -> bool {
        match self {
            Self::Revocation(revocation) => revocation.trigger == RevocationTrigger::ADMINISTRATIVE,
            Self::Switch(switch) => switch.announced,
        }
    }
}

impl Revocation {
    fn names(&self, bid: Option<Bid>) -> bool {
        self.bids.is_empty() || bid.is_some_and(|bid| self.bids.contains(&bid))
    }
}

impl HomeAgentSwitch {
    /// RFC 5142 §5.1: the first wait is half of the time that is left, where that is shorter.
    fn new(addresses: Vec<Ipv6Addr>, now: LogTime, until: Option<LogTime>, next: LogTime) -> Self {
        let half = until.map(|until| now.until(until) / 2);
        let interval = half.map_or(limits::INITIAL_HA_SWITCH_TIMEOUT, |half| {
            half.clamp(limits::HA_SWITCH_TIMEOUT_MIN, limits::INITIAL_HA_SWITCH_TIMEOUT)
        });
        Self { addresses, until, announced: false, next, interval }
    }
}

impl Home {
    /// Works off what is due of the notice; true when bindings went.
    pub(crate) fn advance_notice(
        &mut self,
        home_address: Ipv6Addr,
        (now, revision): (LogTime, u64),
        out: &mut Vec<Dispatch>,
    ) -> bool {
        self.drop_void_notice();
        let Some(due) = self.notice.as_deref_mut().filter(|notice| notice.deadline() <= now) else {
            return false;
        };
        match due {
            Notice::Revocation(revocation) if revocation.retries_left == 0 => {
                self.revoke_now(now);
                return true;
            }
            Notice::Revocation(revocation) => {
                revocation.retries_left = revocation.retries_left.saturating_sub(1);
                revocation.interval = longer(revocation.interval, limits::MAX_BRACK_TIMEOUT);
                revocation.next = now.after(revocation.interval);
            }
            Notice::Switch(switch) => {
                if switch.announced {
                    let max = limits::MAX_HA_SWITCH_TIMEOUT;
                    switch.interval = longer(switch.interval, max);
                }
                switch.announced = true;
                switch.next = now.after(switch.interval);
            }
        }
        out.extend(self.dispatch(home_address, now, revision));
        false
    }

    /// The notice in progress as it is sent now.
    fn dispatch(&self, home_address: Ipv6Addr, now: LogTime, revision: u64) -> Option<Dispatch> {
        let notice = self.notice.as_deref()?;
        let message = match notice {
            Notice::Revocation(revocation) => DispatchMessage::Revocation {
                trigger: revocation.trigger,
                sequence: revocation.sequence,
                bids: revocation.bids.iter().copied().collect(),
            },
            Notice::Switch(switch) => DispatchMessage::Switch {
                addresses: switch.addresses.clone(),
                time_left: switch
                    .until
                    .map(|until| now.until(until).as_secs())
                    .map(|secs| Lifetime::from_secs(u32::try_from(secs).unwrap_or(u32::MAX)))
                    .filter(|left| !left.is_deregistration()),
            },
        };
        Some(Dispatch {
            at: now,
            revision,
            home_address,
            home_agent: self.home_agent,
            care_of: self.notified_care_of(notice)?,
            message,
            esp: None,
        })
    }

    /// The best binding that will stay, else the best of those that go: what is revoked may be out of
    /// reach already. None of those where the mobile node may not be.
    fn notified_care_of(&self, notice: &Notice) -> Option<CareOf> {
        let goes = |bid| match notice {
            Notice::Revocation(revocation) => choices::TOLD_BY_WHAT_STAYS && revocation.names(bid),
            Notice::Switch(_) => false,
        };
        let rank = |(bid, binding): &(&Option<Bid>, &Binding)| {
            (goes(**bid), binding.priority.rank(), core::cmp::Reverse(binding.verified), **bid)
        };
        let verified = self.bindings.iter().filter(|(_, binding)| !binding.unverified);
        verified.min_by_key(rank).map(|(_, binding)| binding.care_of)
    }

    /// Who is told to leave may leave, but not come back.
    pub(crate) fn refuses_renewal(&self) -> bool {
        self.notice.as_deref().is_some_and(Notice::refuses_renewal)
    }

    /// A Binding Update was accepted: what is registered again is not revoked any more, and nothing
    /// is said about bindings that are gone.
    pub(crate) fn update_heard(&mut self, is_deregistration: bool) {
        let is_heard = choices::REVOCATION_ENDS_WITH_UPDATE && !is_deregistration;
        if is_heard && matches!(self.notice.as_deref(), Some(Notice::Revocation(_))) {
            self.notice = None;
        }
        self.drop_void_notice();
    }

    /// No notice without a binding that it is about.
    fn drop_void_notice(&mut self) {
        let is_void = match self.notice.as_deref() {
            None => false,
            Some(Notice::Revocation(revocation)) => {
                !self.bindings.keys().any(|bid| revocation.names(*bid))
            }
            Some(Notice::Switch(_)) => self.bindings.is_empty(),
        };
        if is_void {
            self.notice = None;
        }
    }

    /// Removes what is being revoked.
    fn revoke_now(&mut self, now: LogTime) {
        let Some(Notice::Revocation(revocation)) = self.notice.take().map(|notice| *notice) else {
            return;
        };
        self.bindings.retain(|bid, _| !revocation.names(*bid));
        if self.bindings.is_empty() {
            self.bury(now);
        }
    }
}

impl BindingCache {
    /// Hands over the notices that have become due since the last call. Every replica has them; the
    /// one that leads sends them.
    pub fn take_notices(&mut self) -> Vec<Dispatch> {
        core::mem::take(&mut self.notices)
    }

    /// This notice is still in progress: nothing has ended it since it became due.
    #[must_use]
    pub fn is_current(&self, dispatch: &Dispatch) -> bool {
        let home = self.home(dispatch.home_address);
        if dispatch.message == DispatchMessage::PrefixAdvertisement {
            let advertisement = home.and_then(|home| home.advertisement);
            return advertisement.is_some_and(|advertisement| advertisement.sent > 0);
        }
        if let DispatchMessage::CareOfTest { nonce } = &dispatch.message {
            return home.is_some_and(|home| home.tested_care_of(nonce).is_some());
        }
        let notice = home.and_then(|home| home.notice.as_deref());
        match (notice, &dispatch.message) {
            (
                Some(Notice::Revocation(revocation)),
                DispatchMessage::Revocation { sequence, .. },
            ) => revocation.sequence == *sequence,
            (Some(Notice::Switch(switch)), DispatchMessage::Switch { addresses, .. }) => {
                switch.announced && switch.addresses == *addresses
            }
            (Some(Notice::Revocation(_) | Notice::Switch(_)) | None, _) => false,
        }
    }

    pub(crate) fn check_revoke(&self, command: &Revoke) -> Result<(), Refusal> {
        check_trigger(command.trigger)?;
        let home = self.bound_home(command.home_address)?;
        check_revocation(&home, command)
    }

    pub(crate) fn check_switch(&self, command: &Switch) -> Result<(), Refusal> {
        let home = self.bound_home(command.home_address)?;
        check_switch(command.home_address, &home, &command.addresses)
    }

    /// RFC 5846 §7.1: the bindings are marked, and the mobile node is told.
    pub(crate) fn revoke(&mut self, command: Revoke) -> Outcome {
        let home_address = command.home_address;
        if let Err(refusal) = check_trigger(command.trigger) {
            return Outcome::Refused(refusal);
        }
        let Some(mut home) = self.take_bound_home(home_address) else {
            return Outcome::Refused(not_bound(home_address));
        };
        let outcome = match check_revocation(&home, &command) {
            Err(refusal) => Outcome::Refused(refusal),
            Ok(()) => {
                let now = self.now;
                home.notice = Some(Box::new(Notice::Revocation(Revocation {
                    trigger: command.trigger,
                    // Unlike any other of this home address for a long time.
                    sequence: low_bits(self.revision),
                    bids: command.bids.iter().copied().collect(),
                    retries_left: limits::BRI_MAX_RETRIES_NUMBER,
                    next: now.after(limits::INIT_MIN_DELAY_BRIS),
                    interval: limits::INIT_MIN_DELAY_BRIS,
                })));
                self.notices.extend(home.dispatch(home_address, now, self.revision));
                Outcome::Done
            }
        };
        self.put_home(home_address, home);
        outcome
    }

    /// RFC 5846 §7.2: whatever the status, the bindings go. A mobile node that does not know them, or
    /// does not want to lose them, has no say in what the operator decided.
    pub(crate) fn revocation_answered(&mut self, answer: RevocationAnswer) -> Outcome {
        let unknown = Outcome::Silent(Silence::UnknownRevocation);
        let Some(mut home) = self.take_bound_home(answer.home_address) else {
            return unknown;
        };
        let is_awaited = match home.notice.as_deref() {
            Some(Notice::Revocation(revocation)) => revocation.sequence == answer.sequence,
            Some(Notice::Switch(_)) | None => false,
        };
        if is_awaited {
            let held = home.ipv4_home_address;
            home.revoke_now(self.now);
            if home.ipv4_home_address.is_none() {
                held.into_iter().for_each(|prefix| self.ipv4_homes.release(prefix));
            }
            home.revision = self.revision;
            self.changed(Change::Home(answer.home_address));
            if home.bindings.is_empty() {
                self.happened_to(answer.home_address, BindingEvent::Ended);
            }
        }
        self.put_home(answer.home_address, home);
        if is_awaited { Outcome::Done } else { unknown }
    }

    /// RFC 5142 §5.1.
    pub(crate) fn switch(&mut self, command: Switch) -> Outcome {
        let Switch { home_address, addresses, delay, time_left } = command;
        let Some(mut home) = self.take_bound_home(home_address) else {
            return Outcome::Refused(not_bound(home_address));
        };
        let outcome = match check_switch(home_address, &home, &addresses) {
            Err(refusal) => Outcome::Refused(refusal),
            Ok(()) => {
                let now = self.now;
                let until = time_left.map(|left| now.after(left));
                let next = now.after(delay);
                let switch = HomeAgentSwitch::new(addresses, now, until, next);
                home.notice = Some(Box::new(Notice::Switch(switch)));
                home.advance_notice(home_address, (now, self.revision), &mut self.notices);
                Outcome::Done
            }
        };
        self.put_home(home_address, home);
        outcome
    }

    /// What [`Self::take_bound_home`] would take.
    fn bound_home(&self, home_address: Ipv6Addr) -> Result<Home, Refusal> {
        let home = self.home(home_address).cloned().map(|mut home| {
            home.expire(self.now);
            home.advance_notice(home_address, (self.now, self.revision), &mut Vec::new());
            home
        });
        home.filter(|home| !home.bindings.is_empty()).ok_or_else(|| not_bound(home_address))
    }

    /// The record of a home address that has bindings.
    fn take_bound_home(&mut self, home_address: Ipv6Addr) -> Option<Home> {
        let home = self.take_home(home_address)?;
        if home.bindings.is_empty() {
            self.put_home(home_address, home);
            return None;
        }
        Some(home)
    }
}

fn check_trigger(trigger: RevocationTrigger) -> Result<(), Refusal> {
    if TRIGGERS.contains(&trigger) {
        return Ok(());
    }
    let message = format!("{} is not among 0, 1, 5, 6, 7", trigger.0);
    Err(refusal(RefusalKind::Invalid, "trigger", message))
}

fn check_revocation(home: &Home, command: &Revoke) -> Result<(), Refusal> {
    check_no_revocation(command.home_address, home)?;
    let missing = command.bids.iter().find(|bid| !home.bindings.contains_key(&Some(**bid)));
    let Some(missing) = missing else { return Ok(()) };
    let message =
        format!("{} has no binding with BID {}; {}", command.home_address, missing.0, bound(home));
    Err(refusal(RefusalKind::NotFound, "bids", message))
}

/// For messages: which bindings there are.
fn bound(home: &Home) -> String {
    use core::fmt::Write as _;
    let mut text = String::new();
    for bid in home.bindings.keys().flatten() {
        let separator = if text.is_empty() { "there are: " } else { ", " };
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{separator}{}", bid.0);
    }
    if text.is_empty() { String::from("its binding has no BID") } else { text }
}

fn check_switch(
    home_address: Ipv6Addr,
    home: &Home,
    addresses: &[Ipv6Addr],
) -> Result<(), Refusal> {
    check_no_revocation(home_address, home)?;
    if addresses.len() > limits::SWITCH_ADDRESSES_MAX {
        let message = format!("{} are more than {}", addresses.len(), limits::SWITCH_ADDRESSES_MAX);
        return Err(refusal(RefusalKind::Invalid, "addresses", message));
    }
    for (at, address) in addresses.iter().enumerate() {
        let wrong = if !is_unicast_routable_v6(*address) {
            "is not unicast and routable"
        } else if *address == home.home_agent {
            "is the home agent that is to be left"
        } else if addresses.iter().take(at).any(|earlier| earlier == address) {
            "stands there twice"
        } else {
            continue;
        };
        return Err(refusal(RefusalKind::Invalid, "addresses", format!("{address} {wrong}")));
    }
    Ok(())
}

fn check_no_revocation(home_address: Ipv6Addr, home: &Home) -> Result<(), Refusal> {
    if !matches!(home.notice.as_deref(), Some(Notice::Revocation(_))) {
        return Ok(());
    }
    let message = format!("bindings of {home_address} are being revoked; wait some seconds");
    Err(refusal(RefusalKind::InUse, "home_address", message))
}

fn not_bound(home_address: Ipv6Addr) -> Refusal {
    let message = format!("{home_address} has no bindings");
    refusal(RefusalKind::NotFound, "home_address", message)
}

const fn refusal(kind: RefusalKind, field: &'static str, message: String) -> Refusal {
    Refusal { kind, field: Cow::Borrowed(field), message }
}

fn longer(interval: Duration, max: Duration) -> Duration {
    interval.saturating_mul(2).min(max)
}

/// Sequence numbers have sixteen bits.
fn low_bits(revision: u64) -> u16 {
    u16::try_from(revision & 0xffff).unwrap_or(u16::MAX)
}
