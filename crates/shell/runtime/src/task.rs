//! Tasks that end with their owner.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::task::JoinHandle;

/// A running task. Dropping it aborts the task, so that nothing outlives who started it; awaiting it
/// gives what the task returned.
#[must_use = "a dropped task is aborted"]
#[derive(Debug)]
pub struct Task<T = ()> {
    name: &'static str,
    handle: JoinHandle<T>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts `future` on the current tokio runtime. The name appears in errors.
    pub fn spawn(name: &'static str, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { name, handle: tokio::spawn(future) }
    }

    /// Starts blocking work (disk, fsync) on a thread of its own. Dropping the task does not stop work
    /// that has begun.
    pub fn spawn_blocking(name: &'static str, work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { name, handle: tokio::task::spawn_blocking(work) }
    }
}

impl<T> Task<T> {
    /// The name given at the start.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the task has ended, by itself or by a panic.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Asks the task to end at its next await.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.handle)
            .poll(context)
            .map_err(|error| TaskError { name, panicked: error.is_panic() })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// A task ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskError {
    /// The task's name.
    pub name: &'static str,
    /// It panicked; otherwise it was aborted.
    pub panicked: bool,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "was aborted" };
        write!(f, "task {} {how}", self.name)
    }
}

impl std::error::Error for TaskError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_dropped_task_is_aborted() {
        let (alive, gone) = oneshot::channel::<()>();
        let task = Task::spawn("endless", async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(task);
        let ended = tokio::time::timeout(Duration::from_secs(5), gone).await;
        assert!(ended.expect("the task ended").is_err());
    }

    #[tokio::test]
    async fn a_task_gives_its_result_or_says_how_it_ended() {
        assert_eq!(Task::spawn("seven", async { 7 }).await, Ok(7));
        assert_eq!(Task::spawn_blocking("eight", || 8).await, Ok(8));
        let aborted = Task::spawn("endless", std::future::pending::<()>());
        aborted.abort();
        let error = aborted.await.expect_err("it was aborted");
        assert_eq!(error.to_string(), "task endless was aborted");
    }
}
