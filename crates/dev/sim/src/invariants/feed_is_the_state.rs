//! What a subscriber holds at a revision is the state of that revision (design, section 1).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use homeport_api::binding::Home;
use homeport_api::convert::home_message;
use homeport_wire::Sequence;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct FeedIsTheState {
    /// What subscribers should see of each home address from which revision on.
    seen: BTreeMap<Ipv6Addr, Vec<(u64, Option<Home>)>>,
}

impl Invariant for FeedIsTheState {
    fn name(&self) -> &'static str {
        "feed_is_the_state"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Applied(applied) => {
                for address in self.seen.keys().copied().collect::<Vec<_>>() {
                    if applied.after.home(address).is_none() {
                        self.note(address, applied.index, None);
                    }
                }
                for (address, home) in applied.after.homes_after(None) {
                    let bound = !home.bindings.is_empty();
                    self.note(address, applied.index, bound.then(|| visible(address, home)));
                }
                Ok(())
            }
            Event::Feed { subscriber, revision, homes } => {
                for (address, history) in &self.seen {
                    let at = history.partition_point(|(from, _)| from <= revision);
                    let expected = at.checked_sub(1).and_then(|at| history.get(at));
                    let expected = expected.and_then(|(_, home)| home.as_ref());
                    if homes.get(address) != expected {
                        let held = homes.get(address);
                        return Err(format!(
                            "subscriber {subscriber} holds at {revision} of {address} {held:?}, the store \
                             {expected:?}"
                        ));
                    }
                }
                let unknown = homes.keys().find(|address| !self.seen.contains_key(address));
                match unknown {
                    Some(address) => Err(format!("subscriber {subscriber} knows of {address}")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl FeedIsTheState {
    fn note(&mut self, address: Ipv6Addr, index: u64, home: Option<Home>) {
        let history = self.seen.entry(address).or_default();
        if history.last().is_none_or(|(_, last)| *last != home) {
            history.push((index, home));
        }
    }
}

/// As the feed shows it: without what moves and is no change.
fn visible(address: Ipv6Addr, home: &homeport_binding::Home) -> Home {
    let mut home = home.clone();
    home.sequence = Sequence::default();
    home.forget = None;
    home.remembered.clear();
    (home.notice, home.advertisement) = (None, None);
    home_message(address, home)
}
