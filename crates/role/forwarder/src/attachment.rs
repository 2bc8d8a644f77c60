//! How the fast path begins and ends: what an earlier process left is taken up, or taken away.

use std::{path::Path, time::Duration};

use homeport_fastpath::{Error as FastError, FastPath, Kept, Mode, Pins, monotonic_ms};
use homeport_hostnet::Namespace;
use homeport_runtime::Shutdown;

use crate::config::{AtStop, Config, Error, TunConfig, XdpConfig, XdpMode};

/// The program on the interfaces. When it is dropped after the shutdown has begun, nothing stays unless
/// that is configured; when it is dropped otherwise, what is pinned stays.
#[derive(Debug)]
pub(crate) struct Attachment {
    namespace: Namespace,
    interfaces: Vec<String>,
    modes: Vec<Mode>,
    home_addresses: u32,
    pins: Option<Pins>,
    keep: Duration,
    at_stop: AtStop,
    shutdown: Shutdown,
    /// Another program is on the interfaces, which goes on until this one's table is whole.
    replaces: bool,
}

/// A program to go on with.
pub(crate) struct Begun {
    pub(crate) path: FastPath,
    pub(crate) attachment: Attachment,
    /// Its table is that of an earlier process.
    pub(crate) adopted: bool,
}

impl Attachment {
    /// Begins as is configured; `None`: all packets take the TUN, which a line says.
    pub(crate) fn begin(config: &Config, shutdown: &Shutdown) -> Result<Option<Begun>, Error> {
        let dir = config.pin_dir();
        let Some(xdp) = config.xdp.as_ref().filter(|xdp| xdp.mode != XdpMode::None) else {
            if let Some(dir) = &dir {
                clear_left(dir);
            }
            return Ok(None);
        };
        let tun = xdp.place(config.tun.as_ref())?;
        match Self::begin_with(xdp, tun, dir.as_deref(), shutdown) {
            Ok(begun) => Ok(Some(begun)),
            Err(error) if xdp.mode == XdpMode::Auto => {
                tracing::warn!(%error, "fast path: none, all packets take the TUN");
                Ok(None)
            }
            Err(source) => Err(Error::FastPath { source }),
        }
    }

    fn begin_with(
        xdp: &XdpConfig,
        tun: &TunConfig,
        dir: Option<&Path>,
        shutdown: &Shutdown,
    ) -> Result<Begun, FastError> {
        let mut attachment = Self {
            namespace: tun.namespace(),
            interfaces: xdp.interfaces.clone(),
            modes: match xdp.mode {
                XdpMode::Auto => vec![Mode::Native, Mode::Generic],
                XdpMode::Native => vec![Mode::Native],
                XdpMode::Generic => vec![Mode::Generic],
                XdpMode::None => vec![],
            },
            home_addresses: xdp.home_addresses_max,
            pins: dir.map(Pins::open).transpose()?,
            keep: Duration::from_secs(xdp.keep_secs),
            at_stop: xdp.at_stop,
            shutdown: shutdown.clone(),
            replaces: false,
        };
        let kept = attachment.pins.as_ref().map(|pins| pins.adopt(attachment.home_addresses));
        match kept.transpose() {
            Ok(Some(Kept::Table(path, repaired))) => {
                let mut path = *path;
                attachment.detach_others()?;
                let mode = attachment.attach(&mut path)?;
                let homes = path.slots().len();
                let goes_on_ms = path.goes_on_ms(monotonic_ms());
                tracing::info!(
                    ?mode, interfaces = ?xdp.interfaces, homes, goes_on_ms, ?repaired,
                    "fast path: XDP, with the table that was kept, until the store has said its own"
                );
                return Ok(Begun { path, attachment, adopted: true });
            }
            Ok(Some(Kept::Other)) => tracing::info!(
                "fast path: the table that was kept is of another version or size, and a new one \
                 takes its place when it is whole"
            ),
            Ok(Some(Kept::Nothing) | None) => {}
            Err(error) => tracing::warn!(%error, "fast path: what was kept cannot be used"),
        }
        attachment.begin_anew(xdp)
    }

    fn begin_anew(mut self, xdp: &XdpConfig) -> Result<Begun, FastError> {
        let mut path = FastPath::load(self.home_addresses)?;
        self.detach_others()?;
        if self.pins.as_ref().is_some_and(Pins::is_attached) {
            self.replaces = true;
        } else {
            self.keep_table(&path)?;
            let mode = self.attach(&mut path)?;
            tracing::info!(?mode, interfaces = ?xdp.interfaces, "fast path: XDP");
        }
        Ok(Begun { path, attachment: self, adopted: false })
    }

