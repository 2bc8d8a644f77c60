//! Mobile Prefix Advertisements that nobody asked for (RFC 6275 §10.6.2): which mobile nodes are to hear
//! of a home prefix that has changed, when each is told, and when the home agent gives it up.
//!
//! One command changes the home prefix; its mobile nodes are looked up in the log entries that follow,
//! a bounded number in each, so that no command costs more the more bindings there are.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::ops::Bound::{Excluded, Included, Unbounded};
use core::time::Duration;

use crate::cache::{BindingCache, Change};
use crate::home::{CareOf, Home};
use crate::limits;
use crate::notice::{Dispatch, DispatchMessage};
use crate::prefix::Ipv6Prefix;
use crate::record::HomePrefix;
use crate::time::LogTime;
use crate::verdict::{Outcome, Refusal, RefusalKind};

/// The mobile nodes of a home prefix are being looked up, to be told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertising {
    /// Of which home prefix.
    pub prefix: Ipv6Prefix,
    /// Revision of its record that they are told of.
    pub revision: u64,
    /// When the command came that started this.
    pub since: LogTime,
    /// The operator's: each is told within this time. `None`: as RFC 6275 §10.6.2 spreads them.
    pub within: Option<Duration>,
    /// The home addresses of the prefix itself are done: now those that it only serves.
    pub guests: bool,
    /// Home addresses up to this one are done.
    pub after: Option<Ipv6Addr>,
}

/// What one mobile node is to be told, or has been told without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixAdvertisement {
    /// A solicitation that is answered out of this revision of the home prefix, or of a later one, ends
    /// it.
    pub home_prefix_revision: u64,
    /// How often it was sent.
    pub sent: u8,
    /// When it is sent, or given up; `None` when that has happened: the next Binding Update begins
    /// again.
    pub next: Option<LogTime>,
}

/// A mobile node has not answered its Mobile Prefix Advertisements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GivenUp {
    /// When.
    pub at: LogTime,
    /// Which.
    pub home_address: Ipv6Addr,
}

/// A Mobile Prefix Solicitation was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixesSolicited {
    /// Whose.
    pub home_address: Ipv6Addr,
    /// Revision of the home prefix's record that the answer was made of.
    pub home_prefix_revision: u64,
}

impl PrefixAdvertisement {
    /// RFC 6275 §10.6.2: `PREFIX_ADV_TIMEOUT`, doubled after each retransmission.
    fn wait(self) -> Duration {
        let doublings = u32::from(self.sent.saturating_sub(1));
        limits::PREFIX_ADV_TIMEOUT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
    }
}

impl Home {
    /// Where a mobile node that is away is told: the best of its foreign care-of addresses. One at home
    /// hears Router Advertisements.
    fn away_care_of(&self) -> Option<CareOf> {
        let foreign = self.bindings.iter();
        let foreign = foreign.filter(|(_, binding)| binding.home.is_none() && !binding.unverified);
        foreign
            .min_by_key(|(bid, binding)| {
                (binding.priority.rank(), core::cmp::Reverse(binding.verified), **bid)
            })
            .map(|(_, binding)| binding.care_of)
    }

    /// A Binding Update was accepted: who did not answer is told once more (RFC 6275 §10.6.2), unless
    /// it has left or is at home.
    pub(crate) fn begin_advertisement_again(&mut self, is_deregistration: bool, now: LogTime) {
        let is_away = self.away_care_of().is_some();
        let Some(advertisement) = &mut self.advertisement else { return };
        if !is_away {
            self.advertisement = None;
        } else if advertisement.next.is_none() && !is_deregistration {
            (advertisement.sent, advertisement.next) = (0, Some(now));
        }
    }

    /// RFC 6275 §10.6.2: what is planned already keeps its time; what was sent without an answer gives
    /// way to the new one.
    fn plan_advertisement(&mut self, home_prefix_revision: u64, next: LogTime, is_urgent: bool) {
        let planned = self.advertisement.filter(|it| it.sent == 0).and_then(|it| it.next);
        let next =
            planned.map_or(next, |planned| if is_urgent { planned.min(next) } else { planned });
        let advertisement = PrefixAdvertisement { home_prefix_revision, sent: 0, next: Some(next) };
        self.advertisement = Some(advertisement);
    }

