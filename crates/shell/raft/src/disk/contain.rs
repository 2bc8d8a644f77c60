//! sled panics where it should return an error: on some damage of its file, and on a full disk.
//! Here a panic inside of sled becomes an error that names the file and what to do.
//!
//! A program that unwinds gets the error like any other. The released program does not unwind: a
//! panic ends it at once. There [`end_with_reason`] makes the error its last words.

use crate::error::DiskError;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What this thread has sled do.
#[derive(Clone)]
struct Work {
    operation: &'static str,
    dir: PathBuf,
    /// Only reads what is there: a panic is about its content.
    reads: bool,
}

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// The last directory opened, for panics on sled's own threads, which write only.
static LAST: Mutex<Option<PathBuf>> = Mutex::new(None);

/// sled's own threads are called so.
const SLED_THREAD: &str = "sled-io";

/// Opens or reads with sled: a panic means that its files are damaged.
pub(super) fn reading<T, E: From<DiskError>>(
    operation: &'static str,
    dir: &Path,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(dir.to_owned());
    contained(Work { operation, dir: dir.to_owned(), reads: true }, work)
}

/// Writes with sled: a panic means that the disk is full or fails.
pub(super) fn writing<T>(
    operation: &'static str,
    dir: &Path,
    work: impl FnOnce() -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    contained(Work { operation, dir: dir.to_owned(), reads: false }, work)
}

fn contained<T, E: From<DiskError>>(
    what: Work,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let outer = WORK.replace(Some(what.clone()));
    // After a panic sled's values are only dropped: the replica ends.
    let result = catch_unwind(AssertUnwindSafe(work));
    WORK.set(outer);
    result.unwrap_or_else(|payload| Err(what.error(text(payload.as_ref())).into()))
}

impl Work {
    fn error(&self, cause: &str) -> DiskError {
        if self.reads {
            return DiskError::Corrupt {
                file: self.dir.clone(),
                record: "sled's file".to_owned(),
                detail: format!("sled cannot {} it: {cause}", self.operation),
            };
        }
        DiskError::io(self.operation, &self.dir, format!("sled gave up: {cause}"))
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no reason given",
    }
}

/// The error that a panic on this thread stands for; `None` when it is not one of sled's.
fn meaning(panic: &PanicHookInfo<'_>) -> Option<DiskError> {
    let work = WORK.with_borrow(Clone::clone).or_else(|| {
        let ours = std::thread::current().name()?.starts_with(SLED_THREAD);
        let dir = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        ours.then_some(Work { operation: "write", dir, reads: false })
    })?;
    Some(work.error(text(panic.payload())))
}

/// From now on a panic inside of sled ends this process with exit status 1 and an error that says
/// which file is damaged or could not be written, and what to do. Call it once, before the first
/// replica starts. A program that unwinds gets the same error without it.
pub fn end_with_reason() {
    if cfg!(panic = "abort") {
        install();
    }
}

fn install() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match meaning(panic) {
        Some(error) => {
            eprintln!("homeport: the store cannot go on: {error}");
            std::process::exit(1);
        }
        None => usual(panic),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_the_directory() {
        let dir = Path::new("/data/log");
        let read: Result<(), DiskError> = reading("open", dir, || panic!("page {} is odd", 7));
        let DiskError::Corrupt { file, detail, .. } = read.clone().unwrap_err() else {
            panic!("{read:?}");
        };
        assert_eq!((file.as_path(), detail.contains("page 7 is odd")), (dir, true));
        let written: Result<(), DiskError> = writing("flush", dir, || panic!("no space"));
        let text = written.unwrap_err().to_string();
        assert!(text.contains("/data/log") && text.contains("no space"), "{text}");
        assert_eq!(writing("flush", dir, || Ok(3)), Ok(3));
        assert!(WORK.with_borrow(Option::is_none));
    }

    const VICTIM: &str = "HOMEPORT_RAFT_TEST_PANICS_INSIDE";

    // The same test runs again, as a process that does not survive the panic.
    #[test]
    fn a_program_that_does_not_unwind_ends_with_the_error() {
        if let Some(inside) = std::env::var_os(VICTIM) {
            install();
            if inside == "sled" {
                drop(writing("flush", Path::new("/data/log"), || -> Result<(), _> {
                    panic!("full")
                }));
            }
            panic!("somewhere else");
        }
        let run = |inside: &str| {
            let name = "disk::contain::tests::a_program_that_does_not_unwind_ends_with_the_error";
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap());
            victim.args(["--exact", name, "--nocapture"]).env(VICTIM, inside).output().unwrap()
        };
        let ended = run("sled");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot flush /data/log") && said.contains("full"), "{said}");
        let said = String::from_utf8_lossy(&run("elsewhere").stderr).into_owned();
        assert!(said.contains("somewhere else") && !said.contains("/data/log"), "{said}");
    }
}
