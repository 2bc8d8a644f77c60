//! Who defends a home link: the forwarder that holds its lease in the store.

use std::time::Duration;

use homeport_binding::{Command, Ipv6Prefix, Outcome, limits::HOME_LINK_LEASE};
use homeport_runtime::clock::Monotonic;
use tokio::{sync::mpsc, time::sleep};

use crate::{limits, store::Store};

/// This forwarder holds the lease of a home link until then, on the clock given to [`keep`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) prefix: Ipv6Prefix,
    pub(crate) until_ms: u64,
}

/// Takes the lease when it is free and renews it, for ever.
///
/// The store counts the lease from when it applied the command, and this node from when it sent it,
/// less a margin: so this node stops before the lease runs out. Where it is given back early, whoever
/// takes it hears on the link whether this node still answers.
pub(crate) async fn keep(
    store: Store,
    prefix: Ipv6Prefix,
    forwarder: String,
    clock: Monotonic,
    news: mpsc::Sender<Held>,
) {
    let mut holds = false;
    loop {
        let sent_ms = clock.now_ms();
        let forwarder = forwarder.clone();
        let asked = store.ask(Command::DefendHomeLink { prefix, forwarder }).await;
        let outcome = asked.outcome().await;
        let held = match &outcome {
            Some(Outcome::Done) => Some(sent_ms.saturating_add(millis(HELD))),
            Some(_) => Some(0),
            // It runs out, unless a renewal comes through in time.
            None => None,
        };
        if let Some(until_ms) = held {
            if holds != (until_ms > 0) {
                tracing::info!(%prefix, holds = until_ms > 0, "lease of the home link");
            }
            holds = until_ms > 0;
            if news.send(Held { prefix, until_ms }).await.is_err() {
                return;
            }
        }
        if held.is_some() {
            // The leader keeps who is refused waiting for about as long: it hears of a free link at once.
            let due_ms = sent_ms.saturating_add(millis(limits::LEASE_RENEWAL));
            sleep(Duration::from_millis(due_ms.saturating_sub(clock.now_ms()))).await;
        } else {
            sleep(limits::LEASE_RETRY).await;
        }
    }
}

/// Counted from when it was asked for.
const HELD: Duration = HOME_LINK_LEASE.saturating_sub(limits::LEASE_MARGIN);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
