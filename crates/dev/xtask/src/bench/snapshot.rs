//! Commands that come at their pace while the leader writes a snapshot.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_api::store::SubmitRequest;
use homeport_api::store::binding_store_client::BindingStoreClient;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use super::latencies::Latencies;
use super::load::{Writes, accepted};
use super::replicas::Replicas;
use super::{Figures, progress};

/// Commands a second.
const PER_SECOND: u32 = 5_000;
/// They are sent so often in a second.
const TICKS_PER_SECOND: u32 = 200;
/// How often it is looked whether a snapshot is being written.
const LOOK: Duration = Duration::from_millis(5);
/// Seconds.
const LASTS: u32 = 90;

/// When a command was due, and how long after that it was acknowledged: who waits for a place in the
/// stream waits, too.
pub(super) type Timed = (Instant, Duration);

/// Refreshes these home addresses in turn, and tells apart those that were under way while the leader wrote
/// a snapshot. Enough is written for one; the replicas begin one after so many MiB of commands.
pub(crate) async fn measure(
    replicas: &Replicas,
    figures: &mut Figures,
    writes: Writes,
) -> Result<()> {
    let leader = replicas.leader().await?;
    let directory = replicas.snapshots(leader);
    let watching = tokio::spawn(watch(directory));
    let timed = paced(replicas, leader, writes, LASTS).await?;
    let mut snapshots = watching.await?;
    // The last may have begun when the commands ended.
    snapshots.retain(|(begin, _)| timed.last().is_some_and(|(due, _)| begin < due));
    ensure!(!snapshots.is_empty(), "no snapshot was written in {LASTS} s");
    let (mut during, mut usual) = (Latencies::default(), Latencies::default());
    for (due, took) in timed {
        let is_during = snapshots.iter().any(|(begin, end)| due + took > *begin && due < *end);
        if is_during { &mut during } else { &mut usual }.record(took);
    }
    let written: Duration = snapshots.iter().map(|(begin, end)| *end - *begin).sum();
    let count = u32::try_from(snapshots.len())?;
    figures.ms("snapshot_written_ms_1m", written.as_secs_f64() * 1000.0 / f64::from(count));
    let p99 = usual.per_mille_ms(990);
    figures.ms("ack_ms_p99_at_5000_per_s", p99);
    figures.ms("ack_ms_p99_while_a_snapshot_is_written", during.per_mille_ms(990));
    figures.ms("ack_ms_max_while_a_snapshot_is_written", during.per_mille_ms(1000));
    figures.ms("ack_ms_max_at_5000_per_s", usual.per_mille_ms(1000));
    figures.ratio("snapshot_p99_ratio", during.per_mille_ms(990) / p99);
    figures.ratio("snapshot_max_ratio", during.per_mille_ms(1000) / p99);
    Ok(())
}

/// When snapshots were written, as long as commands come: a file that is not whole yet has another name.
async fn watch(directory: impl AsRef<Path>) -> Vec<(Instant, Instant)> {
    let until = Instant::now() + Duration::from_secs(LASTS.into());
    let (mut all, mut begun) = (Vec::new(), None);
    while Instant::now() < until || begun.is_some() {
        match (begun, is_written(directory.as_ref())) {
            (None, true) => begun = Some(Instant::now()),
            (Some(begin), false) => {
                all.push((begin, Instant::now()));
                begun = None;
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
    all
}

fn is_written(directory: &Path) -> bool {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.map(|file| file.path()).any(|path| path.extension().is_some_and(|end| end == "tmp"))
}

/// Sends 5,000 commands a second to a replica, for so many seconds.
pub(super) async fn paced(
    replicas: &Replicas,
    leader: usize,
    writes: Writes,
    seconds: u32,
) -> Result<Vec<Timed>> {
    let per_tick = PER_SECOND / TICKS_PER_SECOND;
    let (requests, outgoing) = mpsc::channel(usize::try_from(PER_SECOND)?);
    let mut client = BindingStoreClient::new(replicas.channel(leader).await?);
    let mut responses = client.submit(ReceiverStream::new(outgoing)).await?.into_inner();
    let (due_at, mut due) = mpsc::channel(usize::try_from(PER_SECOND * seconds)?);
    let sending = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / TICKS_PER_SECOND);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for n in 0..seconds * TICKS_PER_SECOND {
            let at = tick.tick().await.into_std();
            for ticket in n * per_tick..(n + 1) * per_tick {
                due_at.send(at).await?;
                let command = Some(writes.command(ticket));
                let ticket = ticket.into();
                requests.send(SubmitRequest { ticket, command, ..<_>::default() }).await?;
            }
        }
        anyhow::Ok(())
    });
    let total = seconds * TICKS_PER_SECOND * per_tick;
    let bar = progress(seconds, "seconds of 5,000 commands");
    let (mut dues, mut timed) = (Vec::new(), Vec::new());
    for n in 1..=total {
        let response = responses.message().await?.context("the replica ended the stream")?;
        accepted(response.result)?;
        let now = Instant::now();
        let ticket = usize::try_from(response.ticket)?;
        while dues.len() <= ticket {
            dues.push(due.recv().await.context("nothing was sent")?);
        }
        timed.push((dues[ticket], now - dues[ticket]));
        if n % PER_SECOND == 0 {
            bar.inc(1);
        }
    }
    bar.finish();
    sending.await??;
    Ok(timed)
}
