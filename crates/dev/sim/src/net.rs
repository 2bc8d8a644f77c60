//! The network between hosts: connections that keep the order of their octets, as TCP does, and are slow,
//! silent or reset when a fault says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::chance::Chance;
use crate::process;
use crate::trace::Trace;

/// Octets that may be on their way in one direction of a connection.
const WINDOW_OCTETS: usize = 256 * 1024;
/// How often a connection attempt is repeated while nothing comes through.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// A host's place in the list of hosts.
pub(crate) type HostId = usize;

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

struct State {
    chance: Chance,
    trace: Trace,
    listeners: BTreeMap<String, (HostId, mpsc::UnboundedSender<Connection>)>,
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    /// One way.
    blocked: BTreeSet<(HostId, HostId)>,
    /// Both ways, in milliseconds.
    slow: BTreeMap<HostId, u64>,
}

/// One direction of a connection.
struct Pipe {
    from: HostId,
    to: HostId,
    under_way: VecDeque<Segment>,
    arrived: VecDeque<Bytes>,
    in_flight: usize,
    last_at: u64,
    ended: bool,
    reset: bool,
    /// One of its hosts lost its power: nothing comes any more, and nobody says so.
    dead: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    ends_held: u8,
}

struct Segment {
    at: u64,
    /// `None` ends the direction.
    octets: Option<Bytes>,
}

impl Pipe {
    fn wake(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
    }
}

impl Net {
    pub(crate) fn new(chance: Chance, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance,
            trace,
            listeners: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next_pipe: 0,
            blocked: BTreeSet::new(),
            slow: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections to `address`, until the host is stopped.
    pub(crate) fn listen(
        &self,
        host: HostId,
        address: &str,
    ) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.insert(address.to_owned(), (host, sender));
        let incoming = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        futures_util::StreamExt::map(incoming, Ok)
    }

