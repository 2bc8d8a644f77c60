//! Writes without pause: so many are in flight, and what is acknowledged goes into the ledger.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{SubmitRequest, submit_response};
use homeport_binding::{Command, Outcome, Verdict};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::ledger::{Ledger, Write};

/// Commands in flight.
const IN_FLIGHT: usize = 128;
/// Before the next replica is asked.
const PAUSE: Duration = Duration::from_millis(10);
/// A replica that does not take a connection in this time, or says nothing for as long, is left.
const PATIENCE: Duration = Duration::from_millis(500);

/// The task; it ends when this is dropped.
pub(crate) struct Writers {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Writers {
    /// Starts to write to whichever of the replicas leads.
    pub(crate) fn start(
        addresses: &[SocketAddr],
        ledger: Ledger,
        policy_revisions: (u64, u64),
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let writer = Writer { addresses: addresses.to_vec(), ledger, policy_revisions };
        Self { stop, task: tokio::spawn(writer.run(stopped)) }
    }

    /// Ends it. What is in flight has no outcome.
    ///
    /// # Errors
    /// When a replica has refused what it must take.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        (&mut self.task).await?
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Writer {
    addresses: Vec<SocketAddr>,
    ledger: Ledger,
    policy_revisions: (u64, u64),
}

impl Writer {
    async fn run(self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let mut at = 0;
        while !*stopped.borrow() {
            let leader = tokio::select! {
                leader = self.write_to(self.addresses[at]) => leader?,
                _ = stopped.changed() => break,
            };
            let named = self.addresses.iter().position(|address| Some(*address) == leader);
            at = named.unwrap_or((at + 1) % self.addresses.len());
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Writes to one replica for as long as it takes it; the leader that it names then.
    async fn write_to(&self, address: SocketAddr) -> Result<Option<SocketAddr>> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let Ok(channel) = endpoint.connect_timeout(PATIENCE).connect().await else {
            return Ok(None);
        };
        let (requests, outgoing) = mpsc::channel(IN_FLIGHT);
        let mut client = BindingStoreClient::new(channel);
        let asked = timeout(PATIENCE, client.submit(ReceiverStream::new(outgoing))).await;
        let Ok(Ok(responses)) = asked else { return Ok(None) };
        let mut responses = responses.into_inner();
        let mut sent = Vec::new();
        for _ in 0..IN_FLIGHT {
            self.send(&requests, &mut sent)?;
        }
        loop {
            let Ok(Ok(Some(response))) = timeout(PATIENCE, responses.message()).await else {
                return Ok(None);
            };
            match response.result {
                Some(submit_response::Result::Verdict(verdict)) => {
                    let write =
                        *sent.get(usize::try_from(response.ticket)?).context("no ticket")?;
                    accepted(write, Verdict::try_from(verdict)?)?;
                    self.ledger.acknowledge(write);
                }
                Some(submit_response::Result::NotLeader(other)) => {
                    return Ok(other.leader.parse().ok());
                }
                // Its home address is not written to again.
                Some(submit_response::Result::Unknown(_)) => {}
                Some(submit_response::Result::Overloaded(_)) => sleep(PAUSE).await,
                other => bail!("the store cannot take a command: {other:?}"),
            }
            self.send(&requests, &mut sent)?;
        }
    }

    fn send(&self, requests: &mpsc::Sender<SubmitRequest>, sent: &mut Vec<Write>) -> Result<()> {
        let write = self.ledger.next();
        let ticket = u64::try_from(sent.len())?;
        sent.push(write);
        let command = Command::Register(write.registration(self.policy_revisions));
        let command = Some(command.into());
        // The stream has ended when it is not taken; the next response says so.
        drop(requests.try_send(SubmitRequest { ticket, command, ..SubmitRequest::default() }));
        Ok(())
    }
}

/// Each home address has one command under way, with the next sequence number: the store takes it.
fn accepted(write: Write, verdict: Verdict) -> Result<()> {
    match verdict.outcome {
        Outcome::Answer(answer) => {
            ensure!(answer.status.is_accepted(), "{write:?} was refused: {answer:?}");
            ensure!(answer.bid_statuses.iter().all(|it| it.is_accepted()), "{write:?}: {answer:?}");
            Ok(())
        }
        other => bail!("{write:?} was not acknowledged: {other:?}"),
    }
}