    /// RFC 6275 §10.3.1, §10.6.4: no binding outlasts the home address. One that was confirmed later
    /// was granted by the new lifetime. True when one was shortened.
    fn shorten(&mut self, since: LogTime, valid: Duration) -> bool {
        let end = since.after(valid);
        let mut shortened = false;
        for binding in self.bindings.values_mut() {
            if binding.verified <= since && binding.ends > end {
                (binding.ends, shortened) = (end, true);
            }
        }
        shortened
    }
}

impl BindingCache {
    /// Hands over who has not answered since the last call.
    pub fn take_given_up(&mut self) -> Vec<GivenUp> {
        core::mem::take(&mut self.given_up)
    }

    /// Home prefixes whose mobile nodes are being looked up.
    pub fn advertising(&self) -> impl Iterator<Item = &Advertising> {
        self.advertising.values()
    }

    pub(crate) fn check_advertise(&self, prefix: Ipv6Prefix) -> Result<(), Refusal> {
        let Some(home_prefix) = self.home_prefix(prefix) else {
            return self.no_home_prefix(prefix);
        };
        if home_prefix.record.prefix_discovery_allowed {
            return Ok(());
        }
        let message = format!("{prefix} has no prefix_discovery_allowed");
        Err(Refusal { kind: RefusalKind::Invalid, field: Cow::Borrowed("prefix"), message })
    }

    /// An operator has its mobile nodes told of a home prefix, whether or not it has changed.
    pub(crate) fn advertise(&mut self, prefix: Ipv6Prefix, within: Option<Duration>) -> Outcome {
        if let Err(refusal) = self.check_advertise(prefix) {
            return Outcome::Refused(refusal);
        }
        self.start_advertising(prefix, within);
        Outcome::Done
    }

    /// A home prefix was changed: tells its mobile nodes where RFC 6275 §10.6.2 says so.
    pub(crate) fn advertise_change(&mut self, old: &HomePrefix) {
        let Some(new) = self.home_prefix(old.prefix).map(|new| &new.record) else { return };
        let lifetimes =
            |record: &HomePrefix| (record.valid_lifetime_secs, record.preferred_lifetime_secs);
        if lifetimes(old) != lifetimes(new) {
            self.start_advertising(old.prefix, None);
        }
    }

    fn start_advertising(&mut self, prefix: Ipv6Prefix, within: Option<Duration>) {
        let since = self.now;
        let Some(revision) = self.home_prefix(prefix).map(|home_prefix| home_prefix.revision)
        else {
            return;
        };
        let advertising =
            Advertising { prefix, revision, since, within, guests: false, after: None };
        self.advertising.insert(prefix, advertising);
    }

    /// Looks at some of the mobile nodes that are to be told.
    pub(crate) fn advance_advertising(&mut self) {
        for _ in 0..limits::ADVERTISEMENTS_PLANNED_PER_BATCH_MAX {
            let Some(mut advertising) = self.advertising.values().next().cloned() else { return };
            let prefix = advertising.prefix;
            let Some(home_address) = self.next_to_tell(&advertising) else {
                self.advertising.remove(&prefix);
                if !advertising.guests {
                    (advertising.guests, advertising.after) = (true, None);
                    self.advertising.insert(prefix, advertising);
                }
                continue;
            };
            self.tell(home_address, &advertising);
            advertising.after = Some(home_address);
            self.advertising.insert(prefix, advertising);
        }
    }

    fn next_to_tell(&self, advertising: &Advertising) -> Option<Ipv6Addr> {
        let Advertising { prefix, guests, after, .. } = *advertising;
        if guests {
            let from = after.map_or(Included((prefix, Ipv6Addr::UNSPECIFIED)), |after| {
                Excluded((prefix, after))
            });
            let next = self.guests.range((from, Unbounded)).next();
            return next.filter(|(served_by, _)| *served_by == prefix).map(|(_, address)| *address);
        }
        let from = after.map_or(Included(prefix.address()), Excluded);
        let next = self.homes.from(from).next().map(|(address, _)| address);
        next.filter(|address| prefix.contains(*address))
    }

