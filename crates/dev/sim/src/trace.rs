//! What happened, as a digest: two runs of a seed are the same to the octet when their digests are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::process;

/// FNV-1a.
#[derive(Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// The digest of these octets.
    pub(crate) fn of(octets: &[u8]) -> u64 {
        let mut digest = Self::default();
        digest.take(octets);
        digest.value()
    }

    pub(crate) fn take(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text.as_bytes());
        Ok(())
    }
}

/// Clones share it.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    digest: Fnv,
    events: u64,
    told: bool,
}

impl Trace {
    /// With `told` every event is a line on standard error.
    pub(crate) fn new(told: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { digest: Fnv::default(), events: 0, told })))
    }

    /// Something happened.
    pub(crate) fn event(&self, text: &str) {
        let told = self.mix(&[text.as_bytes()]);
        if told {
            eprintln!("{:>7} ms  {text}", process::now_ms());
        }
    }

    /// Octets of a connection arrived.
    pub(crate) fn octets(&self, pipe: u64, octets: &[u8]) {
        self.mix(&[&pipe.to_le_bytes(), octets]);
    }

    fn mix(&self, parts: &[&[u8]]) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.digest.take(&process::now_ms().to_le_bytes());
        parts.iter().for_each(|part| inner.digest.take(part));
        inner.events += 1;
        inner.told
    }

    /// The digest so far, and of how many events.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.digest.value(), inner.events)
    }
}
