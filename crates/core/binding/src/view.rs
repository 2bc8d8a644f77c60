//! A look at subscribers and home addresses that takes its time: the state goes on changing, and it does not
//! see that.

use core::cmp::Ordering;
use core::net::Ipv6Addr;

use crate::cache::{BindingCache, SubscriberEntry, start_after};
use crate::home::Home;
use crate::pages::Pages;
use crate::record::{Revised, Subscriber};
use crate::time::LogTime;

/// Subscribers and home addresses of one revision. It costs next to nothing to make; while it is there,
/// each page that changes is copied once.
#[derive(Clone)]
pub struct View {
    /// Newest log time.
    pub now: LogTime,
    /// The log index that it is of.
    pub revision: u64,
    subscribers: Pages<SubscriberEntry>,
    homes: Pages<Home>,
}

/// What is known of one home address: a subscriber, bindings, or both.
#[derive(Clone, Copy, Debug)]
pub struct Known<'v> {
    /// The home address.
    pub home_address: Ipv6Addr,
    /// The subscriber's record.
    pub subscriber: Option<&'v Revised<Subscriber>>,
    /// Bindings, or a tombstone.
    pub home: Option<&'v Home>,
}

impl BindingCache {
    /// Subscribers and home addresses as they are now.
    #[must_use]
    pub fn view(&self) -> View {
        let (subscribers, homes) = (self.subscribers.clone(), self.homes.clone());
        View { now: self.now, revision: self.revision, subscribers, homes }
    }
}

impl View {
    /// Subscribers in the order of their home addresses, those after `after` only.
    pub fn subscribers_after(
        &self,
        after: Option<Ipv6Addr>,
    ) -> impl Iterator<Item = &Revised<Subscriber>> {
        self.subscribers.from(start_after(after)).map(|(_, entry)| &entry.revised)
    }

    /// Home addresses in order, those after `after` only.
    pub fn homes_after(&self, after: Option<Ipv6Addr>) -> impl Iterator<Item = (Ipv6Addr, &Home)> {
        self.homes.from(start_after(after))
    }

    /// All that is known, in the order of home addresses, those after `after` only.
    pub fn known_after(&self, after: Option<Ipv6Addr>) -> impl Iterator<Item = Known<'_>> {
        let mut subscribers = self.subscribers.from(start_after(after)).peekable();
        let mut homes = self.homes.from(start_after(after)).peekable();
        core::iter::from_fn(move || {
            let order = match (subscribers.peek(), homes.peek()) {
                (Some((one, _)), Some((other, _))) => one.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let subscriber = if order.is_le() { subscribers.next() } else { None };
            let home = if order.is_ge() { homes.next() } else { None };
            let home_address = subscriber.map(|(it, _)| it).or(home.map(|(it, _)| it))?;
            let subscriber = subscriber.map(|(_, entry)| &entry.revised);
            Some(Known { home_address, subscriber, home: home.map(|(_, home)| home) })
        })
    }
}
