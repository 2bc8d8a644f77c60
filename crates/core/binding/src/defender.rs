//! Who defends a home link: one forwarder at a time, by a lease that it keeps renewing.

use alloc::format;
use alloc::string::String;
use core::net::Ipv6Addr;

use crate::cache::BindingCache;
use crate::home::Bindings;
use crate::limits;
use crate::prefix::Ipv6Prefix;
use crate::time::LogTime;
use crate::verdict::{Outcome, RefusalKind};

/// A forwarder that stands for the home agent on a home link: it answers for mobile nodes that are
/// away (RFC 6275 §10.4.1), looks for duplicates and advertises.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Defender {
    /// The home prefix of the link.
    pub prefix: Ipv6Prefix,
    /// Its name, at most [`limits::FORWARDER_NAME_LEN_MAX`] octets.
    pub forwarder: String,
    /// First moment at which it no longer is.
    pub ends: LogTime,
}

impl BindingCache {
    /// Takes the lease of a home link, or renews it.
    pub(crate) fn defend_home_link(&mut self, prefix: Ipv6Prefix, forwarder: String) -> Outcome {
        let Some(record) = self.home_prefix(prefix).map(|prefix| &prefix.record) else {
            let message = format!("no home prefix {prefix}; there are: {}", self.prefix_names());
            return Outcome::refused(RefusalKind::NotFound, "prefix", message);
        };
        if !record.real_home_link {
            let message = format!("the home prefix {prefix} has no link to defend");
            return Outcome::refused(RefusalKind::Invalid, "prefix", message);
        }
        let len = forwarder.len();
        if !(1..=limits::FORWARDER_NAME_LEN_MAX).contains(&len) {
            let max = limits::FORWARDER_NAME_LEN_MAX;
            let message = format!("{len} octets; expected 1..={max}");
            return Outcome::refused(RefusalKind::Invalid, "forwarder", message);
        }
        let now = self.now();
        let other = self.defender(prefix).filter(|holder| holder.forwarder != forwarder);
        if let Some(other) = other {
            let message = format!("{} defends the link of {prefix}", other.forwarder);
            return Outcome::refused(RefusalKind::InUse, "forwarder", message);
        }
        let ends = now.after(limits::HOME_LINK_LEASE);
        self.defenders.insert(prefix, Defender { prefix, forwarder, ends });
        Outcome::Done
    }

    /// Gives the lease of a home link back, if this forwarder has it.
    pub(crate) fn release_home_link(&mut self, prefix: Ipv6Prefix, forwarder: &str) -> Outcome {
        let holder = self.defenders.get(&prefix);
        if holder.is_some_and(|holder| holder.forwarder == forwarder) {
            self.defenders.remove(&prefix);
        }
        Outcome::Done
    }

    /// The real home link whose defender leaves a home address to its mobile node by this outcome of a
    /// Binding Update: it is accepted, and there is no binding now, or a home binding (RFC 6275 §10.3.2,
    /// RFC 5648 §5.6). The mobile node that hears of that speaks for the address itself.
    #[must_use]
    pub fn home_link_left_to(
        &self,
        home_address: Ipv6Addr,
        outcome: &Outcome,
    ) -> Option<Ipv6Prefix> {
        let is_accepted = matches!(outcome, Outcome::Answer(answer) if answer.status.is_accepted());
        let record = &self.serving_prefix(home_address)?.record;
        let bindings = self.home(home_address).map(|home| &home.bindings);
        let is_away = |bindings: &Bindings| {
            !bindings.is_empty() && bindings.values().all(|binding| binding.home.is_none())
        };
        let is_left = is_accepted && record.real_home_link && !bindings.is_some_and(is_away);
        is_left.then_some(record.prefix)
    }

    /// Who defends a home link now.
    #[must_use]
    pub fn defender(&self, prefix: Ipv6Prefix) -> Option<&Defender> {
        self.defenders.get(&prefix).filter(|holder| holder.ends > self.now())
    }

    /// A home prefix was written or deleted: without a link there is nothing to defend.
    pub(crate) fn drop_void_lease(&mut self, prefix: Ipv6Prefix) {
        let is_real = |cache: &Self| Some(cache.home_prefix(prefix)?.record.real_home_link);
        if is_real(self) != Some(true) {
            self.defenders.remove(&prefix);
        }
    }
}
