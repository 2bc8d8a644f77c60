//! The one way of all writes: what they are asked with, and that a repeat is not done twice.
//!
//! The ids are known to this replica alone. Another one that leads later does not know them; nor are they on
//! the disk. So they cost the log nothing, and what they are for, an answer that was lost on its way, mostly
//! finds the same leader.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use homeport_api::write::Write;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::audited::Caller;
use super::{Reason, Refused, invalid};
use crate::Store;
use crate::limits::{REQUEST_ID_KEPT, REQUEST_ID_LEN_MAX, REQUEST_IDS_MAX};

/// Has a write done; one that has been done already has its first answer.
pub(super) async fn write<W, A, F>(
    store: &Store,
    request: Request<W>,
    work: impl FnOnce(Store, Caller, W) -> F,
) -> Result<Response<A>, Status>
where
    W: Write,
    A: Clone + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let mut caller = Caller::of(&request, W::CALL);
    let request = request.into_inner();
    check_id(request.request_id())?;
    caller.validate_only = request.validate_only();
    if caller.validate_only || request.request_id().is_empty() {
        return work(store.clone(), caller, request).await.map(Response::new);
    }
    let key = (caller.name.clone(), request.request_id().to_owned());
    let digest = request.digest();
    let answer = store.writes.once(key, digest, || work(store.clone(), caller, request))?;
    answer.await.map(Response::new)
}

fn check_id(id: &str) -> Result<(), Status> {
    if id.len() <= REQUEST_ID_LEN_MAX && id.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Ok(());
    }
    let message = format!(
        "expected 1 to {REQUEST_ID_LEN_MAX} visible ASCII characters without spaces, such as a UUID"
    );
    Err(invalid("request_id", &message))
}

/// The name of the caller's token, and the id.
type Key = (String, String);

/// An answer of whatever call.
type Answer = Result<Arc<dyn Any + Send + Sync>, Status>;

/// Writes by their ids.
#[derive(Clone, Default)]
pub(crate) struct Writes(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    by_key: BTreeMap<Key, Remembered>,
    /// By when they came.
    in_order: BTreeMap<u64, Key>,
    came: u64,
}

struct Remembered {
    number: u64,
    since: Instant,
    digest: [u8; 32],
    task: AbortHandle,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl Remembered {
    fn is_answered(&self) -> bool {
        self.task.is_finished()
    }
}

impl Writes {
    /// The answer to a write, which is begun unless it is known. It goes on when who asked has gone: that one
    /// will ask again.
    fn once<A, F>(
        &self,
        key: Key,
        digest: [u8; 32],
        work: impl FnOnce() -> F,
    ) -> Result<BoxFuture<'static, Result<A, Status>>, Status>
    where
        A: Clone + Send + Sync + 'static,
        F: Future<Output = Result<A, Status>> + Send + 'static,
    {
        let now = Instant::now();
        let mut known = self.lock();
        known.forget_old(now);
        let answer = match known.by_key.get(&key) {
            Some(first) if first.digest != digest => return Err(reused(&key.1)),
            Some(first) => first.answer.clone(),
            None => {
                known.make_room()?;
                known.came = known.came.saturating_add(1);
                let number = known.came;
                let (writes, work, ended) = (self.clone(), work(), key.clone());
                let task = tokio::spawn(async move {
                    let answer = work.await;
                    if answer.as_ref().is_err_and(|status| !may_be_done(status)) {
                        writes.lock().forget(&ended);
                    }
                    answer.map(|answer| -> Arc<dyn Any + Send + Sync> { Arc::new(answer) })
                });
                let abort = task.abort_handle();
                let answer = task.map(|ended| ended.unwrap_or_else(|_| Err(broken()))).boxed();
                let (answer, task) = (answer.shared(), abort);
                known.in_order.insert(number, key.clone());
                let remembered =
                    Remembered { number, since: now, digest, task, answer: answer.clone() };
                known.by_key.insert(key, remembered);
                answer
            }
        };
        drop(known);
        Ok(async move { answer.await?.downcast_ref().cloned().ok_or_else(broken) }.boxed())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, key: &Key) {
        if let Some(gone) = self.by_key.remove(key) {
            self.in_order.remove(&gone.number);
        }
    }

    /// The oldest first.
    fn all(&self) -> impl Iterator<Item = (&Key, &Remembered)> {
        self.in_order.values().filter_map(|key| self.by_key.get_key_value(key))
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |it: &Remembered| now.duration_since(it.since) >= REQUEST_ID_KEPT;
        let old = self.all().take_while(|(_, it)| is_old(it)).filter(|(_, it)| it.is_answered());
        let old: Vec<Key> = old.map(|(key, _)| key.clone()).collect();
        old.iter().for_each(|key| self.forget(key));
    }

