//! The binding feed: any replica serves it, from its own state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::BoxStream;
use homeport_api::convert::{correspondent_message, home_message, ipv6_octets};
use homeport_api::feed::binding_feed_server::{BindingFeed, BindingFeedServer};
use homeport_api::feed::{
    CorrespondentChange, HomeChange, HomePrefixChange, ReportNodeRequest, ReportNodeResponse,
    WatchRequest, WatchResponse,
};
use homeport_api::node::NodeInfo;
use homeport_binding::correspondent::Millis;
use homeport_binding::{Change, Home, Peers};
use homeport_runtime::{Shutdown, clock};
use homeport_wire::Sequence;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::machine::Machine;
use crate::nodes::shortened;
use crate::streams::stream;
use crate::{Store, limits};

pub(crate) fn service(store: Store, shutdown: Shutdown) -> BindingFeedServer<Feed> {
    BindingFeedServer::new(Feed { store, shutdown })
}

pub(crate) struct Feed {
    store: Store,
    shutdown: Shutdown,
}

/// Who watches.
#[derive(Clone, Default)]
pub(crate) struct Subscribers(Arc<Mutex<BTreeMap<u64, Subscriber>>>);

struct Subscriber {
    /// Its address is where it is reached, or where its connection comes from.
    info: NodeInfo,
    /// Milliseconds since the Unix epoch.
    since_ms: u64,
    /// The last revision that was sent; 0 before the first.
    sent: u64,
    since: Instant,
}

/// Somebody who watches.
pub(crate) struct Session {
    pub(crate) info: NodeInfo,
    /// Milliseconds since the Unix epoch.
    pub(crate) since_ms: u64,
    /// The last revision that was sent.
    pub(crate) sent: u64,
}

/// How far those who watch are behind: the last of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lag {
    pub(crate) subscribers: usize,
    /// That one of them was not sent yet.
    pub(crate) revisions: u64,
    /// Age of the oldest of these.
    pub(crate) age: Duration,
}

