//! Commands to the store's leader. The link follows it; each command may come twice, and says the same then.

use std::collections::BTreeMap;

use homeport_api::batches::{Batch as _, submit};
use homeport_api::store::{
    SubmitRequest, SubmitResponse, binding_store_client::BindingStoreClient,
    submit_response::Result as Reply,
};
use homeport_binding::{Command, Outcome, Verdict};
use homeport_tls::Way;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use crate::{config, limits};

/// The way to the leader.
pub(crate) struct Writer {
    stores: BTreeMap<String, Endpoint>,
    way: Way,
    round: usize,
    link: Option<Link>,
}

/// A stream to one replica.
struct Link {
    requests: mpsc::Sender<SubmitRequest>,
    responses: Streaming<SubmitResponse>,
    address: String,
    next_ticket: u64,
}

/// Why a replica is left: for the leader at this address, or for any other.
struct Left(Option<String>);

/// No replica has taken the commands.
#[derive(Debug, thiserror::Error)]
#[error("no store has taken what the IKE daemon has negotiated")]
pub(crate) struct Unreachable;

impl Writer {
    pub(crate) fn new(stores: BTreeMap<String, Endpoint>, way: Way) -> Self {
        Self { stores, way, round: 0, link: None }
    }

    /// The outcomes, in the order of the commands; those of more than [`limits::COMMANDS_MAX`] are written one
    /// part after the other.
    pub(crate) async fn write(
        &mut self,
        commands: Vec<Command>,
    ) -> Result<Vec<Outcome>, Unreachable> {
        let mut outcomes = Vec::with_capacity(commands.len());
        for part in commands.chunks(limits::COMMANDS_MAX) {
            outcomes.extend(self.write_part(part).await?);
        }
        Ok(outcomes)
    }

    async fn write_part(&mut self, commands: &[Command]) -> Result<Vec<Outcome>, Unreachable> {
        // Each replica twice: the first round may only have told who leads.
        for _ in 0..self.stores.len().saturating_mul(2) {
            let mut link = match self.link.take() {
                Some(link) => link,
                None => match self.connect(None).await {
                    Some(link) => link,
                    None => continue,
                },
            };
            let asked = timeout(limits::WRITE_TIMEOUT, link.ask(commands)).await;
            match asked.unwrap_or(Err(Left(None))) {
                Ok(outcomes) => {
                    self.link = Some(link);
                    return Ok(outcomes);
                }
                Err(Left(None)) => {}
                Err(Left(Some(leader))) => self.link = self.connect(Some(leader)).await,
            }
            tokio::time::sleep(limits::WRITE_PAUSE).await;
        }
        Err(Unreachable)
    }

    /// To the replica at this address, or to the next one.
    async fn connect(&mut self, leader: Option<String>) -> Option<Link> {
        let address = leader.or_else(|| {
            let place = self.round.checked_rem(self.stores.len())?;
            self.round = self.round.wrapping_add(1);
            self.stores.keys().nth(place).cloned()
        })?;
        // A leader that joined after this process started is dialled by the address it gives.
        let endpoint = match self.stores.get(&address) {
            Some(endpoint) => endpoint.clone(),
            None => config::endpoint(&address).ok()?,
        };
        let (requests, outgoing) = mpsc::channel(limits::COMMANDS_MAX);
        let connect = async {
            let mut client = BindingStoreClient::new(self.way.connect(&endpoint).await.ok()?);
            submit(&mut client, ReceiverStream::new(outgoing)).await.ok()
        };
        let responses = timeout(limits::CONNECT_TIMEOUT, connect).await.ok()??;
        Some(Link { requests, responses, address, next_ticket: 1 })
    }
}

impl Link {
    async fn ask(&mut self, commands: &[Command]) -> Result<Vec<Outcome>, Left> {
        let first = self.next_ticket;
        for command in commands {
            let ticket = self.next_ticket;
            self.next_ticket = ticket.wrapping_add(1);
            let command = Some(command.clone().into());
            let request = SubmitRequest { ticket, command, ..SubmitRequest::default() };
            self.requests.send(request).await.map_err(|_closed| Left(None))?;
        }
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < commands.len() {
            let message = self.responses.message().await.ok().flatten().ok_or(Left(None))?;
            for response in message.split() {
                let ticket = response.ticket;
                // Of no ticket, or of one before.
                if ticket < first {
                    continue;
                }
                match response.result {
                    Some(Reply::Verdict(verdict)) => {
                        let verdict = Verdict::try_from(verdict).map_err(|error| {
                            tracing::warn!(%error, "the store's verdict cannot be read");
                            Left(None)
                        })?;
                        outcomes.insert(ticket, verdict.outcome);
                    }
                    Some(Reply::NotLeader(other)) => {
                        let other = Some(other.leader);
                        return Err(Left(other.filter(|it| !it.is_empty() && *it != self.address)));
                    }
                    Some(Reply::Invalid(error)) => {
                        tracing::warn!(%error, "the store cannot take a command");
                        return Err(Left(None));
                    }
                    _ => return Err(Left(None)),
                }
            }
        }
        Ok(outcomes.into_values().collect())
    }
}
