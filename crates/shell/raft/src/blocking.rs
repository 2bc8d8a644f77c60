//! Work that waits for the disk.

use std::{fmt, io};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// The runtime has ended before the work was done.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this replica is stopping")
    }
}

impl std::error::Error for Interrupted {}

/// Does `work` off the async threads. A runtime of one thread does it in place: it has nobody whom
/// that would hold up, and a simulation can only repeat what no other thread takes part in.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Interrupted)
}

/// The lowest priority that a thread can have among those that run by turns (see setpriority(2)).
const NICENESS: i32 = 19;

/// Does long `work` on a thread of its own, behind all others that want a processor. It is told whether it
/// may wait: a runtime of one thread does it in place, as with [`blocking`].
pub(crate) async fn behind_all<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(bool) -> T + Send + 'static,
) -> io::Result<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work(false));
    }
    let (done, result) = oneshot::channel();
    // Not one of the runtime's: nobody without privileges gets its priority back.
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let thread = rustix::thread::gettid();
        if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
            tracing::debug!(%error, "cannot lower a thread's priority");
        }
        // Nobody waits any more when the replica is stopping.
        drop(done.send(work(true)));
    })?;
    result.await.map_err(|_| io::Error::other(Interrupted))
}
