//! Whether a history is linearizable: whether each operation can be given one moment between its begin and
//! its end so that, one after the other, each is answered as the register answers it.
//!
//! The search is that of Wing and Gong with Lowe's memory of what was tried: set of operations and state.
//! A history is that of one home address: no operation of ours touches two, so all are linearizable when
//! each is (Herlihy and Wing, locality).

use std::collections::HashSet;

use super::register::{Change, Input, Output, REMEMBERED_NS, State, apply};

/// One operation of a client, with its moments by one clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    /// Nanoseconds since the run's begin.
    pub(crate) begin_ns: u64,
    /// `None`: its outcome is not known. It may have had its effect at any moment since, may yet have it,
    /// or never.
    pub(crate) end: Option<End>,
    pub(crate) input: Input,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// Nanoseconds since the run's begin.
    pub(crate) ns: u64,
    pub(crate) output: Output,
}

/// The checker's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Linearizable,
    /// No order explains it; the operation, by its place in the history, that ended before it was explained
    /// in the longest of all attempts.
    Anomaly {
        place: usize,
    },
    /// Given up after so many steps.
    Undecided,
}

/// Steps after which a history is given up: seconds of work.
const STEPS_MAX: u64 = 20_000_000;

/// Looks at one home address's history, from its first operation on.
pub(crate) fn check(history: &[Operation]) -> Verdict {
    let forgotten = history.iter().filter_map(|operation| match &operation.input {
        Input::Write { change: Change::Deregister, .. } => Some(Operation {
            begin_ns: operation.begin_ns.saturating_add(REMEMBERED_NS),
            end: None,
            input: Input::Forget,
        }),
        _ => None,
    });
    let history: Vec<Operation> = history.iter().cloned().chain(forgotten).collect();
    Search::new(&history).run()
}

/// Begin or end of the operation with this place.
#[derive(Clone, Copy, Debug)]
enum Event {
    Begin(usize),
    End(usize),
}

/// Events in the order of time, as a list out of which what was explained is taken.
struct Search<'h> {
    history: &'h [Operation],
    events: Vec<Event>,
    /// Place of each operation's two events; that of the end only when there is one.
    places: Vec<(usize, Option<usize>)>,
    /// The list: next and last of each event, and of the head, which is behind the last.
    next: Vec<usize>,
    last: Vec<usize>,
    state: State,
    explained: Set,
    /// Operations that were taken, with the state before each.
    taken: Vec<(usize, State)>,
    tried: HashSet<(Set, State)>,
    /// Operations with an end that are not explained.
    open: usize,
    deepest: (usize, usize),
}

impl<'h> Search<'h> {
    fn new(history: &'h [Operation]) -> Self {
        let begins = history.iter().enumerate().map(|(n, it)| (it.begin_ns, 0, Event::Begin(n)));
        let ends = history.iter().enumerate();
        let ends = ends.filter_map(|(n, it)| Some((it.end.as_ref()?.ns, 1, Event::End(n))));
        let mut timed: Vec<(u64, u8, Event)> = begins.chain(ends).collect();
        // At one moment begins come first: then the two overlap, and neither order is demanded.
        timed.sort_by_key(|(ns, kind, _)| (*ns, *kind));
        let events: Vec<Event> = timed.into_iter().map(|(_, _, event)| event).collect();
        let mut places = vec![(0, None); history.len()];
        for (place, event) in events.iter().enumerate() {
            match *event {
                Event::Begin(n) => places[n].0 = place,
                Event::End(n) => places[n].1 = Some(place),
            }
        }
        let (head, count) = (events.len(), events.len() + 1);
        Self {
            history,
            events,
            places,
            next: (0..count).map(|place| (place + 1) % count).collect(),
            last: (0..count).map(|place| (place + head) % count).collect(),
            state: None,
            explained: Set::new(history.len()),
            taken: Vec::new(),
            tried: HashSet::new(),
            open: history.iter().filter(|it| it.end.is_some()).count(),
            deepest: (0, 0),
        }
    }

    fn run(mut self) -> Verdict {
        let head = self.events.len();
        let mut at = self.next[head];
        let mut steps = 0_u64;
        while self.open > 0 {
            steps += 1;
            if steps > STEPS_MAX {
                return Verdict::Undecided;
            }
            // With operations open there is an end in the list, so the head is not reached.
            match self.events[at] {
                Event::Begin(n) => at = if self.take(n) { self.next[head] } else { self.next[at] },
                Event::End(n) => {
                    if self.taken.len() >= self.deepest.0 {
                        self.deepest = (self.taken.len(), n);
                    }
                    match self.give_back() {
                        Some(begin) => at = self.next[begin],
                        None => return Verdict::Anomaly { place: self.deepest.1 },
                    }
                }
            }
        }
        Verdict::Linearizable
    }

    /// Explains the operation as the next one, when that is possible and was not tried.
    fn take(&mut self, n: usize) -> bool {
        let operation = &self.history[n];
        let (output, state) = apply(&self.state, &operation.input);
        let fits = match &operation.end {
            Some(end) => end.output == output,
            // Without effect it is as if it had never been.
            None => state != self.state,
        };
        if !fits {
            return false;
        }
        let mut explained = self.explained.clone();
        explained.insert(n);
        if !self.tried.insert((explained.clone(), state.clone())) {
            return false;
        }
        self.taken.push((n, std::mem::replace(&mut self.state, state)));
        self.explained = explained;
        self.unlink(n);
        true
    }

    /// Takes the last explanation back; the place of its begin.
    fn give_back(&mut self) -> Option<usize> {
        let (n, state) = self.taken.pop()?;
        self.state = state;
        self.explained.remove(n);
        self.link(n);
        Some(self.places[n].0)
    }

    fn unlink(&mut self, n: usize) {
        let (begin, end) = self.places[n];
        for place in [Some(begin), end].into_iter().flatten() {
            let (last, next) = (self.last[place], self.next[place]);
            self.next[last] = next;
            self.last[next] = last;
        }
        self.open -= usize::from(end.is_some());
    }

    /// In the reverse order of [`Self::unlink`], so that each finds its neighbours as it left them.
    fn link(&mut self, n: usize) {
        let (begin, end) = self.places[n];
        for place in [end, Some(begin)].into_iter().flatten() {
            let (last, next) = (self.last[place], self.next[place]);
            self.next[last] = place;
            self.last[next] = place;
        }
        self.open += usize::from(end.is_some());
    }
}

/// Places of operations.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Set(Vec<u64>);

impl Set {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn insert(&mut self, n: usize) {
        self.0[n / 64] |= 1 << (n % 64);
    }

    fn remove(&mut self, n: usize) {
        self.0[n / 64] &= !(1 << (n % 64));
    }
}
