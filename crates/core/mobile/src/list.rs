//! Entries of the Binding Update List (RFC 6275 §11.1): one for each care-of address.

use homeport_wire::{BidCareOf, BidOption, Lifetime, Sequence, Status};

use crate::event::Path;
use crate::limits;
use crate::reaction::Purpose;
use crate::settings::{CareOf, CareOfAddress, Settings};
use crate::time::Millis;

/// A care-of address, and what the home agent is known to have of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// What the node wants the home agent to have.
    pub(crate) address: CareOfAddress,
    /// False when the binding is to end, or the home agent will not have it: no refresh by itself.
    pub(crate) wanted: bool,
    /// Counts the changes of mind. An acknowledgement of an update from before says nothing any
    /// more.
    pub(crate) epoch: u32,
    /// What the home agent has acknowledged.
    pub(crate) binding: Option<Binding>,
    /// Not before this moment, after a refusal or silence.
    pub(crate) retry_at: Option<Millis>,
    /// Pause after the next refusal.
    pub(crate) back_off_ms: u64,
}

/// A binding as acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Binding {
    pub(crate) care_of: CareOf,
    pub(crate) sequence: Sequence,
    /// When the acknowledged update left.
    pub(crate) sent_at: Millis,
    pub(crate) confirmed_at: Millis,
    pub(crate) lifetime: Lifetime,
    pub(crate) expires: Millis,
    pub(crate) refresh_at: Millis,
    pub(crate) status: Status,
    /// Seconds between refreshes that keep a translator's mapping; none without a translator.
    pub(crate) keepalive_secs: Option<u32>,
    /// Over IPv4: data goes without UDP.
    pub(crate) bare: bool,
    /// An update has left since that may have changed it: to another care-of address, or to an end.
    pub(crate) doubtful: bool,
}

impl Entry {
    pub(crate) const fn new(address: CareOfAddress) -> Self {
        Self {
            address,
            wanted: true,
            epoch: 0,
            binding: None,
            retry_at: None,
            back_off_ms: limits::BACK_OFF_INITIAL_MS,
        }
    }

    /// A change of mind: later acknowledgements of what was sent before do not count.
    pub(crate) fn begin_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.retry_at = None;
    }

    /// True when the home agent has the care-of address that the node wants it to have.
    pub(crate) fn is_settled(&self) -> bool {
        self.binding
            .as_ref()
            .is_some_and(|binding| binding.care_of == self.address.care_of && !binding.doubtful)
    }

    /// An update about this entry leaves. Until it is answered nobody knows whether the home agent
    /// has it.
    pub(crate) fn left(&mut self, purpose: Purpose) {
        let care_of = self.address.care_of;
        if let Some(binding) = &mut self.binding {
            binding.doubtful |= purpose == Purpose::Deregister || binding.care_of != care_of;
        }
    }

    /// RFC 5648 §8.1: an IPv4 care-of address goes into a bulk update only after the home agent has
    /// seen it in an update of its own, and behind a translator only updates from there keep the
    /// mapping. A home binding is announced from the home link.
    pub(crate) fn may_go_in_bulk(&self) -> bool {
        match self.address.care_of {
            CareOf::V6(_) => true,
            CareOf::V4(_) => {
                self.is_settled()
                    && self.binding.as_ref().is_some_and(|binding| binding.keepalive_secs.is_none())
            }
            CareOf::Home => false,
        }
    }

    /// Where updates about this entry leave. A binding that is to end is best ended from where it
    /// is.
    pub(crate) fn path(&self) -> Path {
        match &self.binding {
            Some(binding) if !self.wanted => binding.care_of.path(),
            _ => self.address.care_of.path(),
        }
    }

    /// Its option in an update. The care-of address goes along unless the node wants to be `short`
    /// and the home agent has it (RFC 5648 §5.1), and always in what leaves from itself by UDP,
    /// because there the authenticator covers the announced address.
    pub(crate) fn option(&self, path: Path, registers: bool, settings: &Settings) -> BidOption {
        let due = registers && !(settings.refresh.short && self.is_settled());
        let given = match path {
            Path::Udp(_) => path == self.path() || due,
            Path::Foreign(_) | Path::Home => due,
        };
        let care_of = match self.address.care_of {
            _ if !given => BidCareOf::Absent,
            CareOf::V6(address) => BidCareOf::V6(address),
            CareOf::V4(address) => BidCareOf::V4(address),
            CareOf::Home => BidCareOf::V6(settings.home_address),
        };
        BidOption {
            bid: self.address.bid,
            status: Status::ACCEPTED,
            home: registers && self.address.care_of == CareOf::Home,
            priority: self.address.priority,
            care_of,
        }
    }
}

/// Milliseconds that a binding has left when an acknowledgement arrives `elapsed_ms` after its
/// update (RFC 6275 §11.7.3): what remains of the lifetime asked for, less what the home agent took
/// off.
pub(crate) fn remaining_ms(asked: Lifetime, granted: Lifetime, elapsed_ms: u64) -> u64 {
    let ms = |lifetime: Lifetime| u64::from(lifetime.secs()).saturating_mul(1000);
    let remain = ms(asked).saturating_sub(elapsed_ms);
    remain.saturating_sub(ms(asked).saturating_sub(ms(granted)))
}

/// Milliseconds before its end at which a binding of this length is refreshed: a quarter of it, and
/// of a short one up to half, so that there is time for retransmissions after 1, 2 and 4 s.
pub(crate) fn refresh_lead_ms(lifetime_ms: u64) -> u64 {
    (lifetime_ms / 4).max((lifetime_ms / 2).min(8_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_lifetime_by_table() {
        // asked and granted in units of four seconds, elapsed and remaining in milliseconds.
        let rows = [
            (150, 150, 0, 600_000),
            (150, 150, 250, 599_750),
            (150, 100, 250, 399_750),
            (150, 100, 400_000, 0),
            (150, 200, 250, 599_750),
            (150, 0, 0, 0),
            (1, 1, 5_000, 0),
        ];
        for (asked, granted, elapsed, expected) in rows {
            let remaining = remaining_ms(Lifetime(asked), Lifetime(granted), elapsed);
            assert_eq!(remaining, expected, "{asked} {granted} {elapsed}");
        }
    }

    #[test]
    fn refresh_leaves_time_for_retransmissions() {
        for (lifetime_ms, lead_ms) in
            [(4_000, 2_000), (16_000, 8_000), (32_000, 8_000), (600_000, 150_000), (0, 0)]
        {
            assert_eq!(refresh_lead_ms(lifetime_ms), lead_ms, "{lifetime_ms}");
        }
    }
}
