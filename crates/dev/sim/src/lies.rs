//! Planted bugs of the state machine: what a tap does with a log entry instead of applying it.

use homeport_binding::{
    Batch, BindingCache, Command, LogTime, Outcome, Registration, StateRecord, Verdict,
};
use homeport_wire::Status;

use crate::bugs::Bug;
use crate::process;

/// Applies an entry as a store with this bug would.
pub(crate) fn apply(
    bug: Option<Bug>,
    cache: &mut BindingCache,
    index: u64,
    mut batch: Batch,
) -> Vec<Verdict> {
    match bug {
        Some(Bug::LocalClockExpiry) => {
            batch.at = LogTime(process::wall_ms());
            cache.apply(index, batch)
        }
        Some(Bug::DoubleApply) => {
            for r in registrations(&mut batch) {
                let is_again = cache.home(r.home_address).is_some_and(|home| {
                    home.remembered.iter().any(|known| known.request_id == r.request_id)
                });
                if is_again {
                    r.request_id = r.request_id.map(|octet| !octet);
                }
            }
            cache.apply(index, batch)
        }
        Some(Bug::LostBulkTail) => lose_bulk_tail(cache, index, batch),
        Some(Bug::SequenceOffByOne) => take_equal_sequence(cache, index, batch),
        Some(Bug::DroppedDeregistration) => drop_deregistrations(cache, index, &batch),
        _ => cache.apply(index, batch),
    }
}

/// The records of a snapshot of a store with this bug.
pub(crate) fn records(bug: Option<Bug>, cache: &BindingCache) -> Vec<StateRecord> {
    let is_tombstone = |record: &StateRecord| matches!(record, StateRecord::Home(_, home) if home.bindings.is_empty());
    let forgets = bug == Some(Bug::SnapshotWithoutTombstones);
    cache.records().filter(|record| !(forgets && is_tombstone(record))).collect()
}

fn registrations(batch: &mut Batch) -> impl Iterator<Item = &mut Registration> {
    batch.commands.iter_mut().filter_map(|command| match command {
        Command::Register(registration) => Some(registration),
        _ => None,
    })
}

fn lose_bulk_tail(cache: &mut BindingCache, index: u64, mut batch: Batch) -> Vec<Verdict> {
    let mut lost = vec![false; batch.commands.len()];
    for (command, lost) in batch.commands.iter_mut().zip(&mut lost) {
        if let Command::Register(r) = command
            && r.bids.len() > 1
            && !r.lifetime.is_deregistration()
        {
            r.bids.pop();
            *lost = true;
        }
    }
    let mut verdicts = cache.apply(index, batch);
    for (verdict, lost) in verdicts.iter_mut().zip(lost) {
        if let Outcome::Answer(answer) = &mut verdict.outcome
            && lost
        {
            answer.bid_statuses.push(Status::ACCEPTED);
        }
    }
    verdicts
}

fn take_equal_sequence(cache: &mut BindingCache, index: u64, mut batch: Batch) -> Vec<Verdict> {
    let mut moved = vec![false; batch.commands.len()];
    for (command, moved) in batch.commands.iter_mut().zip(&mut moved) {
        if let Command::Register(r) = command
            && cache.home(r.home_address).is_some_and(|home| home.sequence == r.sequence)
        {
            r.sequence = r.sequence.next();
            *moved = true;
        }
    }
    let mut verdicts = cache.apply(index, batch.clone());
    for ((verdict, command), moved) in verdicts.iter_mut().zip(&batch.commands).zip(moved) {
        if let (Outcome::Answer(answer), Command::Register(r)) = (&mut verdict.outcome, command)
            && moved
            && answer.sequence == r.sequence
        {
            answer.sequence.0 = answer.sequence.0.wrapping_sub(1);
        }
    }
    verdicts
}

fn drop_deregistrations(cache: &mut BindingCache, index: u64, batch: &Batch) -> Vec<Verdict> {
    let is_dropped = |command: &Command| matches!(command, Command::Register(r) if r.lifetime.is_deregistration());
    // What it would have said.
    let said = cache.clone().apply(index, batch.clone());
    let kept = batch.commands.iter().filter(|command| !is_dropped(command)).cloned();
    let done = cache.apply(index, Batch { at: batch.at, commands: kept.collect() });
    let mut done = done.into_iter();
    let verdicts = batch.commands.iter().zip(said).map(|(command, said)| match command {
        command if is_dropped(command) => said,
        _ => done.next().unwrap_or(said),
    });
    verdicts.collect()
}
