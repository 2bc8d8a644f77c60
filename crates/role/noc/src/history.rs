//! What one poll cannot tell: since when, and whether something still moves.

use std::collections::BTreeMap;

use crate::{
    limits::{DEPARTED_AFTER_MS, DEPARTED_FORGOTTEN_MS, DEPARTED_MAX, STUCK_POLLS},
    status::{Departed, Health, Seen, Status},
};

/// A subscription: a name may be at the feeds of two replicas while it changes over.
type Subscription = (String, u64);

/// What earlier polls saw.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Endpoints by when they stopped answering.
    unreached: BTreeMap<String, u64>,
    /// Subscribers by name.
    subscribers: BTreeMap<String, LastSeen>,
    replicas: BTreeMap<u64, Progress>,
    subscriptions: BTreeMap<Subscription, Progress>,
}

#[derive(Clone, Copy, Debug)]
struct LastSeen {
    at_ms: u64,
    sent_revision: u64,
}

/// How far something was, how far behind, and in how many polls before it stood there already.
#[derive(Clone, Copy, Debug)]
struct Progress {
    revision: u64,
    lag: u64,
    stood: u32,
}

impl Progress {
    /// What is known after this poll. Answers of one poll are not of one moment, so being behind in one
    /// says nothing.
    fn after(before: Option<&Self>, revision: u64, lag: u64) -> Self {
        let stands = |before: &&Self| lag > 0 && before.lag > 0 && before.revision == revision;
        let stood = before.filter(stands).map_or(0, |before| before.stood.saturating_add(1));
        Self { revision, lag, stood }
    }

    /// Behind, without a step, for some polls.
    const fn is_stuck(self) -> bool {
        self.stood >= STUCK_POLLS
    }
}

impl History {
    /// Adds to a poll what earlier ones say about it, then says how the cluster is.
    pub(crate) fn complete(&mut self, status: &mut Status, now_ms: u64) {
        self.date_unreached(status, now_ms);
        self.find_stuck_replicas(status);
        self.find_stuck_subscribers(status);
        self.find_departed(status, now_ms);
        status.health = health(status);
    }

    fn date_unreached(&mut self, status: &mut Status, now_ms: u64) {
        let mut unreached = BTreeMap::new();
        for replica in &mut status.replicas {
            if let Seen::Unreached { since_ms, .. } = &mut replica.seen {
                *since_ms = self.unreached.get(&replica.endpoint).copied().unwrap_or(now_ms);
                unreached.insert(replica.endpoint.clone(), *since_ms);
            }
        }
        self.unreached = unreached;
    }

    fn find_stuck_replicas(&mut self, status: &mut Status) {
        let mut seen = BTreeMap::new();
        for replica in &mut status.replicas {
            let Seen::Reached(reached) = &mut replica.seen else { continue };
            let Some(node_id) = replica.node_id else { continue };
            let before = self.replicas.get(&node_id);
            let progress = Progress::after(before, reached.applied_index, reached.lag);
            reached.stuck = progress.is_stuck();
            if reached.stuck {
                let problem = format!(
                    "{} stands still at revision {}, {} behind",
                    replica.endpoint, reached.applied_index, reached.lag
                );
                status.problems.push(problem);
            }
            seen.insert(node_id, progress);
        }
        self.replicas = seen;
    }

    fn find_stuck_subscribers(&mut self, status: &mut Status) {
        let mut seen = BTreeMap::new();
        for subscriber in &mut status.feed_subscribers {
            let subscription = (subscriber.name.clone(), subscriber.node_id);
            let before = self.subscriptions.get(&subscription);
            let progress = Progress::after(before, subscriber.sent_revision, subscriber.lag);
            subscriber.stuck = progress.is_stuck();
            if subscriber.stuck {
                let problem = format!(
                    "{} does not take the feed of node {}: it stands at revision {}, {} behind",
                    subscriber.name, subscriber.node_id, subscriber.sent_revision, subscriber.lag
                );
                status.problems.push(problem);
            }
            seen.insert(subscription, progress);
        }
        self.subscriptions = seen;
    }

    fn find_departed(&mut self, status: &mut Status, now_ms: u64) {
        for subscriber in &status.feed_subscribers {
            let sent_revision = subscriber.sent_revision;
            let last = LastSeen { at_ms: now_ms, sent_revision };
            self.subscribers.insert(subscriber.name.clone(), last);
        }
        self.subscribers
            .retain(|_, last| now_ms.saturating_sub(last.at_ms) < DEPARTED_FORGOTTEN_MS);
        while self.subscribers.len() > DEPARTED_MAX {
            let oldest = self.subscribers.iter().min_by_key(|(_, last)| last.at_ms);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            self.subscribers.remove(&name);
        }
        for (name, last) in &self.subscribers {
            let age_ms = now_ms.saturating_sub(last.at_ms);
            if age_ms < DEPARTED_AFTER_MS {
                continue;
            }
            status.problems.push(format!(
                "{name} left the feed {} s ago and has not come back",
                age_ms / 1_000
            ));
            status.departed.push(Departed {
                name: name.clone(),
                last_seen_ms: last.at_ms,
                sent_revision: last.sent_revision,
            });
        }
    }
}

