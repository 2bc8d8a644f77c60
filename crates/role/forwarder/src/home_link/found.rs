//! Results of Duplicate Address Detection on their way to the store.

use homeport_binding::{Command, Detected, Outcome};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{limits, store::Store};

/// Tells the store what was found, again and again until it is known there or nobody waits for it any
/// more, until the sender is gone.
pub(crate) async fn report(
    store: Store,
    mut found: mpsc::Receiver<Detected>,
    lost: impl Fn(u64) + Send,
) {
    let mut waiting: Vec<(Detected, Instant)> = Vec::new();
    loop {
        if waiting.is_empty() {
            match found.recv().await {
                Some(detected) => waiting.push((detected, Instant::now())),
                None => return,
            }
        }
        while waiting.len() < limits::RESULTS_AT_ONCE_MAX
            && let Ok(detected) = found.try_recv()
        {
            waiting.push((detected, Instant::now()));
        }
        // All together, so that they share an entry of the log.
        let mut asked = Vec::with_capacity(waiting.len());
        for (detected, since) in waiting.drain(..) {
            let command = Command::DuplicateAddressDetection(detected);
            asked.push((detected, since, store.ask(command).await));
        }
        let mut failed = Vec::new();
        for (detected, since, asked) in asked {
            if asked.outcome().await != Some(Outcome::Done) {
                failed.push((detected, since));
            }
        }
        let before = failed.len();
        failed.retain(|(_, since)| since.elapsed() < limits::RESULT_AGE_MAX);
        let gone = before.saturating_sub(failed.len());
        if gone > 0 {
            lost(u64::try_from(gone).unwrap_or(u64::MAX));
        }
        waiting = failed;
        if !waiting.is_empty() {
            sleep(limits::LEASE_RETRY).await;
        }
    }
}
