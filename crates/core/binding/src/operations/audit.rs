//! The record of what operators write: each entry holds the hash of the one before, so that none can be
//! changed or left out without a trace.

use alloc::string::String;
use alloc::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Operations, check_len, next_number};
use crate::limits;
use crate::time::LogTime;
use crate::verdict::Refusal;

/// Octets of a SHA-256 hash.
pub const HASH_OCTETS: usize = 32;

/// What the one who writes says of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditNote {
    /// Who wrote: the address of the client.
    pub by: String,
    /// What was asked: the name of the call, "CreateSubscriber".
    pub action: String,
    /// What it was about: "Subscriber 2001:db8:0:1::100".
    pub resource: String,
    /// What was there before, without keys; empty for nothing.
    pub before: String,
    /// What is there now, without keys; empty for nothing.
    pub after: String,
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// When.
    pub at: LogTime,
    /// Log index.
    pub revision: u64,
    /// What is said of it.
    pub note: AuditNote,
    /// Hash of the entry before; zeros before the first.
    pub previous: [u8; HASH_OCTETS],
    /// Hash of this one.
    pub hash: [u8; HASH_OCTETS],
}

impl AuditNote {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_len("by", &self.by, limits::AUDIT_NAME_LEN_MAX)?;
        check_len("action", &self.action, limits::AUDIT_NAME_LEN_MAX)?;
        check_len("resource", &self.resource, limits::AUDIT_NAME_LEN_MAX)?;
        check_len("before", &self.before, limits::AUDIT_SUMMARY_LEN_MAX)?;
        check_len("after", &self.after, limits::AUDIT_SUMMARY_LEN_MAX)
    }
}

impl AuditRecord {
    /// What its hash must be: SHA-256 over the hash of the entry before, number, time in milliseconds and log
    /// index with eight octets each, and the texts, each after its length in four; numbers are big-endian.
    #[must_use]
    pub fn digest(&self) -> [u8; HASH_OCTETS] {
        let mut hash = Sha256::new();
        hash.update(self.previous);
        for number in [self.number, self.at.0, self.revision] {
            hash.update(number.to_be_bytes());
        }
        let AuditNote { by, action, resource, before, after } = &self.note;
        for text in [by, action, resource, before, after] {
            hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize().into()
    }
}

impl Operations {
    pub(super) fn record(&mut self, note: AuditNote, at: LogTime, revision: u64) {
        let newest = self.audit.back();
        let previous = newest.map_or([0; HASH_OCTETS], |newest| newest.hash);
        let number = next_number(newest.map(|newest| newest.number));
        let hash = [0; HASH_OCTETS];
        let mut record = AuditRecord { number, at, revision, note, previous, hash };
        record.hash = record.digest();
        if self.audit.len() >= limits::AUDIT_RECORDS_MAX {
            self.audit.pop_front();
        }
        self.audit.push_back(Arc::new(record));
    }
}