/// Down means that, seen from here, no mobile node can register.
fn health(status: &Status) -> Health {
    let count = |wanted: fn(&Seen) -> bool| {
        let voters = status.replicas.iter().filter(|replica| replica.voter != Some(false));
        voters.filter(|replica| wanted(&replica.seen)).count()
    };
    // Who was not asked may be well.
    let lost = count(|seen| matches!(seen, Seen::Unreached { .. }));
    let reached = count(|seen| matches!(seen, Seen::Reached(_)));
    let others = count(|seen| matches!(seen, Seen::NotAsked));
    let has_majority = reached > 0 && reached + others > lost;
    match (has_majority && status.leader_known, status.problems.is_empty()) {
        (false, _) => Health::Down,
        (true, false) => Health::Degraded,
        (true, true) => Health::Working,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{FeedSubscriber, Replica};

    fn subscriber(name: &str, sent_revision: u64, lag: u64) -> FeedSubscriber {
        FeedSubscriber { name: name.to_owned(), node_id: 1, sent_revision, lag, stuck: false }
    }

    fn unreached(endpoint: &str) -> Replica {
        let seen = Seen::Unreached { error: "refused".to_owned(), since_ms: 0 };
        Replica { endpoint: endpoint.to_owned(), node_id: None, voter: None, seen }
    }

    fn since(status: &Status) -> Option<u64> {
        match status.replicas.first()?.seen {
            Seen::Unreached { since_ms, .. } => Some(since_ms),
            Seen::Reached(_) | Seen::NotAsked => None,
        }
    }

    #[test]
    fn an_outage_is_dated_from_its_first_poll() {
        let mut history = History::default();
        let poll = || Status { replicas: vec![unreached("a:1")], ..Status::default() };
        for now_ms in [10_000, 12_000, 14_000] {
            let mut status = poll();
            history.complete(&mut status, now_ms);
            assert_eq!(since(&status), Some(10_000));
            assert_eq!(status.health, Health::Down);
        }
        history.complete(&mut Status::default(), 16_000);
        let mut again = poll();
        history.complete(&mut again, 18_000);
        assert_eq!(since(&again), Some(18_000));
    }

    #[test]
    fn a_subscriber_is_stuck_when_it_stays_behind_without_a_step() {
        let mut history = History::default();
        // (revision sent, behind, stuck)
        let polls = [
            (5, 2, false),
            (6, 2, false),
            (6, 2, false),
            (6, 2, true),
            (6, 4, true),
            (7, 4, false),
            (11, 0, false),
            (11, 0, false),
            (11, 1, false),
            (11, 1, false),
            (11, 1, true),
        ];
        for (sent_revision, lag, stuck) in polls {
            let feed_subscribers = vec![subscriber("f", sent_revision, lag)];
            let mut status = Status { feed_subscribers, ..Status::default() };
            history.complete(&mut status, 1_000);
            assert_eq!(status.feed_subscribers[0].stuck, stuck, "{sent_revision} {lag}");
            assert_eq!(!status.problems.is_empty(), stuck);
        }
    }

    #[test]
    fn a_subscriber_that_left_is_named_until_it_comes_back_or_is_forgotten() {
        let mut history = History::default();
        let there =
            || Status { feed_subscribers: vec![subscriber("f", 9, 0)], ..Status::default() };
        history.complete(&mut there(), 1_000);
        let gone_at = |history: &mut History, now_ms| {
            let mut status = Status::default();
            history.complete(&mut status, now_ms);
            status.departed
        };
        assert_eq!(gone_at(&mut history, 1_000 + DEPARTED_AFTER_MS - 1), []);
        let departed = gone_at(&mut history, 1_000 + DEPARTED_AFTER_MS);
        let expected = Departed { name: "f".to_owned(), last_seen_ms: 1_000, sent_revision: 9 };
        assert_eq!(departed, [expected]);
        let mut back = there();
        history.complete(&mut back, 20_000);
        assert!(back.departed.is_empty() && back.problems.is_empty());
        assert_eq!(gone_at(&mut history, 20_000 + DEPARTED_FORGOTTEN_MS), []);
    }

    #[test]
    fn the_memory_of_names_is_bounded() {
        let mut history = History::default();
        let names = (0..DEPARTED_MAX + 10).map(|n| subscriber(&format!("f{n}"), 1, 0)).collect();
        let mut status = Status { feed_subscribers: names, ..Status::default() };
        history.complete(&mut status, 1_000);
        assert_eq!(history.subscribers.len(), DEPARTED_MAX);
    }
}
