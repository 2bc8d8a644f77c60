use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream;
use homeport_api::store::submit_response::Result as Reply;
use homeport_binding::Outcome;
use tokio::sync::oneshot;

use super::*;

/// Keeps the places, to answer them when the test says so.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<Place>>>);

impl Held {
    fn places(&self) -> Vec<Place> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

struct Script {
    held: Held,
    /// Tickets whose answers wait for more than their verdict.
    slow: BTreeMap<u64, oneshot::Receiver<()>>,
}

const REFUSED: u64 = 1_000_000;

impl Taker for Script {
    fn take(&mut self, request: SubmitRequest, places: &Places) -> Taken {
        let ticket = request.ticket;
        if ticket == REFUSED {
            let refused = answer(ticket, Reply::Invalid("no".to_owned()));
            return Taken::Answered(Box::new(refused));
        }
        if ticket == 0 {
            return Taken::Heard;
        }
        let mut held = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(places.take(ticket, None));
        Taken::Waits
    }

    fn word(&mut self, answered: Answered) -> Result<SubmitResponse, Later> {
        let ticket = answered.ticket;
        let reply = match answered.outcome {
            Ok(verdict) => Reply::Verdict(verdict.into()),
            Err(error) => Reply::Unknown(error.to_string()),
        };
        match self.slow.remove(&ticket) {
            Some(gate) => Err(Box::pin(async move {
                drop(gate.await);
                answer(ticket, reply)
            })),
            None => Ok(answer(ticket, reply)),
        }
    }
}

fn answer(ticket: u64, result: Reply) -> SubmitResponse {
    SubmitResponse { ticket, result: Some(result), ..SubmitResponse::default() }
}

fn request(ticket: u64) -> SubmitRequest {
    SubmitRequest { ticket, ..SubmitRequest::default() }
}

fn give(places: Vec<Place>) {
    let mut gathered = Gathered::default();
    for place in places {
        gathered.add(place, Ok(Verdict { revision: 7, outcome: Outcome::Done, esp: None }));
    }
    gathered.send();
}

type Requests = stream::BoxStream<'static, Result<SubmitRequest, Status>>;

fn answers(requests: Vec<SubmitRequest>, batch_max: usize) -> (Answers<Requests, Script>, Held) {
    let held = Held::default();
    let script = Script { held: held.clone(), slow: BTreeMap::new() };
    let requests = stream::iter(requests.into_iter().map(Ok)).boxed();
    (Answers::new(requests, script, batch_max), held)
}

fn poll(answers: &mut Answers<Requests, Script>) -> Poll<Option<Vec<u64>>> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    answers.poll_next_unpin(&mut context).map(|message| {
        let message = message?.ok()?;
        Some(message.split().map(|response| response.ticket).collect())
    })
}

#[tokio::test]
async fn verdicts_of_an_entry_leave_in_one_message_in_their_order() {
    let (mut answers, held) = answers((1..=5).map(request).collect(), 128);
    assert_eq!(poll(&mut answers), Poll::Pending);
    give(held.places());
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![1, 2, 3, 4, 5])));
    assert_eq!(poll(&mut answers), Poll::Ready(None));
}

#[tokio::test]
async fn who_takes_one_response_in_a_message_gets_one() {
    let (mut answers, held) = answers((1..=2).map(request).collect(), 1);
    assert_eq!(poll(&mut answers), Poll::Pending);
    give(held.places());
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![1])));
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![2])));
    assert_eq!(poll(&mut answers), Poll::Ready(None));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_given_no_more_places() {
    let max = limits::COMMANDS_PER_STREAM_MAX;
    let mut requests: Vec<_> = (1..).map(request).take(max + 10).collect();
    requests[2] = request(REFUSED);
    let (mut answers, held) = answers(requests, 2);
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![REFUSED])));
    assert_eq!(held.len(), max - 1);
    assert_eq!(poll(&mut answers), Poll::Pending);
    assert_eq!(held.len(), max);
    give(held.places());
    // Each message that is read makes room for as many.
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![1, 2])));
    assert_eq!(held.len(), 0);
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![4, 5])));
    assert_eq!(held.len(), 2);
}

#[tokio::test]
async fn a_request_without_command_is_heard_and_not_answered() {
    let (mut answers, held) = answers(vec![request(0), request(1), request(0)], 128);
    assert_eq!(poll(&mut answers), Poll::Pending);
    give(held.places());
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![1])));
    assert_eq!(poll(&mut answers), Poll::Ready(None));
}

#[tokio::test]
async fn a_command_that_is_lost_is_answered_as_unknown() {
    let (mut answers, held) = answers(vec![request(1)], 128);
    assert_eq!(poll(&mut answers), Poll::Pending);
    drop(held.places());
    let mut context = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Some(Ok(message))) = answers.poll_next_unpin(&mut context) else {
        panic!("no answer");
    };
    assert_eq!(message.ticket, 1);
    assert!(matches!(message.result, Some(Reply::Unknown(_))), "{:?}", message.result);
    assert_eq!(poll(&mut answers), Poll::Ready(None));
}

#[tokio::test]
async fn an_answer_that_has_to_wait_holds_up_no_other() {
    let (mut answers, held) = answers((1..=3).map(request).collect(), 128);
    let (open, gate) = oneshot::channel();
    answers.taker.slow.insert(2, gate);
    assert_eq!(poll(&mut answers), Poll::Pending);
    give(held.places());
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![1, 3])));
    assert_eq!(poll(&mut answers), Poll::Pending);
    drop(open);
    assert_eq!(poll(&mut answers), Poll::Ready(Some(vec![2])));
    assert_eq!(poll(&mut answers), Poll::Ready(None));
}

#[tokio::test]
async fn each_stream_gets_what_is_its_own() {
    let (mut one, held_by_one) = answers((1..=2).map(request).collect(), 128);
    let (mut other, held_by_other) = answers((11..=12).map(request).collect(), 128);
    assert_eq!((poll(&mut one), poll(&mut other)), (Poll::Pending, Poll::Pending));
    let (ours, theirs) = (held_by_one.places(), held_by_other.places());
    give(ours.into_iter().zip(theirs).flat_map(|(ours, theirs)| [ours, theirs]).collect());
    assert_eq!(poll(&mut one), Poll::Ready(Some(vec![1, 2])));
    assert_eq!(poll(&mut other), Poll::Ready(Some(vec![11, 12])));
}
