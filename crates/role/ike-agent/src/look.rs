//! Looks what there is whenever the kernel says that something has changed, and now and then.

use std::{collections::BTreeSet, sync::Arc};

use homeport_hostnet::{Protected, Xfrm};
use homeport_runtime::{Latch, Shutdown};
use tokio::time::{sleep, timeout};

use crate::{
    charon::{Charon, CharonError},
    known::Known,
    limits,
    metrics::{Metrics, PASSED_OVER},
    pairs::{self, Found},
    publish::Publisher,
};

pub(crate) struct Looker {
    pub(crate) xfrm: Xfrm,
    pub(crate) charon: Charon,
    pub(crate) known: Arc<Known>,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: Arc<Metrics>,
    /// Open while the daemon answers.
    pub(crate) daemon: Latch,
    /// Open while the store has what there is.
    pub(crate) store: Latch,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Kernel(#[from] homeport_hostnet::Error),
    #[error(transparent)]
    Daemon(#[from] CharonError),
}

impl LookError {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "kernel_refused",
            Self::Daemon(error) => error.reason(),
        }
    }
}

impl Looker {
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut installed = BTreeSet::new();
        tokio::select! {
            () = self.look_for_ever(&mut installed) => {}
            () = shutdown.begun() => {}
        }
        for protected in installed {
            if let Err(error) = self.xfrm.remove_policies(&protected).await {
                tracing::debug!(%error, "a policy is left behind");
            }
        }
    }

    async fn look_for_ever(&mut self, installed: &mut BTreeSet<Protected>) {
        loop {
            let found = self.look().await;
            self.daemon.set(found.is_ok());
            match found {
                Ok(found) => {
                    self.count(&found);
                    self.known.replace(&found);
                    if let Err(error) = self.keep_policies(&found, installed).await {
                        tracing::warn!(%error, "without its policy an IKE endpoint cannot be moved");
                        self.metrics.look_errors.count("kernel_refused");
                    }
                    self.store.set(self.publisher.publish(&found).await);
                }
                // What it has said last may still be so: nothing is taken away.
                Err(error) => {
                    tracing::warn!(%error, "cannot see what the IKE daemon has");
                    self.metrics.look_errors.count(error.reason());
                    sleep(limits::RETRY_PAUSE).await;
                }
            }
            // Nothing heard for so long is as good as something.
            drop(timeout(limits::LOOK_INTERVAL, self.xfrm.changed()).await);
            sleep(limits::LOOK_PAUSE).await;
        }
    }

    async fn look(&self) -> Result<Found, LookError> {
        let daemon = self.charon.list().await?;
        let kernel = self.xfrm.associations().await?;
        Ok(pairs::join(kernel, daemon, limits::ASSOCIATIONS_MAX))
    }

    /// A policy for each that may have to move, and for no other.
    async fn keep_policies(
        &self,
        found: &Found,
        installed: &mut BTreeSet<Protected>,
    ) -> Result<(), homeport_hostnet::Error> {
        let wanted: BTreeSet<Protected> = found.pairs.values().map(|it| it.protected()).collect();
        for protected in wanted.difference(&installed.clone()) {
            self.xfrm.install_policies(protected).await?;
            installed.insert(*protected);
        }
        for protected in installed.difference(&wanted).copied().collect::<Vec<_>>() {
            self.xfrm.remove_policies(&protected).await?;
            installed.remove(&protected);
        }
        Ok(())
    }

    fn count(&self, found: &Found) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.associations.set(gauge(found.pairs.len()));
        for reason in PASSED_OVER {
            let count = found.passed_over.get(reason).copied().unwrap_or_default();
            let gauge = self.metrics.passed_over.get_or_create(&[("reason", reason)]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
