//! Step 20: Duplicate Address Detection before the first binding of a home address (RFC 6275
//! §10.3.1). It takes a second; Binding Updates that come meanwhile have higher sequence numbers, and
//! only the newest is answered.

use homeport_wire::BuFlags;

use crate::cache::{BindingCache, Change};
use crate::command::{Registration, WireSource};
use crate::home::Home;
use crate::limits;
use crate::probe::Probe;
use crate::record::HomePrefix;
use crate::verdict::{Outcome, Silence, Verdict};

/// How a Binding Update goes on that the rules accept.
#[derive(PartialEq, Eq)]
pub(super) enum Detection {
    /// As the rules say.
    Passed,
    /// Somebody else has the address.
    Duplicate,
    /// Not before the defender of the home link has looked.
    Pending,
}

impl BindingCache {
    /// The Binding Update that a probe is for: it was checked when it came first.
    pub(super) fn awaits_probe(&self, r: &Registration) -> bool {
        let probe = self.home(r.home_address).and_then(|home| home.probe.as_ref());
        probe.is_some_and(|probe| probe.request_id == r.request_id)
    }

    /// Of a Binding Update whose sequence number is in order: ends the probe that there is, starts one
    /// or takes it over. `is_registered`: the rules would leave a binding.
    pub(super) fn detect(
        &mut self,
        r: &Registration,
        prefix: &HomePrefix,
        home: &mut Home,
        is_registered: bool,
    ) -> Detection {
        let before = home.probe.take();
        if let Some(older) = before.as_ref().filter(|probe| probe.request_id != r.request_id) {
            let outcome = Outcome::Silent(Silence::Superseded);
            let verdict = Verdict { revision: self.revision(), outcome, esp: None };
            home.remembered.remember(older.request_id, &verdict);
        }
        let mut detection = Detection::Passed;
        if is_registered && is_due(r, prefix, home) {
            let link_local = r.flags.contains(BuFlags::LINK_LOCAL);
            detection = match before.as_ref().and_then(|probe| probe.result(link_local)) {
                Some(true) => Detection::Duplicate,
                Some(false) => Detection::Passed,
                None => {
                    let request_id = r.request_id;
                    home.probe = Some(Probe { request_id, link_local, verdict: None });
                    Detection::Pending
                }
            };
        }
        if home.probe != before {
            // Who is at it again and again is still there: the record lives on for it.
            home.forget = Some(self.now().after(limits::MAX_DELETE_BCE_TIMEOUT));
            home.revision = self.revision();
            self.changed(Change::Home(r.home_address));
        }
        detection
    }
}

impl Probe {
    /// Whether somebody else has the address, if that is known. A link-local address that nobody
    /// looked for may still be somebody's.
    fn result(&self, link_local: bool) -> Option<bool> {
        self.verdict.filter(|duplicate| *duplicate || self.link_local || !link_local)
    }
}

/// Only a first binding, and not of a mobile node that is on the home link: it has the address itself.
fn is_due(r: &Registration, prefix: &HomePrefix, home: &Home) -> bool {
    let is_on_link = prefix.real_home_link && prefix.prefix.contains(r.home_address);
    let is_home = r.source == WireSource::Ipv6(r.home_address)
        || (!r.bids.is_empty() && r.bids.iter().all(|option| option.home));
    is_on_link && !is_home && home.bindings.is_empty()
}
