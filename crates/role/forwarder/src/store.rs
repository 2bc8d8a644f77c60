//! Commands to the store's leader: few, and each is asked again by who needs it.
//!
//! The link follows the leader. What has no outcome when a replica is left has none at all: a lease
//! that was not renewed in time is lost whatever the store says later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use homeport_api::{
    binding,
    store::{
        SubmitRequest, SubmitResponse, binding_store_client::BindingStoreClient,
        submit_response::Result as Reply,
    },
};
use homeport_binding::{Command, Outcome, Verdict};
use homeport_tls::Way;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    config::{self, Peer},
    limits,
};

/// Hands commands to the link.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    asks: mpsc::Sender<Ask>,
    settled: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct Ask {
    command: binding::Command,
    outcome: oneshot::Sender<Outcome>,
}

/// An outcome that may come.
#[derive(Debug)]
pub(crate) struct Asked {
    outcome: oneshot::Receiver<Outcome>,
    until: Instant,
}

impl Asked {
    /// `None` when it is not known: the command may have taken effect.
    pub(crate) async fn outcome(self) -> Option<Outcome> {
        tokio::time::timeout_at(self.until, self.outcome).await.ok()?.ok()
    }
}

impl Store {
    /// The handle, and the task to run.
    pub(crate) fn start(
        stores: Vec<Peer>,
        way: Way,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, asked) = mpsc::channel(limits::COMMANDS_WAITING_MAX);
        let (settled, to_tell) = watch::channel(0);
        let link = Link { stores, way, asked, to_tell, pending: BTreeMap::new(), next_ticket: 0 };
        (Self { asks, settled: Arc::new(settled) }, link.run())
    }

    /// Home links are as this revision wants them; 0 says nothing.
    pub(crate) fn settled(&self, revision: u64) {
        self.settled.send_if_modified(|settled| {
            let is_newer = *settled < revision;
            *settled = revision.max(*settled);
            is_newer
        });
    }

    /// Asks for a command; the outcome is waited for apart, so that many can be under way.
    pub(crate) async fn ask(&self, command: Command) -> Asked {
        let until = Instant::now() + limits::OUTCOME_TIMEOUT;
        let (outcome, receiver) = oneshot::channel();
        let ask = Ask { command: command.into(), outcome };
        // A link that is gone takes its receivers with it, which says that there is no outcome.
        drop(tokio::time::timeout_at(until, self.asks.send(ask)).await);
        Asked { outcome: receiver, until }
    }
}

struct Link {
    stores: Vec<Peer>,
    way: Way,
    asked: mpsc::Receiver<Ask>,
    /// The newest revision that home links have settled.
    to_tell: watch::Receiver<u64>,
    /// By ticket, which is the order in which they came.
    pending: BTreeMap<u64, (Instant, oneshot::Sender<Outcome>)>,
    next_ticket: u64,
}

/// Why a replica is left.
enum Left {
    /// Nobody asks any more.
    Done,
    /// For the leader at this address, or for any other replica.
    For(Option<String>),
}

impl Link {
    async fn run(mut self) {
        let mut next: usize = 0;
        let mut leader: Option<String> = None;
        loop {
            let peer = leader.take().and_then(|address| self.peer(&address)).or_else(|| {
                let peer = self.stores.get(next.checked_rem(self.stores.len())?).cloned();
                next = next.wrapping_add(1);
                peer
            });
            let Some(peer) = peer else { return };
            match self.serve(&peer).await {
                Left::Done => return,
                Left::For(hint) => leader = hint,
            }
            self.pending.clear();
            sleep(limits::RETRY_PAUSE_MIN).await;
        }
    }

    /// A leader that joined after this process started is dialled by the address that it gives.
    fn peer(&self, address: &str) -> Option<Peer> {
        let known = self.stores.iter().find(|(known, _)| known == address).cloned();
        known.or_else(|| match config::endpoint("stores", address) {
            Ok(endpoint) => Some((address.to_owned(), endpoint)),
            Err(error) => {
                tracing::warn!(%error, "a replica names a leader that cannot be dialled");
                None
            }
        })
    }

