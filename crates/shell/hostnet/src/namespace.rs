//! Network namespaces, by name as `ip netns` keeps them or by path.

use std::{
    fmt, fs,
    os::fd::AsFd,
    panic,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    mount::{
        MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change,
        unmount,
    },
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

use crate::error::Error;

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// The network namespace of the thread that looks.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Namespace {
    /// The one that the process is in.
    #[default]
    Current,
    /// One that `ip netns` knows by this name.
    Named(String),
    /// The one that a file stands for, such as `/proc/PID/ns/net`.
    At(PathBuf),
}

impl From<&str> for Namespace {
    /// A path when there is a slash in it, else a name; empty for the process's own.
    fn from(text: &str) -> Self {
        if text.is_empty() {
            Self::Current
        } else if text.contains('/') {
            Self::At(PathBuf::from(text))
        } else {
            Self::Named(text.to_owned())
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the process's network namespace"),
            Self::Named(name) => write!(f, "network namespace {name}"),
            Self::At(path) => write!(f, "network namespace at {}", path.display()),
        }
    }
}

impl Namespace {
    /// Creates a named namespace, as `ip netns add` does; `ip netns exec` works with it.
    pub fn create(name: &str) -> Result<Self, Error> {
        const OPERATION: &str = "create";
        let path = path_of(name)?;
        let object = || format!("network namespace {name}");
        let failed = |source: Errno| Error::new(OPERATION, object(), source.into());
        share_names()?;
        // The file is only what the namespace is mounted on.
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        drop(rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?);
        let mounted = on_a_thread(OPERATION, object, || {
            enter_new()?;
            mount_bind(OWN, &path)
        });
        match mounted {
            Ok(Ok(())) => Ok(Self::Named(name.to_owned())),
            Ok(Err(source)) => {
                drop(fs::remove_file(&path));
                Err(failed(source))
            }
            Err(error) => {
                drop(fs::remove_file(&path));
                Err(error)
            }
        }
    }

    /// Removes the name, as `ip netns del` does. The namespace itself goes with its last user.
    pub fn delete(name: &str) -> Result<(), Error> {
        let path = path_of(name)?;
        let object = || format!("network namespace {name}");
        match unmount(&path, UnmountFlags::DETACH) {
            // Not mounted: what a creation that was cut short has left.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(source) => return Err(Error::new("unmount", object(), source.into())),
        }
        fs::remove_file(&path).map_err(|source| Error::new("remove", object(), source))
    }

    /// Runs `work` on a thread inside the namespace and waits for it. What it opens stays in the
    /// namespace, whoever uses it later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        const OPERATION: &str = "enter";
        let Some(path) = self.path()? else {
            return Ok(work());
        };
        let object = || self.to_string();
        let file =
            fs::File::open(&path).map_err(|source| Error::new(OPERATION, object(), source))?;
        on_a_thread(OPERATION, object, || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .map(|()| work())
        })?
        .map_err(|source| Error::new(OPERATION, object(), source.into()))
    }

    /// The file that stands for it; the process's own needs none.
    pub(crate) fn path(&self) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Current => Ok(None),
            Self::Named(name) => path_of(name).map(Some),
            Self::At(path) => Ok(Some(path.clone())),
        }
    }

    /// An open file that stands for it.
    pub(crate) fn open(&self) -> Result<fs::File, Error> {
        let path = self.path()?.unwrap_or_else(|| PathBuf::from(OWN));
        fs::File::open(path).map_err(|source| Error::new("open", self.to_string(), source))
    }
}

/// Runs `work` on a thread inside `namespace` and waits for it: see [`Namespace::run`].
pub fn run_in_namespace<T: Send>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    namespace.run(work)
}

/// Sets a kernel parameter inside a namespace: `net.ipv6.conf.all.forwarding`, with dots or, where
/// an interface name has dots in it, with slashes.
pub fn write_sysctl(namespace: &Namespace, parameter: &str, value: &str) -> Result<(), Error> {
    let path = sysctl(parameter)?;
    let written = namespace.run(|| fs::write(path, value))?;
    written.map_err(|source| {
        Error::new("set", format!("kernel parameter {parameter} to {value} in {namespace}"), source)
    })
}