    fn tell(&mut self, home_address: Ipv6Addr, advertising: &Advertising) {
        let Some(record) = self.home_prefix(advertising.prefix).map(|it| it.record.clone()) else {
            return;
        };
        let Some(mut home) = self.take_home(home_address) else { return };
        if record.valid_lifetime_secs != u32::MAX {
            let valid = Duration::from_secs(record.valid_lifetime_secs.into());
            if home.shorten(advertising.since, valid) {
                home.revision = self.revision;
                self.changed(Change::Home(home_address));
            }
        }
        if record.prefix_discovery_allowed && home.away_care_of().is_some() {
            let random = scattered(home_address, self.revision);
            let next = self.now.after(delay(&record, advertising.within, random));
            home.plan_advertisement(advertising.revision, next, advertising.within.is_some());
        }
        self.put_home(home_address, home);
    }

    /// Sends what is due to a mobile node, or gives it up.
    pub(crate) fn advance_advertisement(&mut self, home_address: Ipv6Addr, home: &mut Home) {
        let now = self.now;
        let Some(mut advertisement) = home.advertisement else { return };
        let Some(care_of) = home.away_care_of().filter(|_| self.is_told(home_address)) else {
            home.advertisement = None;
            return;
        };
        if advertisement.next.is_none_or(|next| next > now) {
            return;
        }
        if advertisement.sent > limits::PREFIX_ADV_RETRIES {
            advertisement.next = None;
            self.given_up.push(GivenUp { at: now, home_address });
        } else {
            advertisement.sent = advertisement.sent.saturating_add(1);
            advertisement.next = Some(now.after(advertisement.wait()));
            self.notices.push(Dispatch {
                at: now,
                revision: self.revision,
                home_address,
                home_agent: home.home_agent,
                care_of,
                message: DispatchMessage::PrefixAdvertisement,
                esp: None,
            });
        }
        home.advertisement = Some(advertisement);
    }

    /// The home prefix that serves this home address tells its mobile nodes of itself.
    fn is_told(&self, home_address: Ipv6Addr) -> bool {
        let serving = self.serving_prefix(home_address);
        serving.is_some_and(|prefix| prefix.record.prefix_discovery_allowed)
    }

    /// RFC 6275 §10.6.2: a Mobile Prefix Solicitation is the answer to an advertisement.
    pub(crate) fn prefixes_solicited(&mut self, solicited: PrefixesSolicited) -> Outcome {
        let PrefixesSolicited { home_address, home_prefix_revision } = solicited;
        let Some(mut home) = self.take_home(home_address) else { return Outcome::Done };
        let is_answered = |it: PrefixAdvertisement| it.home_prefix_revision <= home_prefix_revision;
        if home.advertisement.is_some_and(is_answered) {
            home.advertisement = None;
        }
        self.put_home(home_address, home);
        Outcome::Done
    }
}

/// RFC 6275 §10.6.2: `RAND_ADV_DELAY`; or, where an operator wants it sooner, any time until then.
fn delay(record: &HomePrefix, within: Option<Duration>, random: u64) -> Duration {
    let millis = |secs: u32| u64::from(secs).saturating_mul(1000);
    if let Some(within) = within {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        return Duration::from_millis(random.checked_rem(within).unwrap_or(0));
    }
    let min = millis(record.prefix_advertisement_delay_min_secs);
    let max = record.prefix_advertisement_delay_max_secs.min(record.preferred_lifetime_secs);
    let spread = millis(max).abs_diff(min);
    Duration::from_millis(min.saturating_add(random.checked_rem(spread).unwrap_or(0)))
}

/// A number that no two home addresses, and no two log entries, are likely to share: the output function
/// of SplitMix64. Every replica must draw the same, so it is no secret, and nothing relies on one.
fn scattered(home_address: Ipv6Addr, revision: u64) -> u64 {
    let bits = home_address.to_bits();
    let folded = u64::try_from((bits ^ (bits >> 64)) & u128::from(u64::MAX)).unwrap_or_default();
    let mut z = folded.wrapping_add(revision.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
