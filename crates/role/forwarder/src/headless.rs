//! Cut off from the store: how long nobody has been heard, and what follows.
//!
//! First nothing: the table goes on, each binding until its own end. Then the table is marked stale,
//! which is the alarm. Then, after the configured time, this forwarder withdraws, so that another one
//! or nobody has the traffic. What it hears next ends both.

use std::time::Duration;

use crate::limits;

/// How it stands with the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Contact {
    /// A replica was heard a moment ago, or there was no table yet.
    Fresh,
    /// Nobody has been heard: the table is what it was.
    Stale,
    /// For so long that nothing is served.
    Withdrawn,
}

/// See the module. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub(crate) struct Headless {
    withdraw_after_ms: u64,
    heard_ms: Option<u64>,
    contact: Contact,
}

impl Headless {
    pub(crate) fn new(withdraw_after: Duration) -> Self {
        Self { withdraw_after_ms: ms(withdraw_after), heard_ms: None, contact: Contact::Fresh }
    }

    pub(crate) const fn contact(&self) -> Contact {
        self.contact
    }

    /// A replica that has all that was applied here says where it is. What was before, when it is
    /// another contact now.
    pub(crate) fn heard(&mut self, now_ms: u64) -> Option<Contact> {
        self.heard_ms = Some(now_ms);
        self.turn(Contact::Fresh)
    }

    /// A replica was heard ever.
    pub(crate) const fn is_heard(&self) -> bool {
        self.heard_ms.is_some()
    }

    /// Looks at the clock. What was before, when it is another contact now.
    pub(crate) fn look(&mut self, now_ms: u64) -> Option<Contact> {
        let silent_ms = self.silent_ms(now_ms);
        let now = if silent_ms >= self.withdraw_after_ms {
            Contact::Withdrawn
        } else if silent_ms >= ms(limits::STALE_AFTER) {
            Contact::Stale
        } else {
            Contact::Fresh
        };
        // Only who is heard is fresh again.
        self.turn(now.max(self.contact))
    }

    /// Since when nobody has been heard; 0 before the first.
    pub(crate) fn silent_ms(&self, now_ms: u64) -> u64 {
        self.heard_ms.map_or(0, |heard_ms| now_ms.saturating_sub(heard_ms))
    }

    /// When to look again.
    pub(crate) fn next_look_ms(&self) -> Option<u64> {
        let after_ms = match self.contact {
            Contact::Fresh => ms(limits::STALE_AFTER),
            Contact::Stale => self.withdraw_after_ms,
            Contact::Withdrawn => return None,
        };
        self.heard_ms.map(|heard_ms| heard_ms.saturating_add(after_ms))
    }

    fn turn(&mut self, contact: Contact) -> Option<Contact> {
        let before = std::mem::replace(&mut self.contact, contact);
        (before != contact).then_some(before)
    }
}

/// Says that it is another contact now.
pub(crate) fn tell(before: Contact, contact: Contact, silent_ms: u64) {
    let silent_secs = silent_ms / 1000;
    match contact {
        Contact::Fresh if before == Contact::Fresh => {}
        Contact::Fresh => {
            tracing::info!(?before, "the store is heard again");
        }
        Contact::Stale => tracing::error!(
            silent_secs,
            "ALARM: no store is heard, the table is stale; bindings go on until their own ends"
        ),
        Contact::Withdrawn => tracing::error!(
            silent_secs,
            "ALARM: no store has been heard for headless_secs, this forwarder withdraws"
        ),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hears_nobody_is_stale_then_withdraws_and_is_back_with_the_first_word() {
        let mut headless = Headless::new(Duration::from_secs(60));
        assert_eq!(headless.next_look_ms(), None, "there is nothing to be stale");
        assert_eq!(headless.look(1_000_000), None);
        assert_eq!(headless.heard(1_000_000), None);
        let stale_ms = 1_000_000 + ms(limits::STALE_AFTER);
        assert_eq!(headless.next_look_ms(), Some(stale_ms));
        assert_eq!(headless.look(stale_ms - 1), None);
        assert_eq!(headless.look(stale_ms), Some(Contact::Fresh));
        assert_eq!(headless.contact(), Contact::Stale);
        assert_eq!(headless.next_look_ms(), Some(1_060_000));
        assert_eq!(headless.look(1_059_999), None);
        assert_eq!(headless.look(1_060_000), Some(Contact::Stale));
        assert_eq!((headless.contact(), headless.next_look_ms()), (Contact::Withdrawn, None));
        assert_eq!(headless.silent_ms(1_070_000), 70_000);
        assert_eq!(headless.heard(1_070_000), Some(Contact::Withdrawn));
        assert_eq!(headless.contact(), Contact::Fresh);
        assert_eq!(headless.silent_ms(1_070_000), 0);
        assert_eq!(headless.look(1_200_000), Some(Contact::Fresh), "both at once");
        assert_eq!(headless.contact(), Contact::Withdrawn);
    }
}
