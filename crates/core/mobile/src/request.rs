//! Commands that wait for their end.

use alloc::vec::Vec;

use homeport_wire::Bid;

use crate::event::{Event, Outcome, RequestId};
use crate::limits;
use crate::reaction::Purpose;

/// The commands, oldest first.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Requests(Vec<Request>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Request {
    id: RequestId,
    purpose: Purpose,
    /// `None` stands for all bindings.
    waiting: Vec<Option<Bid>>,
    results: Vec<(Option<Bid>, Outcome)>,
}

impl Requests {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= limits::REQUESTS_MAX
    }

    /// Notes a command with the results that it has already. Without anything to wait for it ends
    /// at once, which the answer tells.
    pub(crate) fn add(
        &mut self,
        id: RequestId,
        purpose: Purpose,
        waiting: Vec<Option<Bid>>,
        results: Vec<(Option<Bid>, Outcome)>,
    ) -> Option<Event> {
        if id == RequestId::NOBODY {
            return None;
        }
        if waiting.is_empty() {
            return Some(Event::Completed { request: id, results });
        }
        self.0.push(Request { id, purpose, waiting, results });
        None
    }

    /// Something has come to its end for one binding, or for all of them.
    pub(crate) fn settle(
        &mut self,
        subject: Option<Bid>,
        purpose: Purpose,
        outcome: Outcome,
    ) -> Vec<Event> {
        for request in self.0.iter_mut().filter(|request| request.purpose == purpose) {
            if let Some(at) = request.waiting.iter().position(|waiting| *waiting == subject) {
                request.waiting.swap_remove(at);
                request.results.push((subject, outcome));
            }
        }
        self.finished()
    }

    /// Nothing will come to its end any more.
    pub(crate) fn abandon(&mut self, outcome: Outcome) -> Vec<Event> {
        for request in &mut self.0 {
            let rest = request.waiting.drain(..).map(|subject| (subject, outcome));
            request.results.extend(rest);
        }
        self.finished()
    }

    fn finished(&mut self) -> Vec<Event> {
        self.0
            .extract_if(.., |request| request.waiting.is_empty())
            .map(|request| Event::Completed { request: request.id, results: request.results })
            .collect()
    }
}
