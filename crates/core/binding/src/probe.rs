//! Duplicate Address Detection (RFC 6275 §10.3.1) as replicated state: the home link's defender is
//! asked by the feed, and says by a command what it found.

use core::net::Ipv6Addr;

use crate::cache::{BindingCache, Change};
use crate::command::RequestId;
use crate::home::Home;
use crate::verdict::Outcome;

/// Duplicate Address Detection for the first binding of a home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The Binding Update that waits for it: the newest one.
    pub request_id: RequestId,
    /// L: the link-local address is looked for as well (RFC 6275 §6.1.7).
    pub link_local: bool,
    /// Whether somebody else has the address; `None` until the defender has said so.
    pub verdict: Option<bool>,
}

/// What the defender of a home link found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detected {
    /// The address looked for.
    pub home_address: Ipv6Addr,
    /// The Binding Update that the probe was for.
    pub request_id: RequestId,
    /// Somebody else has the address.
    pub duplicate: bool,
}

impl Home {
    /// The defender of the home link is asked to look for another node with this home address.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.verdict.is_none())
    }
}

impl BindingCache {
    /// A result that nobody waits for any more is no fault of who found it.
    pub(crate) fn detected(&mut self, found: Detected) -> Outcome {
        let Some(mut home) = self.take_home(found.home_address) else {
            return Outcome::Done;
        };
        let awaited = home
            .probe
            .as_mut()
            .filter(|probe| probe.request_id == found.request_id && probe.verdict.is_none());
        if let Some(probe) = awaited {
            probe.verdict = Some(found.duplicate);
            home.revision = self.revision();
            self.changed(Change::Home(found.home_address));
        }
        self.put_home(found.home_address, home);
        Outcome::Done
    }
}
