//! What every process of Homeport needs and no protocol knows of: configuration, shutdown, readiness,
//! telemetry, metrics, the operations port, tasks and clocks, and what is looked at before a start.
//!
//! It is not a framework: a role's `run` calls what it wants, in the order it wants. It depends on no
//! other crate of ours.
//!
//! ```
//! use homeport_runtime::{Readiness, Shutdown, Task, config::OpsConfig, metrics, ops};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::manual();
//! let readiness = Readiness::default();
//! let feed = readiness.latch("feed");
//! let ops = ops::serve(&OpsConfig::default(), metrics::registry(), readiness, shutdown.clone()).await?;
//! println!("http://{}/readyz", ops.address);
//!
//! let worker = Task::spawn("worker", { let shutdown = shutdown.clone(); async move { shutdown.begun().await } });
//! feed.open();
//! shutdown.begin();
//! worker.await?;
//! # Ok(())
//! # }
//! ```

pub mod clock;
pub mod config;
pub mod listener;
pub mod metrics;
pub mod ops;
pub mod preflight;
pub mod readiness;
pub mod reload;
pub mod shutdown;
pub mod task;
pub mod telemetry;
pub mod trace;

pub use readiness::{Latch, Readiness};
pub use shutdown::Shutdown;
pub use task::Task;