    /// Makes channels for `host` that connect when they are used.
    pub(crate) fn dial(
        &self,
        host: HostId,
    ) -> impl Fn(&Endpoint) -> Channel + Send + Sync + Clone + use<> {
        let net = self.clone();
        move |endpoint| {
            let net = net.clone();
            endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
                let net = net.clone();
                async move {
                    let address = uri.authority().map(ToString::to_string).unwrap_or_default();
                    net.connect(host, &address).await.map(hyper_util::rt::TokioIo::new)
                }
            }))
        }
    }

    async fn connect(&self, host: HostId, address: &str) -> io::Result<Connection> {
        loop {
            let delay = {
                let mut state = self.lock();
                let to = state.listeners.get(address).map(|(to, _)| *to);
                let to = to.ok_or(io::ErrorKind::ConnectionRefused)?;
                let open =
                    !state.blocked.contains(&(host, to)) && !state.blocked.contains(&(to, host));
                open.then(|| state.delay(host, to) + state.delay(to, host))
            };
            let Some(delay) = delay else {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
                continue;
            };
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let mut state = self.lock();
            let listener = state.listeners.get(address).cloned();
            let (to, listener) = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (out, back) = (state.pipe(host, to), state.pipe(to, host));
            drop(state);
            let theirs = Connection { net: self.clone(), reads: out, writes: back };
            if listener.send(theirs).is_err() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            return Ok(Connection { net: self.clone(), reads: back, writes: out });
        }
    }

    /// Hands over what has arrived by now.
    pub(crate) fn deliver(&self) {
        let now = process::now_ms();
        let mut wakers = Vec::new();
        {
            let state = &mut *self.lock();
            for (id, pipe) in &mut state.pipes {
                if pipe.dead || state.blocked.contains(&(pipe.from, pipe.to)) {
                    continue;
                }
                while pipe.under_way.front().is_some_and(|segment| segment.at <= now) {
                    match pipe.under_way.pop_front().and_then(|segment| segment.octets) {
                        Some(octets) => {
                            state.trace.octets(*id, &octets);
                            pipe.arrived.push_back(octets);
                        }
                        None => pipe.ended = true,
                    }
                    pipe.wake(&mut wakers);
                }
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Nothing comes through from `from` to `to`, or it does again.
    pub(crate) fn block(&self, from: HostId, to: HostId, blocked: bool) {
        let mut state = self.lock();
        if blocked {
            state.blocked.insert((from, to));
        } else {
            state.blocked.remove(&(from, to));
        }
    }

    /// Everything to and from `host` takes this much longer.
    pub(crate) fn slow(&self, host: HostId, by_ms: u64) {
        self.lock().slow.insert(host, by_ms);
    }

    /// All connections of two hosts end at once.
    pub(crate) fn reset(&self, one: HostId, other: HostId) {
        self.end(|pipe| [(one, other), (other, one)].contains(&(pipe.from, pipe.to)), false);
    }

    /// The host is gone. With `silent` its peers do not learn it, as when the power fails.
    pub(crate) fn stop(&self, host: HostId, silent: bool) {
        self.lock().listeners.retain(|_, (at, _)| *at != host);
        self.end(|pipe| pipe.from == host || pipe.to == host, silent);
    }

    /// The host is there again: who still speaks to what it was before is told so.
    pub(crate) fn start(&self, host: HostId) {
        self.end(|pipe| pipe.dead && (pipe.from == host || pipe.to == host), false);
    }

    /// No fault any more.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.blocked.clear();
        state.slow.clear();
    }

    fn end(&self, which: impl Fn(&Pipe) -> bool, silent: bool) {
        let mut wakers = Vec::new();
        for pipe in self.lock().pipes.values_mut().filter(|pipe| which(pipe)) {
            if silent {
                pipe.dead = true;
            } else {
                pipe.reset = true;
                pipe.wake(&mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn delay(&mut self, from: HostId, to: HostId) -> u64 {
        let slow = |host| self.slow.get(&host).copied().unwrap_or(0);
        let extra = slow(from).max(slow(to));
        // One segment in a hundred is lost and sent again.
        let lost = if from != to && self.chance.percent(1) { 40 } else { 0 };
        let most = if from == to { 1 } else { 4 };
        self.chance.range(1, most + 1) + lost + self.chance.range(0, extra + 1)
    }

    fn pipe(&mut self, from: HostId, to: HostId) -> u64 {
        self.next_pipe += 1;
        let pipe = Pipe {
            from,
            to,
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            in_flight: 0,
            last_at: 0,
            ended: false,
            reset: false,
            dead: false,
            reader: None,
            writer: None,
            ends_held: 2,
        };
        self.pipes.insert(self.next_pipe, pipe);
        self.next_pipe
    }

    fn send(&mut self, id: u64, octets: Option<Bytes>) {
        let Some((from, to)) = self.pipes.get(&id).map(|pipe| (pipe.from, pipe.to)) else { return };
        let at = process::now_ms() + self.delay(from, to);
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.last_at = pipe.last_at.max(at);
            pipe.in_flight += octets.as_ref().map_or(0, Bytes::len);
            pipe.under_way.push_back(Segment { at: pipe.last_at, octets });
        }
    }

    /// One of a pipe's two ends is let go.
    fn release(&mut self, id: u64, wakers: &mut Vec<Waker>) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.wake(wakers);
            pipe.ends_held -= 1;
            if pipe.ends_held == 0 {
                self.pipes.remove(&id);
            }
        }
    }
}

/// One end of a connection.
pub(crate) struct Connection {
    net: Net,
    reads: u64,
    writes: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.net.lock();
            state.send(self.writes, None);
            // Nobody reads any more: who writes is told.
            if let Some(pipe) = state.pipes.get_mut(&self.reads) {
                pipe.reset = true;
            }
            state.release(self.writes, &mut wakers);
            state.release(self.reads, &mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.net.lock();
        let Some(pipe) = state.pipes.get_mut(&self.reads) else { return Poll::Ready(Ok(())) };
        if let Some(mut octets) = pipe.arrived.pop_front() {
            let rest = octets.split_off(octets.len().min(buffer.remaining()));
            buffer.put_slice(&octets);
            pipe.in_flight -= octets.len();
            if !rest.is_empty() {
                pipe.arrived.push_front(rest);
            }
            let writer = pipe.writer.take();
            drop(state);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        pipe.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.lock();
        let Some(pipe) = state.pipes.get_mut(&self.writes).filter(|pipe| !pipe.reset) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if pipe.in_flight >= WINDOW_OCTETS {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.send(self.writes, Some(Bytes::copy_from_slice(octets)));
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.lock().send(self.writes, None);
        Poll::Ready(Ok(()))
    }
}