impl Subscribers {
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        self.lock().values().map(|it| (it.info.name.clone(), it.sent)).collect()
    }

    /// All that is known of them.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        let session = |it: &Subscriber| Session {
            info: it.info.clone(),
            since_ms: it.since_ms,
            sent: it.sent,
        };
        self.lock().values().map(session).collect()
    }

    /// How far the last is behind a state whose revisions were reached so.
    pub(crate) fn lag(&self, reached: &Reached, now: Instant) -> Lag {
        let map = self.lock();
        let mut lag = Lag { subscribers: map.len(), ..Lag::default() };
        for it in map.values() {
            lag.revisions = lag.revisions.max(reached.newest().saturating_sub(it.sent));
            let age = reached.age_after(it.sent, now).min(now.duration_since(it.since));
            lag.age = lag.age.max(age);
        }
        lag
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Subscriber>> {
        // The map is whole after any panic: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of this name say so of themselves; false when there is none.
    fn report(&self, said: &NodeInfo) -> bool {
        let mut map = self.lock();
        let mut known = false;
        for it in map.values_mut().filter(|it| it.info.name == said.name) {
            (it.info.drained, it.info.under_way) = (said.drained, said.under_way);
            known = true;
        }
        known
    }

    fn add(&self, info: NodeInfo) -> Option<Subscription> {
        let mut map = self.lock();
        if map.len() >= limits::FEED_SUBSCRIBERS_MAX {
            return None;
        }
        let id = map.last_key_value().map_or(0, |(id, _)| id.wrapping_add(1));
        let (since, since_ms) = (Instant::now(), clock::unix_ms());
        map.insert(id, Subscriber { info, since_ms, sent: 0, since });
        Some(Subscription { id, subscribers: self.clone() })
    }
}

/// Ends with the stream.
struct Subscription {
    id: u64,
    subscribers: Subscribers,
}

impl Subscription {
    fn sent(&self, revision: u64) {
        if let Some(it) = self.subscribers.lock().get_mut(&self.id) {
            it.sent = revision;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers.lock().remove(&self.id);
    }
}

/// When this replica's state reached which revision, as far back as is remembered.
#[derive(Debug, Default)]
pub(crate) struct Reached(VecDeque<(u64, Instant)>);

impl Reached {
    /// It is at this revision now.
    pub(crate) fn note(&mut self, revision: u64, now: Instant) {
        if self.newest() == revision {
            return;
        }
        if self.0.len() >= limits::REVISIONS_DATED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((revision, now));
    }

    fn newest(&self) -> u64 {
        self.0.back().map_or(0, |(revision, _)| *revision)
    }

    /// For how long there has been something after this revision, as far as is remembered.
    fn age_after(&self, revision: u64, now: Instant) -> Duration {
        let first_after = self.0.partition_point(|(reached, _)| *reached <= revision);
        let at = self.0.get(first_after);
        at.map_or(Duration::ZERO, |(_, at)| now.duration_since(*at))
    }
}

#[tonic::async_trait]
impl BindingFeed for Feed {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let peer = request.remote_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        let mut request = request.into_inner();
        let said = request.node.take().unwrap_or_default();
        let address = if said.address.is_empty() { peer } else { said.address.clone() };
        let info = shortened(NodeInfo { name: request.subscriber, address, ..said });
        let node = forwarder(&info.name);
        let subscription = self.store.subscribers.add(info).ok_or_else(|| {
            let max = limits::FEED_SUBSCRIBERS_MAX;
            Status::resource_exhausted(format!("this replica has {max} subscribers, the limit"))
        })?;
        let (after, store) = (request.after_revision, self.store.clone());
        let stream = stream("feed", &self.shutdown, |out| async move {
            let _gone = Watcher { store, node, out, subscription }.run(after).await;
        });
        Ok(Response::new(stream))
    }

    async fn report_node(
        &self,
        request: Request<ReportNodeRequest>,
    ) -> Result<Response<ReportNodeResponse>, Status> {
        let said = shortened(request.into_inner().node.unwrap_or_default());
        if self.store.subscribers.report(&said) {
            return Ok(Response::new(ReportNodeResponse {}));
        }
        Err(Status::not_found(format!("node.name: nobody watches here as {:?}", said.name)))
    }
}

/// The subscriber went away.
struct Gone;

/// The resource name of a forwarder.
pub(crate) fn forwarder(name: &str) -> String {
    format!("forwarders/{name}")
}

struct Watcher {
    store: Store,
    /// Its resource name.
    node: String,
    out: mpsc::Sender<WatchResponse>,
    subscription: Subscription,
}

impl Watcher {
    async fn run(self, after: u64) -> Result<(), Gone> {
        let mut applied = self.store.node.applied();
        let begun = Instant::now();
        let mut revision = after;
        // Pages were sent that are no revision yet.
        let mut owes_revision = false;
        // An empty cache has revision 0, so 0 means "nothing yet" and asks for a snapshot.
        if revision == 0 {
            (revision, owes_revision) = (self.snapshot().await?, true);
        }
        loop {
            applied.borrow_and_update();
            revision = match self.store.node.read(|machine| missed(machine, revision)) {
                Missed::Whole(message) => {
                    let reached = message.revision;
                    if owes_revision || reached > revision || self.hears_a_leader() {
                        let drained =
                            self.store.node.read(|machine| machine.cache.is_drained(&self.node));
                        let log_time_ms = self.now().log_time_ms;
                        self.send(WatchResponse { log_time_ms, drained, ..message }).await?;
                        self.subscription.sent(reached);
                        owes_revision = false;
                    }
                    wait(&mut applied).await?;
                    reached
                }
                Missed::Much(changes, reached) => {
                    owes_revision = true;
                    self.send_pages(changes, reached).await?
                }
                // After a start a replica learns only by and by what was committed.
                Missed::Ahead if begun.elapsed() < limits::FEED_CATCH_UP_WAIT => {
                    wait(&mut applied).await?;
                    revision
                }
                Missed::Ahead | Missed::Unknown => {
                    owes_revision = true;
                    self.snapshot().await?
                }
            };
        }
    }

    /// Each page is the latest state of its home addresses, so it may be newer than `reached`: what
    /// changed meanwhile follows, and only then is the subscriber's state that of one revision.
    async fn send_pages(&self, changes: BTreeSet<Change>, reached: u64) -> Result<u64, Gone> {
        let changes: Vec<Change> = changes.into_iter().collect();
        for page in changes.chunks(limits::HOMES_PER_FEED_MESSAGE_MAX) {
            let message = self.store.node.read(|machine| page_of(machine, page));
            let log_time_ms = self.now().log_time_ms;
            self.send(WatchResponse { log_time_ms, ..message }).await?;
        }
        Ok(reached)
    }

    /// The whole state in pages, while writes go on: each page is the latest state of its home
    /// addresses, and what changed meanwhile follows.
    async fn snapshot(&self) -> Result<u64, Gone> {
        self.store.metrics.feed_snapshots.inc();
        let (revision, prefixes) = self.store.node.read(|machine| {
            let prefixes = machine.cache.home_prefixes_after(None);
            let prefixes = prefixes.map(|prefix| Change::HomePrefix(prefix.record.prefix));
            (machine.cache.revision(), prefixes.collect::<Vec<_>>())
        });
        let begin = self.store.node.read(|machine| page_of(machine, &prefixes));
        let log_time_ms = self.now().log_time_ms;
        self.send(WatchResponse { snapshot_begin: true, log_time_ms, ..begin }).await?;
        let mut after = None;
        loop {
            let homes = self.store.node.read(|machine| homes_page(machine, after));
            let Some((last, _)) = homes.last() else { break };
            after = Some(*last);
            let homes = homes.into_iter().map(|(address, home)| home_change(address, Some(home)));
            self.send(WatchResponse { homes: homes.collect(), ..self.now() }).await?;
        }
        let mut after = None;
        loop {
            let page = self.store.node.read(|machine| correspondents_page(machine, after));
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let page = page.into_iter();
            let page = page.map(|(address, peers)| correspondent_change(address, Some(peers)));
            self.send(WatchResponse { correspondents: page.collect(), ..self.now() }).await?;
        }
        self.send(WatchResponse { snapshot_end: true, ..self.now() }).await?;
        Ok(revision)
    }

    /// Without a leader this replica does not know whether there is anything new. It says nothing
    /// of it then, and the subscriber asks another, or knows that it is cut off.
    fn hears_a_leader(&self) -> bool {
        self.store.node.status().leader.is_some()
    }

    /// An empty message with the store's time. The replica's clock stands in for a log that is quiet.
    fn now(&self) -> WatchResponse {
        let log_time = self.store.node.read(|machine| machine.cache.now());
        WatchResponse { log_time_ms: log_time.0.max(clock::unix_ms()), ..WatchResponse::default() }
    }

    async fn send(&self, message: WatchResponse) -> Result<(), Gone> {
        self.store.metrics.feed_messages.inc();
        self.out.send(message).await.map_err(|_closed| Gone)
    }
}

/// Until something is applied, at most the progress interval.
async fn wait(applied: &mut watch::Receiver<u64>) -> Result<(), Gone> {
    match tokio::time::timeout(limits::FEED_PROGRESS_INTERVAL, applied.changed()).await {
        Ok(Ok(())) | Err(_) => Ok(()),
        // The node has stopped: so does its feed.
        Ok(Err(_)) => Err(Gone),
    }
}

/// What a subscriber has missed.
enum Missed {
    /// All of it, with its revision.
    Whole(WatchResponse),
    /// More than one message holds.
    Much(BTreeSet<Change>, u64),
    /// The changes since then are forgotten.
    Unknown,
    /// Nothing: it is further than this replica.
    Ahead,
}

fn missed(machine: &Machine, revision: u64) -> Missed {
    let reached = machine.cache.revision();
    if revision > reached {
        return Missed::Ahead;
    }
    let Some(changes) = machine.changes_after(revision) else {
        return Missed::Unknown;
    };
    if changes.len() > limits::HOMES_PER_FEED_MESSAGE_MAX {
        return Missed::Much(changes, reached);
    }
    let changes: Vec<Change> = changes.into_iter().collect();
    Missed::Whole(WatchResponse { revision: reached, ..page_of(machine, &changes) })
}

fn page_of(machine: &Machine, page: &[Change]) -> WatchResponse {
    let mut message = WatchResponse::default();
    for change in page {
        match *change {
            Change::HomePrefix(prefix) => message.home_prefixes.push(HomePrefixChange {
                prefix: ipv6_octets(prefix.address()),
                prefix_len: prefix.len().into(),
                home_prefix: machine.cache.home_prefix(prefix).cloned().map(Into::into),
            }),
            Change::Home(address) => {
                let home = machine.cache.home(address).filter(|home| concerns_forwarders(home));
                message.homes.push(home_change(address, home.cloned()));
            }
            Change::Correspondent(address) => {
                let peers = machine.cache.correspondents(address).cloned();
                message.correspondents.push(correspondent_change(address, peers));
            }
        }
    }
    message
}

fn homes_page(machine: &Machine, after: Option<Ipv6Addr>) -> Vec<(Ipv6Addr, Home)> {
    machine
        .cache
        .homes_after(after)
        .filter(|(_, home)| concerns_forwarders(home))
        .take(limits::HOMES_PER_FEED_MESSAGE_MAX)
        .map(|(address, home)| (address, home.clone()))
        .collect()
}

fn correspondents_page(machine: &Machine, after: Option<Ipv6Addr>) -> Vec<(Ipv6Addr, Peers)> {
    let page = machine.cache.correspondents_after(after);
    let page = page.take(limits::HOMES_PER_FEED_MESSAGE_MAX);
    page.map(|(address, peers)| (address, peers.clone())).collect()
}

/// The bindings alone: all else moves without a change of them.
fn correspondent_change(address: Ipv6Addr, peers: Option<Peers>) -> CorrespondentChange {
    let peers = peers.unwrap_or_default().into_iter();
    let bound = peers.filter(|(_, peer)| !peer.home.bindings.is_empty());
    let correspondents = bound.map(|(home_agent, mut peer)| {
        peer.home.sequence = Sequence::default();
        peer.home.guard = Millis::default();
        peer.home.spent.clear();
        peer.remembered.clear();
        correspondent_message(address, home_agent, peer)
    });
    CorrespondentChange {
        home_address: ipv6_octets(address),
        correspondents: correspondents.collect(),
    }
}

/// Packets are forwarded, or the home link is to be searched for a duplicate.
fn concerns_forwarders(home: &Home) -> bool {
    !home.bindings.is_empty() || home.is_probing()
}

/// What is forwarded, and nothing that moves without it: a refused Binding Update takes its
/// sequence number and is remembered, and a notice is begun and sent again, but that is no change, so of
/// two subscribers at one revision only one would see it.
pub(crate) fn home_change(address: Ipv6Addr, home: Option<Home>) -> HomeChange {
    let home = home.map(|mut home| {
        home.sequence = Sequence::default();
        home.forget = None;
        home.remembered.clear();
        (home.notice, home.advertisement) = (None, None);
        home_message(address, home)
    });
    HomeChange { home_address: ipv6_octets(address), home }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_that_of_the_last_subscriber() {
        let (subscribers, mut reached) = (Subscribers::default(), Reached::default());
        let secs = Duration::from_secs;
        let at = |revision: u64| (revision, Instant::now());
        let note = |reached: &mut Reached, (revision, now)| reached.note(revision, now);
        note(&mut reached, at(5));
        assert_eq!(subscribers.lag(&reached, Instant::now()), Lag::default(), "nobody is behind");
        tokio::time::advance(secs(60)).await;
        let who = |name: &str| NodeInfo { name: name.to_owned(), ..NodeInfo::default() };
        let (up_to_date, slow) = (subscribers.add(who("a")), subscribers.add(who("b")));
        let (up_to_date, slow) = (up_to_date.expect("has a place"), slow.expect("has a place"));
        up_to_date.sent(5);
        tokio::time::advance(secs(2)).await;
        let lag = subscribers.lag(&reached, Instant::now());
        let expected = Lag { subscribers: 2, revisions: 5, age: secs(2) };
        assert_eq!(lag, expected, "who is new is behind since it came");
        slow.sent(5);
        assert_eq!(subscribers.lag(&reached, Instant::now()).age, Duration::ZERO);
        note(&mut reached, at(6));
        tokio::time::advance(secs(3)).await;
        note(&mut reached, at(9));
        note(&mut reached, at(9));
        up_to_date.sent(9);
        slow.sent(6);
        tokio::time::advance(secs(1)).await;
        let lag = subscribers.lag(&reached, Instant::now());
        assert_eq!(lag, Lag { subscribers: 2, revisions: 3, age: secs(1) });
        drop(slow);
        let lag = subscribers.lag(&reached, Instant::now());
        assert_eq!(lag, Lag { subscribers: 1, ..Lag::default() });
        for revision in 10..10_000 {
            note(&mut reached, at(revision));
        }
        assert_eq!(reached.0.len(), limits::REVISIONS_DATED_MAX);
    }
}