/// Reads a kernel parameter inside a namespace: see [`write_sysctl`].
pub fn read_sysctl(namespace: &Namespace, parameter: &str) -> Result<String, Error> {
    let path = sysctl(parameter)?;
    let read = namespace.run(|| fs::read_to_string(path))?;
    read.map(|text| text.trim().to_owned()).map_err(|source| {
        Error::new("read", format!("kernel parameter {parameter} in {namespace}"), source)
    })
}

fn sysctl(parameter: &str) -> Result<PathBuf, Error> {
    let well_formed = |part: &str| !part.is_empty() && part != "." && part != "..";
    let separator = if parameter.contains('/') { '/' } else { '.' };
    if !parameter.split(separator).all(well_formed) {
        return Err(Error::Invalid {
            what: "kernel parameter",
            value: parameter.to_owned(),
            expected: "words with dots or slashes between them",
        });
    }
    Ok(Path::new("/proc/sys").join(parameter.replace(separator, "/")))
}

/// A named namespace that is removed when this is dropped: for tests and for `dev`.
#[derive(Debug)]
pub struct TemporaryNamespace {
    name: String,
}

impl TemporaryNamespace {
    /// Creates one with a name that starts with `label`, and that no other process on this host
    /// takes.
    pub fn create(label: &str) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{label}-{}-{count}", std::process::id());
        Self::named(&name)
    }

    /// Creates one with this name.
    pub fn named(name: &str) -> Result<Self, Error> {
        Namespace::create(name)?;
        Ok(Self { name: name.to_owned() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        Namespace::Named(self.name.clone())
    }
}

impl Drop for TemporaryNamespace {
    fn drop(&mut self) {
        if let Err(error) = Namespace::delete(&self.name) {
            tracing::warn!(%error, "a temporary network namespace is left behind");
        }
    }
}

fn path_of(name: &str) -> Result<PathBuf, Error> {
    let taken_as_path =
        name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if taken_as_path || name.len() > 255 {
        return Err(Error::Invalid {
            what: "name of a network namespace",
            value: name.to_owned(),
            expected: "1 to 255 characters without a slash",
        });
    }
    Ok(Path::new(NAMES).join(name))
}

/// Makes the directory of names a shared mount, as `ip netns` does: names then appear in every
/// mount namespace, and removing one there removes it everywhere.
fn share_names() -> Result<(), Error> {
    const SHARED: MountPropagationFlags =
        MountPropagationFlags::SHARED.union(MountPropagationFlags::REC);
    let failed = |source: std::io::Error| Error::new("prepare", NAMES, source);
    fs::create_dir_all(NAMES).map_err(failed)?;
    let directory = fs::File::open(NAMES).map_err(failed)?;
    // Two processes that do this at once would mount twice.
    flock(&directory, FlockOperation::LockExclusive).map_err(|source| failed(source.into()))?;
    match mount_change(NAMES, SHARED) {
        Ok(()) => return Ok(()),
        // It is no mount point yet.
        Err(Errno::INVAL) => {}
        Err(source) => return Err(failed(source.into())),
    }
    mount_bind_recursive(NAMES, NAMES).map_err(|source| failed(source.into()))?;
    mount_change(NAMES, SHARED).map_err(|source| failed(source.into()))
}

/// Puts the calling thread into a new network namespace.
#[expect(
    deprecated,
    reason = "the successor is unsafe because of flags that concern open files; this flag does not"
)]
pub(crate) fn enter_new() -> Result<(), Errno> {
    rustix::thread::unshare(UnshareFlags::NEWNET)
}

/// Runs `work` on a thread of its own, because namespaces belong to threads, and waits for it.
pub(crate) fn on_a_thread<T: Send>(
    operation: &'static str,
    object: impl Fn() -> String,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("namespace".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|source| Error::new(operation, object(), source))?;
        Ok(thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
    })
}
