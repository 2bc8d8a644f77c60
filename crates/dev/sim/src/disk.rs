//! A replica's disk: what was written without being synced may be lost when the power fails, from some
//! point on and not before it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use homeport_raft::{RecordChange, RecordDisk};

use crate::bugs::Bug;
use crate::chance::Chance;

/// How the vote's record is called (`homeport-raft`, `disk/markers.rs`).
const VOTE: &[u8] = b"\x00vote";

/// The device. Clones share it.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    chance: Chance,
    bug: Option<Bug>,
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Written but not synced, in order.
    pending: Vec<RecordChange>,
    /// Which start of the replica may write.
    boot: u64,
    slow_ms: u64,
    fails: bool,
    syncs: u64,
}

impl Disk {
    pub(crate) fn new(chance: Chance, bug: Option<Bug>) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance,
            bug,
            durable: BTreeMap::new(),
            pending: Vec::new(),
            boot: 0,
            slow_ms: 0,
            fails: false,
            syncs: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a replica that starts now writes through.
    pub(crate) fn mount(&self) -> Arc<dyn RecordDisk> {
        let mut state = self.lock();
        state.boot += 1;
        Arc::new(Mounted { disk: self.clone(), boot: state.boot })
    }

    /// The replica stops. When the power fails, only a prefix of what was not synced stays; a killed
    /// process leaves all of it to the kernel.
    pub(crate) fn stop(&self, power_fails: bool) {
        let mut state = self.lock();
        state.boot += 1;
        state.fails = false;
        let written = u64::try_from(state.pending.len()).unwrap_or(u64::MAX);
        let kept = if power_fails { state.chance.range(0, written + 1) } else { written };
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let pending = std::mem::take(&mut state.pending);
        for change in pending.into_iter().take(kept) {
            state.settle(change);
        }
    }

    /// Everything is gone.
    pub(crate) fn wipe(&self) {
        let mut state = self.lock();
        state.durable.clear();
        state.pending.clear();
    }

    /// Each sync takes up to this much longer.
    pub(crate) fn slow(&self, by_ms: u64) {
        self.lock().slow_ms = by_ms;
    }

    /// The next sync fails.
    pub(crate) fn fail(&self) {
        self.lock().fails = true;
    }
}

impl State {
    fn settle(&mut self, (key, value): RecordChange) {
        match value {
            Some(value) => drop(self.durable.insert(key, value)),
            None => drop(self.durable.remove(&key)),
        }
    }

    /// The first `count` changes are durable.
    fn sync(&mut self, count: usize) {
        self.syncs += 1;
        let count = count.min(self.pending.len());
        match self.bug {
            // Most syncs do nothing.
            Some(Bug::SkipFsync) if !self.syncs.is_multiple_of(8) => {}
            // The vote waits for entries to be written with.
            Some(Bug::VoteAfterLog) => {
                let synced: Vec<_> = self.pending.drain(..count).collect();
                let has_entries = synced.iter().any(|(key, _)| key.first() == Some(&1));
                let (votes, others): (Vec<_>, Vec<_>) =
                    synced.into_iter().partition(|(key, _)| key == VOTE && !has_entries);
                others.into_iter().for_each(|change| self.settle(change));
                self.pending.splice(0..0, votes);
            }
            _ => {
                let synced: Vec<_> = self.pending.drain(..count).collect();
                synced.into_iter().for_each(|change| self.settle(change));
            }
        }
    }
}

/// The disk under one start of a replica.
struct Mounted {
    disk: Disk,
    boot: u64,
}

impl RecordDisk for Mounted {
    fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.disk.lock().durable.clone()
    }

    fn write(&self, changes: Vec<RecordChange>) -> io::Result<()> {
        let mut state = self.disk.lock();
        if state.boot == self.boot {
            state.pending.extend(changes);
        }
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let (disk, boot) = (self.disk.clone(), self.boot);
        Box::pin(async move {
            let (delay, count) = {
                let mut state = disk.lock();
                let most = state.slow_ms;
                let slow = state.chance.range(0, most + 1);
                (state.chance.range(0, 3) + slow, state.pending.len())
            };
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let mut state = disk.lock();
            if state.boot != boot {
                return Err(io::Error::other("the power has failed"));
            }
            if state.fails {
                return Err(io::Error::other("the device does not answer"));
            }
            state.sync(count);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8]) -> RecordChange {
        (key.to_vec(), Some(vec![1]))
    }

    async fn left(bug: Option<Bug>, written: &[&[u8]], after: &[&[u8]]) -> Vec<Vec<u8>> {
        let disk = Disk::new(Chance::new(7, "disk"), bug);
        let mounted = disk.mount();
        mounted.write(written.iter().map(|key| put(key)).collect()).unwrap();
        mounted.sync().await.unwrap();
        mounted.write(after.iter().map(|key| put(key)).collect()).unwrap();
        disk.stop(true);
        mounted.write(vec![put(b"late")]).unwrap();
        let records = disk.mount().records();
        records.into_keys().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_synced_stays_and_what_comes_after_the_end_is_not_written() {
        let kept = left(None, &[b"a", b"b"], &[b"c", b"d"]).await;
        assert!(kept.starts_with(&[b"a".to_vec(), b"b".to_vec()]), "{kept:?}");
        assert!(!kept.contains(&b"d".to_vec()) || kept.contains(&b"c".to_vec()), "{kept:?}");
        assert!(!kept.contains(&b"late".to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn planted_bugs_lose_what_was_synced() {
        let mut lost = 0;
        for _ in 0..4 {
            lost +=
                u32::from(!left(Some(Bug::SkipFsync), &[b"a"], &[]).await.contains(&b"a".to_vec()));
        }
        let whole = left(Some(Bug::VoteAfterLog), &[VOTE, b"\x01entry"], &[]).await;
        assert_eq!(whole.len(), 2, "with entries it is written");
        let chances = left(Some(Bug::VoteAfterLog), &[VOTE], &[b"a", b"b", b"c"]).await;
        assert!(lost > 0 || !chances.contains(&VOTE.to_vec()));
    }
}
