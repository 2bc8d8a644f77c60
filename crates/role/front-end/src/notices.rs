//! Notices to mobile nodes: the store says what is due, a forwarder sends the packet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use homeport_api::signalling::PuntResponse;
use homeport_binding::Dispatch;
use homeport_signalling::{Reply, ReplyKind, care_of_test, notify};
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::policies::{Freshness, Policies};
use crate::punt::response;

/// Streams of forwarders that packets can go to.
#[derive(Clone, Default)]
pub(crate) struct Forwarders {
    streams: Arc<Mutex<VecDeque<mpsc::WeakSender<PuntResponse>>>>,
}

impl Forwarders {
    pub(crate) fn add(&self, stream: &mpsc::Sender<PuntResponse>) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|other| other.strong_count() > 0);
        // The stream ends when its own task does, whatever is remembered here.
        streams.push_back(stream.downgrade());
    }

    /// Any will do; each time another, so that what is sent again goes another way.
    /// It is sent once the forwarder's table has reached the revision.
    fn give(&self, reply: Reply, revision: u64) -> Result<(), &'static str> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.strong_count() > 0);
        let mut unsent = response(0, reply, revision);
        let mut reason = "no_forwarder";
        for _ in 0..streams.len() {
            streams.rotate_left(1);
            let Some(stream) = streams.back().and_then(mpsc::WeakSender::upgrade) else { continue };
            unsent = match stream.try_send(unsent) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(unsent)) => {
                    reason = "forwarders_full";
                    unsent
                }
                Err(mpsc::error::TrySendError::Closed(unsent)) => unsent,
            };
        }
        Err(reason)
    }
}

/// Makes packets of notices, for as long as the store link lives.
pub(crate) async fn send(
    mut notices: mpsc::Receiver<Dispatch>,
    policies: Arc<Policies>,
    forwarders: Forwarders,
    metrics: Arc<Metrics>,
) {
    while let Some(dispatch) = notices.recv().await {
        if let Some(test) = care_of_test(&dispatch) {
            // The answer is believed where the binding is known.
            match forwarders.give(test, dispatch.revision) {
                Ok(()) => metrics.count_reply(ReplyKind::CareOfTest),
                Err(reason) => metrics.notices_dropped.count(reason),
            }
            continue;
        }
        let (home_address, home_agent) = (dispatch.home_address, dispatch.home_agent);
        // An old key would make a packet that nobody believes.
        let freshness = Freshness::AtLeast(dispatch.revision);
        let policy = policies.look_up(home_address, home_agent, freshness).await;
        let sent = match policy.as_ref().map(|policy| notify(&dispatch, policy, rand::random())) {
            Some(Ok(reply)) => {
                let kind = reply.kind;
                forwarders.give(reply, 0).map(|()| metrics.count_reply(kind))
            }
            Some(Err(reason)) => Err(reason.name()),
            None => Err("store_unreachable"),
        };
        if let Err(reason) = sent {
            tracing::debug!(reason, "notice dropped");
            metrics.notices_dropped.count(reason);
        }
    }
}
