//! Work that waits for the disk.

use std::fmt;
use tokio::runtime::{Handle, RuntimeFlavor};

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
