//! Where a simulation looks into a replica.

use homeport_binding::{Batch, BindingCache, StateRecord, Verdict};

/// Stands between a replica's log and its state machine. A simulation watches there what each replica
/// applies, and plants bugs there to see whether it finds them; a replica that serves has none.
pub trait Tap: Send + Sync {
    /// Applies a log entry, as [`BindingCache::apply`] does.
    fn apply(&mut self, cache: &mut BindingCache, index: u64, batch: Batch) -> Vec<Verdict>;

    /// The state is another one: an entry without commands was passed, or a snapshot taken over.
    fn moved(&mut self, cache: &BindingCache, by_snapshot: bool);

    /// The records of a snapshot.
    fn records(&self, cache: &BindingCache) -> Vec<StateRecord> {
        cache.records().collect()
    }
}
