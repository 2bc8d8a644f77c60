//! What must hold, one property a file.

use crate::checks::Event;

mod acknowledged_is_committed;
mod binding_ends_in_time;
mod bulk_is_whole;
mod converges;
mod deregistered_is_gone;
mod exactly_once;
mod feed_is_the_state;
mod feed_never_goes_back;
mod log_time_never_goes_back;
mod one_history;
mod one_state;
mod read_is_linearizable;
mod replica_ends_for_a_reason;
mod sequence_moves_forward;
mod term_never_goes_back;

/// A property. It remembers what it needs of the events before.
pub(crate) trait Invariant: Send {
    /// As the file is called.
    fn name(&self) -> &'static str;

    /// Looks at an event.
    ///
    /// # Errors
    /// When the property does not hold: what was seen.
    fn see(&mut self, event: &Event<'_>) -> Result<(), String>;
}

/// All of them, at the beginning of a run.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<acknowledged_is_committed::AcknowledgedIsCommitted>::default(),
        Box::<binding_ends_in_time::BindingEndsInTime>::default(),
        Box::<bulk_is_whole::BulkIsWhole>::default(),
        Box::<converges::Converges>::default(),
        Box::<deregistered_is_gone::DeregisteredIsGone>::default(),
        Box::<exactly_once::ExactlyOnce>::default(),
        Box::<feed_is_the_state::FeedIsTheState>::default(),
        Box::<feed_never_goes_back::FeedNeverGoesBack>::default(),
        Box::<log_time_never_goes_back::LogTimeNeverGoesBack>::default(),
        Box::<one_history::OneHistory>::default(),
        Box::<one_state::OneState>::default(),
        Box::<read_is_linearizable::ReadIsLinearizable>::default(),
        Box::<replica_ends_for_a_reason::ReplicaEndsForAReason>::default(),
        Box::<sequence_moves_forward::SequenceMovesForward>::default(),
        Box::<term_never_goes_back::TermNeverGoesBack>::default(),
    ]
}