    fn make_room(&mut self) -> Result<(), Status> {
        if self.by_key.len() < REQUEST_IDS_MAX {
            return Ok(());
        }
        let oldest = self.all().find(|(_, it)| it.is_answered()).map(|(key, _)| key.clone());
        let Some(oldest) = oldest else {
            let message = format!("{REQUEST_IDS_MAX} writes with ids are under way, the limit");
            return Err(Refused::new(Reason::Overloaded, message).status());
        };
        self.forget(&oldest);
        Ok(())
    }
}

/// The log did not say whether it was written; a repeat that is done could be the second.
fn may_be_done(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
}

fn reused(id: &str) -> Status {
    let message = format!("{id} is the id of another write; each write has its own");
    Refused::of_field(Reason::RequestIdReused, "request_id", &message).status()
}

fn broken() -> Status {
    Refused::new(Reason::Internal, "the write has ended without an answer").status()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    fn key(id: &str) -> Key {
        ("alice".to_owned(), id.to_owned())
    }

    /// Counts how often it is done, and takes a while.
    #[derive(Clone, Default)]
    struct Work(Arc<AtomicU32>);

    impl Work {
        async fn done(self, answer: Result<(), Status>) -> Result<u32, Status> {
            sleep(Duration::from_secs(1)).await;
            let times = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            answer.map(|()| times)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_done_once_and_all_who_ask_have_its_answer() {
        let (writes, work) = (Writes::default(), Work::default());
        let ask =
            |id: &str, digest: u8| writes.once(key(id), [digest; 32], || work.clone().done(Ok(())));
        // Who asks first does not wait, and the write goes on.
        drop(ask("a", 1).unwrap());
        let (one, two) = tokio::join!(ask("a", 1).unwrap(), ask("a", 1).unwrap());
        assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
        assert_eq!(ask("a", 1).unwrap().await.unwrap(), 1, "after it is done too");
        let other = ask("a", 2).err().unwrap();
        assert_eq!(other.code(), Code::InvalidArgument);
        assert_eq!(ask("b", 1).unwrap().await.unwrap(), 2, "another id is another write");
        let bobs =
            writes.once(("bob".to_owned(), "a".to_owned()), [2; 32], || work.clone().done(Ok(())));
        assert_eq!(bobs.unwrap().await.unwrap(), 3, "another's id is another id");
        sleep(REQUEST_ID_KEPT).await;
        assert_eq!(ask("a", 2).unwrap().await.unwrap(), 4, "it is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_may_be_asked_again_and_what_may_be_done_may_not() {
        let (writes, work) = (Writes::default(), Work::default());
        let ask = |id: &str, answer: Result<(), Status>| {
            writes.once(key(id), [0; 32], || work.clone().done(answer)).unwrap()
        };
        ask("a", Err(Status::not_found("no"))).await.unwrap_err();
        assert_eq!(ask("a", Ok(())).await.unwrap(), 2);
        ask("b", Err(Status::deadline_exceeded("who knows"))).await.unwrap_err();
        let again = ask("b", Ok(())).await.unwrap_err();
        assert_eq!(again.code(), Code::DeadlineExceeded);
        assert_eq!(work.0.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_remembers_no_more_than_the_limit() {
        let (writes, work) = (Writes::default(), Work::default());
        let ask =
            |id: usize| writes.once(key(&id.to_string()), [0; 32], || work.clone().done(Ok(())));
        let under_way: Vec<_> = (0..REQUEST_IDS_MAX).map(|id| ask(id).unwrap()).collect();
        let full = ask(REQUEST_IDS_MAX).err().unwrap();
        assert_eq!(full.code(), Code::ResourceExhausted);
        for answer in under_way {
            answer.await.unwrap();
        }
        ask(REQUEST_IDS_MAX).unwrap().await.unwrap();
        let known = writes.lock();
        assert_eq!((known.by_key.len(), known.in_order.len()), (REQUEST_IDS_MAX, REQUEST_IDS_MAX));
        assert!(!known.by_key.contains_key(&key("0")), "the oldest has gone");
    }

    #[test]
    fn ids_are_short_and_visible() {
        for right in ["", "a", "8b0ff8a5-6f4c-4b41-a1ad-23a4a5ef3c8d", &"x".repeat(64)] {
            assert!(check_id(right).is_ok(), "{right}");
        }
        for wrong in ["a b", "\u{e9}", "a\n", &"x".repeat(65)] {
            assert!(check_id(wrong).is_err(), "{wrong}");
        }
    }
}
