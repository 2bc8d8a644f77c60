//! Devices for a moment: to see whether the host gives any, without those that others use.

use std::{fs, io};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::{error::Error, namespace::Namespace, tun};

/// What kind of device to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrialKind {
    /// Whole IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

/// A device without addresses that vanishes with this, or with the process.
pub struct TrialDevice {
    _device: SyncDevice,
    name: String,
}

impl std::fmt::Debug for TrialDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrialDevice").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TrialDevice {
    /// Makes one in the calling thread's network namespace, with a name that holds the process id.
    ///
    /// # Errors
    /// When the host gives none.
    pub fn open(kind: TrialKind) -> Result<Self, Error> {
        let name = format!("hpt-{}", std::process::id());
        let device = match kind {
            TrialKind::Tun => tun::create(&name, 1500)?,
            TrialKind::Tap => DeviceBuilder::new()
                .name(&name)
                .layer(Layer::L2)
                .enable(false)
                .build_sync()
                .map_err(|source| Error::new("create", format!("TAP {name}"), source))?,
        };
        Ok(Self { _device: device, name })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether the driver of TUN devices is there and lets itself be opened: nothing is made by that.
///
/// # Errors
/// The driver is missing, or may not be opened.
pub fn open_tun_driver() -> Result<(), Error> {
    const DRIVER: &str = "/dev/net/tun";
    let opened = fs::File::options().read(true).write(true).open(DRIVER);
    opened.map(drop).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            Error::NoTunDriver { operation: "open", object: DRIVER.to_owned(), source }
        }
        _ => Error::new("open", DRIVER, source),
    })
}

/// Runs `work` in a network namespace of its own where the process may make one, else in the one that
/// is given; says whether it was one of its own.
///
/// # Errors
/// When neither can be entered.
pub fn run_apart<T: Send>(
    otherwise: &Namespace,
    work: impl FnOnce() -> T + Send,
) -> Result<(T, bool), Error> {
    use crate::namespace::{enter_new, on_a_thread};
    let apart = on_a_thread(
        "enter",
        || "a new network namespace".to_owned(),
        || match enter_new() {
            Ok(()) => Ok(work()),
            Err(_) => Err(work),
        },
    )?;
    match apart {
        Ok(done) => Ok((done, true)),
        Err(work) => otherwise.run(work).map(|done| (done, false)),
    }
}
