//! The stream of binding changes, from whichever replica gives it.

use std::{future::Future, time::Duration};

use homeport_api::feed::{
    ReportNodeRequest, WatchRequest, WatchResponse, binding_feed_client::BindingFeedClient,
};
use homeport_api::node::NodeInfo;
use homeport_tls::Way;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};
use tonic::{Status, transport::Channel};

use crate::{backoff::Backoff, config::Peer, limits};

/// What the engine learns from the feed, in order.
#[derive(Debug)]
pub(crate) enum FeedEvent {
    /// A stream is about to begin: what an earlier one began to say is void. After which revision
    /// shall it begin?
    Begins {
        /// Where the answer goes.
        after: oneshot::Sender<u64>,
    },
    /// A message of the stream.
    Message(Box<WatchResponse>),
    /// The stream is lost.
    Lost,
}

/// How many changes a message brings.
pub(crate) fn changes_in(message: &WatchResponse) -> u64 {
    let changes = message.home_prefixes.len() + message.homes.len() + message.correspondents.len();
    u64::try_from(changes).unwrap_or(u64::MAX)
}

/// Follows one replica after the other, for ever, and tells it when this forwarder is `drained`.
pub(crate) async fn follow(
    stores: Vec<Peer>,
    way: Way,
    name: String,
    out: mpsc::Sender<FeedEvent>,
    mut drained: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::default();
    // Forwarders begin at different replicas, so that the load spreads.
    let first = rand::random_range(0..stores.len().max(1));
    for store in stores.iter().cycle().skip(first) {
        let (address, _) = store;
        let drained = &mut drained;
        let (name, way, out) = (name.as_str(), &way, &out);
        let mut stream = Stream { store, way, name, out, drained, proven: false };
        let Err(end) = stream.follow().await;
        let proven = stream.proven;
        if matches!(end, End::EngineGone) || out.send(FeedEvent::Lost).await.is_err() {
            return;
        }
        tracing::warn!(%address, reason = %end, "binding feed lost, the next store is asked");
        if proven {
            backoff.reset();
        }
        backoff.pause().await;
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("no connection: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{0}")]
    Status(#[from] Status),
    #[error("it was closed")]
    Closed,
    #[error("nothing for {} ms", limits::FEED_SILENCE_MAX.as_millis())]
    Silent,
    #[error(
        "its revision {reached} is behind {applied}, which was applied here; if the store was set \
             up anew, restart the forwarder"
    )]
    Behind { reached: u64, applied: u64 },
    #[error("the forwarder is ending")]
    EngineGone,
}

/// One attempt at one replica.
struct Stream<'f> {
    store: &'f Peer,
    way: &'f Way,
    name: &'f str,
    out: &'f mpsc::Sender<FeedEvent>,
    drained: &'f mut watch::Receiver<bool>,
    /// Something useful came.
    proven: bool,
}

impl Stream<'_> {
    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let (address, endpoint) = self.store;
        let channel = in_time(limits::CONNECT_TIMEOUT, self.way.connect(endpoint)).await??;
        let mut client = BindingFeedClient::new(channel)
            .max_decoding_message_size(limits::FEED_MESSAGE_OCTETS_MAX);
        let (after, answer) = oneshot::channel();
        // The engine answers after all that waits in the queue, so nothing is asked for twice.
        self.send(FeedEvent::Begins { after }).await?;
        let applied = answer.await.map_err(|_| End::EngineGone)?;
        let (subscriber, node) = (self.name.to_owned(), Some(self.who()));
        let request = WatchRequest { after_revision: applied, subscriber, node };
        let opened = in_time(limits::STREAM_TIMEOUT, client.watch(request)).await??;
        let mut messages = opened.into_inner();
        tracing::info!(%address, revision = applied, "binding feed");

        let begun = Instant::now();
        loop {
            // Cancel-safe: a message comes whole or not at all.
            let next = async {
                loop {
                    tokio::select! {
                        message = messages.message() => return message,
                        Ok(()) = self.drained.changed() => self.report(&mut client).await,
                    }
                }
            };
            let message = in_time(limits::FEED_SILENCE_MAX, next).await??.ok_or(End::Closed)?;
            let reached = message.revision;
            if reached >= applied && reached > 0 {
                self.proven = true;
            }
            let behind = !self.proven && reached > 0;
            if behind && begun.elapsed() > limits::FEED_BEHIND_MAX {
                return Err(End::Behind { reached, applied });
            }
            self.send(FeedEvent::Message(Box::new(message))).await?;
        }
    }

    /// Who this is, and whether it is drained.
    fn who(&mut self) -> NodeInfo {
        let (name, version) = (self.name.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let drained = *self.drained.borrow_and_update();
        NodeInfo { name, version, drained, drains: true, ..NodeInfo::default() }
    }

    async fn report(&mut self, client: &mut BindingFeedClient<Channel>) {
        let report = ReportNodeRequest { node: Some(self.who()) };
        if let Err(error) = client.report_node(report).await {
            tracing::warn!(%error, "the store does not know how far the drain is");
        }
    }

    async fn send(&self, event: FeedEvent) -> Result<(), End> {
        self.out.send(event).await.map_err(|_| End::EngineGone)
    }
}

async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, End> {
    timeout(limit, future).await.map_err(|_| End::Silent)
}
