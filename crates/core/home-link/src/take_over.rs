//! A new defender listens before it speaks: two nodes never answer for one address.
//!
//! The lease says who may defend the link. It may be free early, because the connection of its holder has
//! ended; whether the holder has ended too is heard on the link itself, by Duplicate Address Detection
//! for the home agent's address (RFC 4862 §5.4): a defender that lives answers.

use crate::limits;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TakeOver {
    /// At the latest.
    ends_ms: u64,
    listens_until_ms: u64,
    answered: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Nothing yet.
    Listen,
    /// Somebody still answers: ask again.
    Ask,
    /// The link is this node's.
    Begin,
}

impl TakeOver {
    /// The question has just been asked.
    pub(crate) const fn start(now_ms: u64) -> Self {
        Self {
            ends_ms: now_ms.saturating_add(limits::TAKE_OVER_MAX_MS),
            listens_until_ms: now_ms.saturating_add(limits::TAKE_OVER_LISTEN_MS),
            answered: false,
        }
    }

    pub(crate) const fn answered(&mut self) {
        self.answered = true;
    }

    pub(crate) const fn is_answered(&self) -> bool {
        self.answered
    }

    pub(crate) const fn deadline_ms(&self) -> u64 {
        self.listens_until_ms
    }

    pub(crate) const fn next(&mut self, now_ms: u64) -> Next {
        if now_ms < self.listens_until_ms {
            return Next::Listen;
        }
        if !self.answered || now_ms >= self.ends_ms {
            return Next::Begin;
        }
        self.answered = false;
        self.listens_until_ms = now_ms.saturating_add(limits::TAKE_OVER_LISTEN_MS);
        Next::Ask
    }
}
