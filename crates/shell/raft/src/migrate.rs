//! Writes a data directory of an older format in the newest.

use crate::disk::identity_of;
use crate::error::{DiskError, StartError};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::Path;

/// Writes a data directory in the newest format, while no replica runs on it; programs that do not know
/// that format refuse it from then on. Returns the version that it had and the one that it has.
///
/// # Errors
///
/// When it is no data directory, is of a newer format, is in use, or cannot be written.
pub fn migrate(data_dir: &Path) -> Result<(u32, u32), StartError> {
    let path = data_dir.join("identity");
    let db = data_dir.join("log/db");
    let _lock = match File::open(&db) {
        Ok(file) => {
            flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|e| StartError::InUse { path: db, cause: e.to_string() })?;
            Some(file)
        }
        // A replica that has never started has no log.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(DiskError::io("open", db, e).into()),
    };
    let mut identity = identity_of(&path)?;
    let before = identity.migrate()?;
    Ok((before, identity.format))
}