    /// Uses one replica for as long as it leads.
    async fn serve(&mut self, (address, endpoint): &Peer) -> Left {
        let (requests, outgoing) = mpsc::channel(limits::COMMANDS_WAITING_MAX);
        let connect = async {
            let channel = self.way.connect(endpoint).await.ok()?;
            let mut client = BindingStoreClient::new(channel);
            Some(client.submit(ReceiverStream::new(outgoing)).await.ok()?.into_inner())
        };
        match timeout(limits::CONNECT_TIMEOUT, connect).await {
            Ok(Some(responses)) => {
                tracing::debug!(%address, "store link");
                self.converse(address, &requests, responses).await
            }
            Ok(None) | Err(_) => Left::For(None),
        }
    }

    async fn converse(
        &mut self,
        address: &str,
        requests: &mpsc::Sender<SubmitRequest>,
        mut responses: Streaming<SubmitResponse>,
    ) -> Left {
        self.to_tell.mark_changed();
        loop {
            let stalled = sleep(self.until_stalled());
            // Cancel-safe: messages are taken whole or not at all.
            tokio::select! {
                ask = self.asked.recv() => match ask {
                    Some(ask) => if self.send(requests, ask).is_err() {
                        return Left::For(None);
                    },
                    None => return Left::Done,
                },
                Ok(()) = self.to_tell.changed() => {
                    let settled_revision = Some(*self.to_tell.borrow_and_update());
                    let told = SubmitRequest { settled_revision, ..SubmitRequest::default() };
                    if requests.try_send(told).is_err() {
                        return Left::For(None);
                    }
                }
                response = responses.message() => match response {
                    Ok(Some(response)) => if let Some(left) = self.settle(address, response) {
                        return left;
                    },
                    Ok(None) | Err(_) => return Left::For(None),
                },
                () = stalled => return Left::For(None),
            }
        }
    }

    /// A replica that has said nothing about something for so long is left.
    fn until_stalled(&self) -> Duration {
        let oldest = self.pending.values().next();
        oldest.map_or(limits::IDLE_PAUSE, |(since, _)| {
            limits::OUTCOME_TIMEOUT.saturating_sub(since.elapsed())
        })
    }

    fn send(&mut self, requests: &mpsc::Sender<SubmitRequest>, ask: Ask) -> Result<(), ()> {
        if ask.outcome.is_closed() {
            // It waited too long: who asked has given up.
            return Ok(());
        }
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        let command = Some(ask.command);
        // Full: this replica takes nothing.
        let request = SubmitRequest { ticket, command, ..SubmitRequest::default() };
        requests.try_send(request).map_err(|_full| ())?;
        self.pending.insert(ticket, (Instant::now(), ask.outcome));
        Ok(())
    }

    /// Takes note of a response; says where to go when this replica cannot serve.
    fn settle(&mut self, address: &str, response: SubmitResponse) -> Option<Left> {
        let pending = self.pending.remove(&response.ticket);
        match response.result {
            Some(Reply::Verdict(verdict)) => match Verdict::try_from(verdict) {
                Ok(verdict) => {
                    if let Some((_, outcome)) = pending {
                        // Who has given up needs no outcome.
                        drop(outcome.send(verdict.outcome));
                    }
                }
                Err(error) => tracing::warn!(%error, "the store's verdict cannot be read"),
            },
            Some(Reply::NotLeader(other)) => {
                let leader = Some(other.leader).filter(|l| !l.is_empty() && l != address);
                return Some(Left::For(leader));
            }
            Some(Reply::Invalid(error)) => {
                tracing::warn!(%error, "the store cannot take a command");
            }
            // Notices and drains are for front-ends.
            Some(Reply::Unknown(_) | Reply::Overloaded(_) | Reply::Notice(_) | Reply::Drain(_)) => {
            }
            None => return Some(Left::For(None)),
        }
        None
    }
}
