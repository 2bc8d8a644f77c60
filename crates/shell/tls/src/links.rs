//! The links of a process, protected or not.

use std::sync::Arc;

use homeport_runtime::{Task, config::Refusal, metrics::Registry};
use tokio::sync::watch;

use crate::{
    config::TlsConfig,
    guard::GuardLayer,
    identity::{Identity, Role},
    limits::LOOK_INTERVAL,
    material::{self, Material, Texts},
    metrics::Metrics,
};

/// How a process's links are protected. Clones are of the same; the default is not at all.
#[derive(Clone, Debug, Default)]
pub struct Links(pub(crate) Option<Arc<Protected>>);

#[derive(Debug)]
pub(crate) struct Protected {
    pub(crate) now: watch::Receiver<Arc<Material>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Sees to changes of the files; ends with the last link.
    _looking: Option<Task<()>>,
}

impl Protected {
    pub(crate) fn material(&self) -> Arc<Material> {
        Arc::clone(&self.now.borrow())
    }
}

impl Links {
    /// Reads what `[tls]` names, and takes it again when it changes. Without the section links are plain, and
    /// the log says so.
    ///
    /// # Errors
    /// The key at fault, and what would do.
    pub fn open(
        config: Option<&TlsConfig>,
        own: Role,
        registry: &mut Registry,
    ) -> Result<Self, Refusal> {
        let Some(config) = config else {
            tracing::warn!(
                "links are neither encrypted nor authenticated: whoever reaches this process's gRPC port is \
                 believed; name certificates in the section [tls]"
            );
            return Ok(Self::default());
        };
        let metrics = Arc::new(Metrics::register(registry));
        let material = material::read(config, own)?;
        metrics.holds(&material);
        let identity = &material.identity;
        tracing::info!(%identity, expires = material.own_end, "links use mutual TLS 1.3");
        let texts = material.texts.clone();
        let (sender, now) = watch::channel(Arc::new(material));
        let looking = look_after(config.clone(), own, texts, sender, Arc::clone(&metrics));
        let looking = Some(Task::spawn("tls", looking));
        Ok(Self(Some(Arc::new(Protected { now, metrics, _looking: looking }))))
    }

    /// With the files as they are now, for who does not run for long.
    ///
    /// # Errors
    /// The key at fault, and what would do.
    pub fn fixed(config: &TlsConfig, own: Role) -> Result<Self, Refusal> {
        let material = material::read(config, own)?;
        let metrics = Arc::new(Metrics::register(&mut homeport_runtime::metrics::registry()));
        let (_, now) = watch::channel(Arc::new(material));
        Ok(Self(Some(Arc::new(Protected { now, metrics, _looking: None }))))
    }

    /// Whether links are protected.
    #[must_use]
    pub const fn are_protected(&self) -> bool {
        self.0.is_some()
    }

    /// Who this process is to others.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.0.as_ref().map(|it| it.material().identity.clone())
    }

    /// For each server: refuses calls that the caller's certificate does not allow.
    #[must_use]
    pub fn guard(&self) -> GuardLayer {
        GuardLayer::new(self.0.as_ref().map(|it| Arc::clone(&it.metrics)))
    }
}

/// Takes what the files say once they have changed and stand still. What cannot be used changes nothing.
async fn look_after(
    config: TlsConfig,
    own: Role,
    mut judged: Texts,
    now: watch::Sender<Arc<Material>>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = judged.clone();
    loop {
        ticks.tick().await;
        let files = config.clone();
        let read = tokio::task::spawn_blocking(move || material::texts(&files)).await;
        let Ok(read) = read else { continue };
        // Several files change one after the other: none is judged in between.
        let stands_still = read == last;
        last = read;
        if !stands_still || last == judged {
            continue;
        }
        judged.clone_from(&last);
        match material::read(&config, own) {
            Ok(material) => {
                metrics.holds(&material);
                metrics.reloaded("taken");
                let identity = &material.identity;
                tracing::info!(%identity, expires = material.own_end, "certificates are read again");
                now.send_replace(Arc::new(material));
            }
            Err(error) => {
                metrics.reloaded("refused");
                tracing::error!(%error, "certificates have changed and cannot be used: they stay as they were");
            }
        }
    }
}
