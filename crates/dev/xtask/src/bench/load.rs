//! Closed loops: so many writes are in flight, and each that is acknowledged is followed by the next.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use homeport_api::batches::{Batch as _, submit};
use homeport_api::convert::ipv6_octets;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{SubmitRequest, submit_response};
use homeport_api::{binding, store};
use homeport_binding::{BidRequest, Command, Outcome, Verdict};
use homeport_tests::submit::{bid_request, registration};
use homeport_tests::updates::CARE_OF;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::etcd::{Etcd, put};
use super::latencies::Latencies;
use super::replicas::{Replicas, home_address};

/// Commands in flight on one stream: what a replica takes from one.
const PER_STREAM_MAX: u32 = 2500;
/// Connections of etcd's clients.
const ETCD_CONNECTIONS: usize = 16;
/// Before what etcd had no room for is sent again.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);
/// A write that takes so long is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a loop did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) latencies: Latencies,
    pub(crate) took: Duration,
}

impl Done {
    /// Acknowledged writes a second.
    pub(crate) fn per_second(&self) -> f64 {
        let count = u32::try_from(self.latencies.count()).unwrap_or(u32::MAX);
        f64::from(count) / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// The registrations of a benchmark: home addresses in turn, each with the next sequence number when it
/// is its turn again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes {
    /// Home addresses `first` to `first + count - 1`.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Registrations of these home addresses before.
    pub(crate) rounds_before: u16,
    /// With two BIDs each, in one Binding Update.
    pub(crate) bulk: bool,
    pub(crate) policy_revisions: (u64, u64),
}

/// When a loop ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    After(Duration),
    /// Each home address once.
    Round,
}

impl Writes {
    /// The `n`th.
    pub(crate) fn command(&self, n: u32) -> binding::Command {
        let round = u16::try_from(n / self.count).unwrap_or(u16::MAX);
        let sequence = self.rounds_before.wrapping_add(round).wrapping_add(1);
        let home = home_address(self.first + n % self.count);
        let request_id = u128::from(home) ^ u128::from(sequence) << 64;
        let mut registration = registration(home, sequence, request_id, self.policy_revisions);
        if self.bulk {
            registration.bids = [1, 2].map(bid).to_vec();
        }
        Command::Register(registration).into()
    }

    /// A share of them for each of so many streams.
    fn share(&self, of: u32, n: u32) -> Self {
        let count = self.count / of;
        Self { first: self.first + n * count, count, ..*self }
    }
}

/// Registrations straight to the leader, over as few streams as take them.
pub(crate) async fn register(
    replicas: &Replicas,
    writes: Writes,
    in_flight: u32,
    end: End,
) -> Result<Done> {
    let leader = replicas.leader().await?;
    let streams = in_flight.div_ceil(PER_STREAM_MAX);
    let mut clients = Vec::new();
    for n in 0..streams {
        let channel = replicas.channel(leader).await?;
        clients.push(Client::open(channel, writes.share(streams, n), in_flight / streams).await?);
    }
    let started = Instant::now();
    let tasks = clients.into_iter().map(|client| tokio::spawn(client.run(end)));
    let mut latencies = Latencies::default();
    for done in try_join_all(tasks).await? {
        latencies.add(done?);
    }
    Ok(Done { latencies, took: started.elapsed() })
}

/// One stream.
struct Client {
    requests: mpsc::Sender<SubmitRequest>,
    responses: Streaming<store::SubmitResponse>,
    writes: Writes,
    in_flight: u32,
}

impl Client {
    async fn open(channel: Channel, writes: Writes, in_flight: u32) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(usize::try_from(in_flight)?);
        let mut client = BindingStoreClient::new(channel);
        let responses = submit(&mut client, ReceiverStream::new(outgoing)).await?;
        Ok(Self { requests, responses, writes, in_flight })
    }

    async fn run(mut self, end: End) -> Result<Latencies> {
        let (until, count) = match end {
            End::After(lasts) => (Some(Instant::now() + lasts), usize::MAX),
            End::Round => (None, usize::try_from(self.writes.count)?),
        };
        let mut latencies = Latencies::default();
        let mut sent_at = Vec::new();
        let mut left = self.in_flight.min(self.writes.count);
        for _ in 0..left {
            self.send(&mut sent_at).await?;
        }
        while left > 0 {
            let message = tokio::time::timeout(PATIENCE, self.responses.message()).await??;
            let message = message.context("the replica ended the stream")?;
            let now = Instant::now();
            for response in message.split() {
                accepted(response.result)?;
                let ticket = usize::try_from(response.ticket)?;
                latencies.record(now - *sent_at.get(ticket).context("no such ticket")?);
                if until.is_none_or(|until| now < until) && sent_at.len() < count {
                    self.send(&mut sent_at).await?;
                } else {
                    left -= 1;
                }
            }
        }
        Ok(latencies)
    }

    async fn send(&self, sent_at: &mut Vec<Instant>) -> Result<()> {
        let ticket = u32::try_from(sent_at.len())?;
        let command = Some(self.writes.command(ticket));
        sent_at.push(Instant::now());
        let request = SubmitRequest { ticket: ticket.into(), command, ..SubmitRequest::default() };
        self.requests.send(request).await?;
        Ok(())
    }
}

/// BID `n` at a care-of address of its own.
fn bid(n: u16) -> BidRequest {
    bid_request(n, Ipv6Addr::from(u128::from(CARE_OF) & !0xffff | u128::from(n)))
}

/// Only what is stored counts.
pub(crate) fn accepted(result: Option<submit_response::Result>) -> Result<()> {
    let Some(submit_response::Result::Verdict(verdict)) = result else {
        bail!("no verdict but {result:?}")
    };
    match Verdict::try_from(verdict)?.outcome {
        Outcome::Answer(answer) => ensure!(answer.status.is_accepted(), "{:?}", answer.status),
        other => bail!("not acknowledged: {other:?}"),
    }
    Ok(())
}

/// The same records into etcd: the home address is the key, the command the value.
pub(crate) async fn put_all(
    etcd: &Etcd,
    writes: Writes,
    in_flight: u32,
    lasts: Duration,
) -> Result<Done> {
    let leader = etcd.leader().await?;
    let mut channels = Vec::new();
    for _ in 0..ETCD_CONNECTIONS.min(usize::try_from(in_flight)?) {
        channels.push(etcd.channel(leader).await?);
    }
    let started = Instant::now();
    let until = started + lasts;
    let writers = (0..in_flight).zip(channels.iter().cycle()).map(|(n, channel)| {
        let (channel, writes) = (channel.clone(), writes.share(in_flight, n));
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            for n in 0.. {
                let command = writes.command(n);
                let key = ipv6_octets(home_address(writes.first + n % writes.count));
                let sent = Instant::now();
                if sent >= until {
                    break;
                }
                let value = command.encode_to_vec();
                let written = async {
                    while !put(channel.clone(), key.clone(), value.clone()).await? {
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    anyhow::Ok(())
                };
                tokio::time::timeout(PATIENCE, written).await??;
                latencies.record(sent.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Latencies::default();
    for done in try_join_all(writers).await? {
        latencies.add(done?);
    }
    Ok(Done { latencies, took: started.elapsed() })
}
