//! A subscriber of the binding feed: it keeps what it was told as a forwarder does, and goes from replica
//! to replica.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use homeport_api::binding::Home;
use homeport_api::convert::ipv6;
use homeport_api::feed::binding_feed_client::BindingFeedClient;
use homeport_api::feed::{HomeChange, WatchRequest, WatchResponse};
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::bugs::Bug;
use crate::chance::Chance;
use crate::checks::{Checks, Event};
use crate::host::Main;
use crate::net::{HostId, Net};
use crate::servers::store_address;
use crate::trace::Trace;

/// A stream that is silent for so long is left.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// A replica that is behind for so long is left.
const BEHIND_MAX: Duration = Duration::from_millis(1500);

type Homes = BTreeMap<Ipv6Addr, Home>;

/// What a subscriber needs.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) id: usize,
    pub(crate) replicas: u64,
    pub(crate) host: HostId,
    pub(crate) seed: u64,
    pub(crate) net: Net,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) bug: Option<Bug>,
}

/// What it holds.
#[derive(Default)]
struct Held {
    homes: Homes,
    /// 0 before the first.
    revision: u64,
    /// A snapshot that is not whole yet, or not as new as what is held.
    staged: Option<Homes>,
    /// How far this stream went.
    streamed: u64,
}

impl Subscriber {
    /// The process. What it held is gone when it starts again.
    pub(crate) fn main(&self) -> Main {
        let this = self.clone();
        Box::pin(async move {
            let mut chance = Chance::new(this.seed, &format!("subscriber {}", this.id));
            let mut held = Held::default();
            loop {
                let node_id = chance.range(1, this.replicas + 1);
                let stay = Duration::from_millis(chance.range(300, 6000));
                let address = store_address(node_id).to_string();
                this.trace.event(&format!(
                    "subscriber {} goes to replica {node_id} with {}",
                    this.id, held.revision
                ));
                let followed = this.follow(&address, &mut held);
                drop(timeout(stay, followed).await);
                tokio::time::sleep(Duration::from_millis(chance.range(1, 60))).await;
            }
        })
    }

    /// Follows one replica until there is a reason not to.
    async fn follow(&self, address: &str, held: &mut Held) -> Option<()> {
        (held.staged, held.streamed) = (None, 0);
        let skipped = u64::from(self.bug == Some(Bug::FeedSkip) && held.revision > 0);
        let after_revision = held.revision + skipped;
        let subscriber = format!("subscriber {}", self.id);
        let channel = {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
            let dial = self.net.dial(self.host);
            dial(&endpoint.connect_timeout(Duration::from_millis(500)))
        };
        let request = WatchRequest { after_revision, subscriber, node: None };
        let mut client = BindingFeedClient::new(channel);
        let watched = client.watch(request);
        let mut messages = timeout(SILENCE_MAX, watched).await.ok()?.ok()?.into_inner();
        let begun = Instant::now();
        loop {
            let message = timeout(SILENCE_MAX, messages.message()).await.ok()?.ok()??;
            self.take(held, message);
            if held.streamed < held.revision && begun.elapsed() > BEHIND_MAX {
                return None;
            }
        }
    }

    fn take(&self, held: &mut Held, message: WatchResponse) {
        let reached = message.revision;
        if message.snapshot_begin {
            held.staged = Some(Homes::new());
        }
        let is_behind = reached > 0 && reached < held.revision;
        if reached > 0 {
            // Within a stream nothing goes back.
            if reached < held.streamed {
                self.see(reached, &held.homes);
            }
            held.streamed = reached;
        }
        if is_behind && held.staged.is_none() {
            return;
        }
        let homes = held.staged.as_mut().unwrap_or(&mut held.homes);
        for change in message.homes {
            let HomeChange { home_address, home } = change;
            let Ok(address) = ipv6(&home_address, "home_address") else { continue };
            match home.filter(|home| !home.bindings.is_empty()) {
                Some(home) => drop(homes.insert(address, home)),
                None => drop(homes.remove(&address)),
            }
        }
        if reached == 0 || is_behind {
            return;
        }
        if let Some(staged) = held.staged.take() {
            held.homes = staged;
        }
        held.revision = reached;
        self.checks.subscriber_reached(self.id, reached);
        self.see(reached, &held.homes);
    }

    fn see(&self, revision: u64, homes: &Homes) {
        self.checks.see(&Event::Feed { subscriber: self.id, revision, homes });
    }
}
