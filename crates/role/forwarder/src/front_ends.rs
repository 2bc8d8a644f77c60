//! The front-ends behind a name: one link to each address that it has, looked up again and again. Where front-ends come
//! and go, as those of a Deployment do, one name stands for all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use homeport_runtime::Task;
use homeport_tls::Way;
use tokio::{net::lookup_host, sync::mpsc};

use crate::{
    config::Peer,
    limits,
    punt::{self, SignallingEvent},
};

/// Keeps up links to all of them, for ever. `place` is that of the name in the configuration.
pub(crate) async fn follow(
    place: usize,
    front_end: Peer,
    way: Way,
    out: mpsc::Sender<SignallingEvent>,
) {
    let mut links = Links::default();
    while !out.is_closed() {
        match lookup_host(&front_end.0).await {
            Ok(found) => links.follow(found.take(limits::ENDPOINTS_MAX).collect(), |at, wanted| {
                let (index, way) = (index(place, at), (at, way.clone()));
                let link = punt::link(index, front_end.clone(), way, wanted, out.clone());
                Task::spawn("front-end link", link)
            }),
            // Those that are known are still there, for all we know.
            Err(error) => tracing::debug!(name = front_end.0, %error, "name not found"),
        }
        tokio::time::sleep(limits::NAME_LOOKUP_INTERVAL).await;
    }
}

/// The same for all forwarders, since they have the same configuration.
fn index(place: usize, at: SocketAddr) -> usize {
    let mut hasher = DefaultHasher::new();
    (place, at).hash(&mut hasher);
    // Half of it on machines of 32 bits is as good.
    usize::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}

#[derive(Default)]
struct Links(BTreeMap<SocketAddr, Link>);

struct Link {
    task: Task,
    wanted: Arc<AtomicBool>,
}

impl Links {
    /// Begins links to those that are new. An address that the name has no more is not dialled again, but its link
    /// goes on while it stands: what is being ended answers what it has got.
    fn follow(
        &mut self,
        found: BTreeSet<SocketAddr>,
        begin: impl Fn(SocketAddr, Arc<AtomicBool>) -> Task,
    ) {
        self.0.retain(|_, link| !link.task.is_finished());
        for (at, link) in &self.0 {
            link.wanted.store(found.contains(at), Ordering::Relaxed);
        }
        for at in found {
            self.0.entry(at).or_insert_with(|| {
                let wanted = Arc::new(AtomicBool::new(true));
                Link { task: begin(at, Arc::clone(&wanted)), wanted }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_name_is_followed_and_what_it_has_no_more_ends_by_itself() {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let begin = |at: SocketAddr, wanted: Arc<AtomicBool>| {
            let ended = ended.clone();
            Task::spawn("link", async move {
                while wanted.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                ended.send(at).unwrap();
            })
        };
        let [a, b, c]: [SocketAddr; 3] =
            ["10.0.0.1:1", "10.0.0.2:1", "[::3]:1"].map(|it| it.parse().unwrap());
        let mut links = Links::default();
        links.follow([a, b].into(), begin);
        links.follow([b, c].into(), begin);
        assert_eq!(links.0.len(), 3, "the one that went is not cut off");
        assert_eq!(ends.recv().await, Some(a));
        tokio::time::sleep(Duration::from_millis(5)).await;
        links.follow([a, b, c].into(), begin);
        assert!(links.0.values().all(|it| !it.task.is_finished()), "it came back");
        assert!(index(0, a) == index(0, a) && index(0, a) != index(1, a));
    }
}