    /// The table is whole: nothing of an earlier program is needed any more.
    pub(crate) fn take_place(&mut self, path: &mut FastPath) -> Result<(), FastError> {
        if std::mem::take(&mut self.replaces) {
            self.keep_table(path)?;
            let mode = self.attach(path)?;
            tracing::info!(?mode, "fast path: XDP, in the place of an earlier program");
        }
        Ok(())
    }

    /// The program of an earlier process is still on the interfaces, by its own table.
    pub(crate) const fn replaces(&self) -> bool {
        self.replaces
    }

    /// Says that somebody looks after the table.
    pub(crate) fn prolong(&self, path: &mut FastPath) {
        if self.pins.is_some() {
            let keep_ms = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
            path.go_on_until(monotonic_ms().saturating_add(keep_ms));
        }
    }

    /// Takes the program off the interfaces.
    pub(crate) fn detach(&mut self, path: &mut FastPath) -> Result<(), FastError> {
        path.detach_all()?;
        self.pins.as_mut().map_or(Ok(()), Pins::clear)
    }

    fn keep_table(&self, path: &FastPath) -> Result<(), FastError> {
        self.pins.as_ref().map_or(Ok(()), |pins| pins.keep(path, self.home_addresses))
    }

    fn detach_others(&mut self) -> Result<(), FastError> {
        let Some(pins) = &mut self.pins else { return Ok(()) };
        let others = inside(&self.namespace, || pins.detach_others(&self.interfaces))?;
        if !others.is_empty() {
            tracing::info!(indexes = ?others, "fast path: taken off interfaces that are not named");
        }
        Ok(())
    }

    /// Attaches in the first way that works on all interfaces; the way in which an earlier program is
    /// there is tried first, since it can be followed without a gap.
    fn attach(&mut self, path: &mut FastPath) -> Result<Mode, FastError> {
        let mut modes = self.modes.clone();
        let (pins, interfaces) = (&self.pins, &self.interfaces);
        let there = inside(&self.namespace, || {
            Ok(pins.as_ref().and_then(|it| interfaces.iter().find_map(|name| it.mode_of(name))))
        })?;
        modes.sort_by_key(|mode| Some(*mode) != there);
        let mut failed = FastError::NotBuilt;
        for mode in modes {
            let (pins, interfaces) = (&mut self.pins, &self.interfaces);
            let attached = inside(&self.namespace, || {
                interfaces.iter().try_for_each(|interface| match pins {
                    Some(pins) => pins.attach(path, interface, mode),
                    None => path.attach(interface, mode),
                })
            });
            match attached {
                Ok(()) => return Ok(mode),
                Err(error) => {
                    path.detach_all()?;
                    if let Some(pins) = &mut self.pins {
                        pins.detach_all()?;
                    }
                    failed = error;
                }
            }
        }
        if let Some(pins) = &mut self.pins {
            pins.clear()?;
        }
        Err(failed)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let Some(pins) = self.pins.take() else { return };
        if !self.shutdown.is_begun() {
            return;
        }
        let removed = match self.at_stop {
            AtStop::Remove => pins.remove(),
            AtStop::Keep => {
                let keep_secs = self.keep.as_secs();
                tracing::info!(keep_secs, "fast path: it goes on without this process");
                Ok(())
            }
        };
        if let Err(error) = removed {
            tracing::error!(%error, "fast path: something of it stays");
        }
    }
}

fn inside<T: Send>(
    namespace: &Namespace,
    work: impl FnOnce() -> Result<T, FastError> + Send,
) -> Result<T, FastError> {
    namespace.run(work).unwrap_or_else(|error| {
        let source = std::io::Error::other(error);
        Err(FastError::System { what: "enter the namespace", source })
    })
}

/// No fast path is wanted: what an earlier process left goes.
fn clear_left(dir: &Path) {
    let removed = match Pins::find(dir) {
        Ok(None) => return,
        Ok(Some(pins)) => pins.remove(),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => tracing::info!(dir = %dir.display(), "fast path: removed what was left of one"),
        Err(error) => tracing::warn!(%error, "fast path: what is left of one stays"),
    }
}
