//! What a stream of commands is answered: in the order in which it becomes known, several in one message.
//!
//! ```text
//! requests --poll--> Taken: a place each --enqueue--> proposer --applied: one group a stream--> Answers
//! ```
//!
//! A command that waits for nothing but its verdict costs no task and no future of its own.

use std::collections::VecDeque;
use std::mem;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt as _};
use homeport_api::batches::Batch as _;
use homeport_api::store::{SubmitRequest, SubmitResponse};
use homeport_binding::Verdict;
use homeport_raft::ProposeError;
use tokio::sync::mpsc;
use tonic::Status;

use crate::limits;

/// What became of one command of a stream.
pub(crate) struct Answered {
    pub(crate) ticket: u64,
    /// Of a Binding Update.
    pub(crate) home_address: Option<Ipv6Addr>,
    pub(crate) outcome: Result<Verdict, ProposeError>,
}

/// No more than [`limits::COMMANDS_PER_STREAM_MAX`] places of a stream are taken at once, so what is in here
/// is bounded although the queue is not.
type Sender = mpsc::UnboundedSender<Vec<Answered>>;

/// The place of one command on its stream, which is answered whatever happens.
pub(crate) struct Place {
    ticket: u64,
    home_address: Option<Ipv6Addr>,
    /// `None` once it has its answer.
    stream: Option<Sender>,
}

impl Place {
    /// The command was not taken: it is answered without the place.
    pub(crate) fn leave(mut self) {
        self.stream = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            let outcome = Err(ProposeError::Unknown);
            let (ticket, home_address) = (self.ticket, self.home_address);
            // A stream that has ended needs no answer.
            drop(stream.send(vec![Answered { ticket, home_address, outcome }]));
        }
    }
}

/// Answers on their way to one stream after the other.
#[derive(Default)]
pub(crate) struct Gathered {
    stream: Option<Sender>,
    answered: Vec<Answered>,
}

impl Gathered {
    pub(crate) fn add(&mut self, mut place: Place, outcome: Result<Verdict, ProposeError>) {
        let Some(stream) = place.stream.take() else { return };
        if !self.stream.as_ref().is_some_and(|gathering| gathering.same_channel(&stream)) {
            self.send();
            self.stream = Some(stream);
        }
        let (ticket, home_address) = (place.ticket, place.home_address);
        self.answered.push(Answered { ticket, home_address, outcome });
    }

    pub(crate) fn send(&mut self) {
        if let Some(stream) = self.stream.take() {
            // A stream that has ended needs no answers.
            drop(stream.send(mem::take(&mut self.answered)));
        }
    }
}

/// What a command of a stream comes to when it is taken.
pub(crate) enum Taken {
    /// Its place will be answered.
    Waits,
    /// There is nothing to be done, and no answer.
    Heard,
    /// It is answered already.
    Answered(Box<SubmitResponse>),
    /// It has to wait for more than its verdict.
    Later(Later),
}

pub(crate) type Later = Pin<Box<dyn Future<Output = SubmitResponse> + Send>>;

/// Who takes commands and words the answers.
pub(crate) trait Taker: Send + Unpin {
    fn take(&mut self, request: SubmitRequest, places: &Places) -> Taken;

    /// The answer, at once or later.
    fn word(&mut self, answered: Answered) -> Result<SubmitResponse, Later>;
}

/// Where commands of a stream get their places.
pub(crate) struct Places(Sender);

impl Places {
    pub(crate) fn take(&self, ticket: u64, home_address: Option<Ipv6Addr>) -> Place {
        Place { ticket, home_address, stream: Some(self.0.clone()) }
    }
}

/// The responses of a stream: it takes requests as long as there are places, and ends when there are no more
/// requests and each is answered.
pub(crate) struct Answers<R, T> {
    /// `None` once they have ended.
    requests: Option<R>,
    taker: T,
    /// Of the last message, not taken yet.
    message: VecDeque<SubmitRequest>,
    places: Places,
    answered: mpsc::UnboundedReceiver<Vec<Answered>>,
    group: vec::IntoIter<Answered>,
    ready: VecDeque<SubmitResponse>,
    later: FuturesUnordered<Later>,
    /// Commands that were taken and are not answered to the reader.
    under_way: usize,
    /// Responses in one message.
    batch_max: usize,
}

impl<R, T> Answers<R, T>
where
    R: Stream<Item = Result<SubmitRequest, Status>> + Unpin,
    T: Taker,
{
    pub(crate) fn new(requests: R, taker: T, batch_max: usize) -> Self {
        let (places, answered) = mpsc::unbounded_channel();
        Self {
            requests: Some(requests),
            taker,
            message: VecDeque::new(),
            places: Places(places),
            answered,
            group: Vec::new().into_iter(),
            ready: VecDeque::new(),
            later: FuturesUnordered::new(),
            under_way: 0,
            batch_max,
        }
    }

    /// Takes requests while there are places.
    fn take_requests(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        while self.under_way < limits::COMMANDS_PER_STREAM_MAX {
            if let Some(request) = self.message.pop_front() {
                match self.taker.take(request, &self.places) {
                    Taken::Heard => continue,
                    Taken::Waits => {}
                    Taken::Answered(response) => self.ready.push_back(*response),
                    Taken::Later(later) => self.later.push(later),
                }
                self.under_way += 1;
                continue;
            }
            let Some(requests) = &mut self.requests else { break };
            match requests.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(message))) => self.message.extend(message.split()),
                Poll::Ready(Some(Err(status))) => {
                    self.requests = None;
                    return Err(status);
                }
                Poll::Ready(None) => self.requests = None,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Words what is answered, up to a message.
    fn word_answers(&mut self, context: &mut Context<'_>) {
        while self.ready.len() < self.batch_max {
            if let Some(answered) = self.group.next() {
                match self.taker.word(answered) {
                    Ok(response) => self.ready.push_back(response),
                    Err(later) => self.later.push(later),
                }
                continue;
            }
            match self.answered.poll_recv(context) {
                Poll::Ready(Some(group)) => self.group = group.into_iter(),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        while self.ready.len() < self.batch_max {
            let Poll::Ready(Some(response)) = self.later.poll_next_unpin(context) else { break };
            self.ready.push_back(response);
        }
    }
}

impl<R, T> Stream for Answers<R, T>
where
    R: Stream<Item = Result<SubmitRequest, Status>> + Unpin,
    T: Taker,
{
    type Item = Result<SubmitResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Err(status) = this.take_requests(context) {
            return Poll::Ready(Some(Err(status)));
        }
        this.word_answers(context);
        let count = this.ready.len().min(this.batch_max);
        let mut responses = this.ready.drain(..count);
        if let Some(mut message) = responses.next() {
            message.more = responses.collect();
            this.under_way -= count;
            return Poll::Ready(Some(Ok(message)));
        }
        drop(responses);
        if this.requests.is_none() && this.message.is_empty() && this.under_way == 0 {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
