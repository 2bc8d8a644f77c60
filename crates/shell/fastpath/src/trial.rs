//! Whether what is to outlive the process could be kept, tried beside what is kept already: nothing in
//! the directory itself is opened, and nothing stays.

use std::{
    fs, io,
    os::{fd::AsFd as _, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fs::{Access, access},
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::UnshareFlags,
};

use crate::{
    error::Error,
    links,
    pins::{failed, is_bpf},
    program::FastPath,
};

/// Where something would be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PinPlace {
    /// In the file system of type bpf that is there, around this directory.
    Mounted(PathBuf),
    /// There is none yet; one can be mounted at this directory, as [`crate::Pins::open`] does.
    Mountable(PathBuf),
}

/// Tries whether this program could be kept in a directory: by keeping it beside the directory, in the
/// same file system, for a moment. Where that would have to be mounted, this is done where nobody else
/// sees it.
///
/// # Errors
/// What would hinder [`crate::Pins::open`] and what comes after it.
pub fn try_pinning(path: &FastPath, directory: &Path) -> Result<PinPlace, Error> {
    let parent = directory.parent().unwrap_or(directory);
    let there = parent.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    if is_bpf(there)? {
        pin_in(path, there)?;
        return Ok(PinPlace::Mounted(there.to_owned()));
    }
    let no = |why: String| Error::NoBpffs { place: parent.to_owned(), why };
    if there == parent {
        let mut listed = fs::read_dir(parent).map_err(failed("list", parent))?;
        if listed.next().is_some() {
            return Err(no("none is mounted there since it is not empty".to_owned()));
        }
    } else {
        access(there, Access::WRITE_OK)
            .map_err(|errno| failed("make a directory in", there)(errno.into()))?;
    }
    // Whoever looks for the root does not see what is mounted on it.
    let there = if there == Path::new("/") { Path::new("/proc") } else { there };
    // Mounts belong to threads, and go with the last thread that sees them.
    let tried = thread::scope(|scope| {
        let work = || {
            mount_apart(there).map_err(|error| no(format!("mounting one failed: {error}")))?;
            pin_in(path, there)
        };
        scope.spawn(work).join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    });
    tried.map(|()| PinPlace::Mountable(parent.to_owned()))
}

/// Mounts a file system of type bpf which only this thread sees.
#[expect(
    deprecated,
    reason = "the successor is unsafe because of flags that concern open files; this flag does not"
)]
fn mount_apart(at: &Path) -> io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("bpf", at, "bpf", flags, Some(c"mode=0700"))?)
}

/// Keeps the program for a moment under a name that only this process takes.
fn pin_in(path: &FastPath, place: &Path) -> Result<(), Error> {
    let directory = place.join(format!("homeport-trial-{}", std::process::id()));
    let made = fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map_err(failed("make", &directory))?;
    let name = directory.join("program");
    let program = path.program_fd()?;
    let pinned = links::pin(program.as_fd(), &name).map_err(failed("pin", &name)).and_then(|()| {
        let opened = links::open(&name).map(drop).map_err(failed("open", &name));
        opened.and(fs::remove_file(&name).map_err(failed("remove", &name)))
    });
    pinned.and(fs::remove_dir(&directory).map_err(failed("remove", &directory)))
}
