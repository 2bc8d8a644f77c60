//! Streams of messages to whoever watches.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use homeport_runtime::{Shutdown, Task};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::limits;

/// What `work` sends, until its reader goes, the work is done, or the replica ends.
pub(crate) fn stream<M, W>(
    name: &'static str,
    shutdown: &Shutdown,
    work: impl FnOnce(mpsc::Sender<M>) -> W,
) -> BoxStream<'static, Result<M, Status>>
where
    M: Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let (out, messages) = mpsc::channel(limits::FEED_MESSAGES_WAITING_MAX);
    let (work, shutdown) = (work(out), shutdown.clone());
    let task = Task::spawn(name, async move {
        tokio::select! {
            () = work => {}
            () = shutdown.begun() => {}
        }
    });
    // The task ends with the stream: it is dropped with it.
    let stream = ReceiverStream::new(messages).map(move |message| {
        let _alive = &task;
        Ok(message)
    });
    stream.boxed()
}
