//! What happened, as a digest: two runs of a seed are the same to the octet when their digests are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::process;

/// Clones share it.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    digest: u64,
    events: u64,
    told: bool,
}

impl Trace {
    /// With `told` every event is a line on standard error.
    pub(crate) fn new(told: bool) -> Self {
        // The offset basis of FNV-1a.
        Self(Arc::new(Mutex::new(Inner { digest: 0xcbf2_9ce4_8422_2325, events: 0, told })))
    }

    /// Something happened.
    pub(crate) fn event(&self, text: &str) {
        let told = self.mix(text.as_bytes());
        if told {
            eprintln!("{:>7} ms  {text}", process::now_ms());
        }
    }

    /// Octets of a connection arrived.
    pub(crate) fn octets(&self, pipe: u64, octets: &[u8]) {
        self.mix(&pipe.to_le_bytes());
        self.mix(octets);
    }

    fn mix(&self, octets: &[u8]) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = process::now_ms().to_le_bytes();
        let digest = now.iter().chain(octets).fold(inner.digest, |digest, octet| {
            (digest ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
        });
        inner.digest = digest;
        inner.events += 1;
        inner.told
    }

    /// The digest so far, and of how many events.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.digest, inner.events)
    }
}
