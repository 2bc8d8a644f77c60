//! The snapshot that comes in. When its stream breaks, what came stays for the next stream.

use crate::error::SnapshotError;
use crate::snapshot::{Receiver, SnapshotFile, SnapshotStore};
use crate::sync::lock;
use std::sync::Mutex;

/// Whose snapshot file it is. That it is that very file is not believed: all of it is checked at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) leader: u64,
    pub(super) file: String,
    pub(super) octets: u64,
}

/// One at most, on the disk under a temporary name.
#[derive(Default)]
pub(super) struct Incoming(Mutex<Option<(Name, Receiver)>>);

impl Incoming {
    /// Octets of it that are here.
    pub(super) fn received(&self, name: &Name) -> u64 {
        let slot = lock(&self.0);
        slot.as_ref().filter(|(known, _)| known == name).map_or(0, |(_, file)| file.octets())
    }

    /// Goes on after `from` octets of this one; gives up any other. `false` when they are not here.
    pub(super) fn begin(
        &self,
        name: Name,
        from: u64,
        snapshots: &SnapshotStore,
    ) -> Result<bool, SnapshotError> {
        let mut slot = lock(&self.0);
        let kept = slot.take().filter(|(known, _)| *known == name && from > 0);
        let mut file = match kept {
            Some((_, file)) => file,
            None => snapshots.receive()?,
        };
        let is_here = file.go_back_to(from);
        if is_here {
            *slot = Some((name, file));
        }
        Ok(is_here)
    }

    /// Adds octets; gives how many there are now.
    pub(super) fn write(&self, octets: &[u8]) -> Result<u64, SnapshotError> {
        let mut slot = lock(&self.0);
        let Some((_, file)) = slot.as_mut() else { return Ok(0) };
        file.write(octets)?;
        Ok(file.octets())
    }

    /// The whole of it, on the disk.
    pub(super) fn finish(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        let whole = lock(&self.0).take();
        whole.map(|(_, file)| file.sync()).transpose()
    }

    /// Makes room.
    pub(super) fn give_up(&self) {
        lock(&self.0).take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_stays_for_the_same_snapshot_only() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = SnapshotStore::open(dir.path(), "blue").unwrap();
        let files = || std::fs::read_dir(dir.path().join("snapshots")).unwrap().count();
        let incoming = Incoming::default();
        let name = |leader| Name { leader, file: "7.snap".into(), octets: 9 };
        assert_eq!(incoming.write(b"nobody announced this").unwrap(), 0);
        assert!(incoming.begin(name(1), 0, &snapshots).unwrap());
        assert_eq!(incoming.write(b"abcdef").unwrap(), 6);
        assert_eq!((incoming.received(&name(1)), incoming.received(&name(2))), (6, 0));
        // The caller may have heard of less than is there, and of no more.
        assert!(incoming.begin(name(1), 4, &snapshots).unwrap());
        assert_eq!(incoming.write(b"EFGHI").unwrap(), 9);
        let whole = incoming.finish().unwrap().unwrap();
        assert_eq!(whole.read_at(0, 100).unwrap(), "abcdEFGHI");
        drop(whole);

        assert!(incoming.begin(name(1), 0, &snapshots).unwrap());
        assert_eq!(incoming.write(b"abcdef").unwrap(), 6);
        assert!(!incoming.begin(name(1), 7, &snapshots).unwrap());
        assert_eq!((incoming.received(&name(1)), files()), (0, 0));
        assert!(incoming.begin(name(1), 0, &snapshots).unwrap());
        assert_eq!(incoming.write(b"abcdef").unwrap(), 6);
        assert!(!incoming.begin(name(2), 6, &snapshots).unwrap(), "another leader's");
        assert!(incoming.begin(name(2), 0, &snapshots).unwrap());
        assert_eq!((incoming.received(&name(2)), files()), (0, 1));
        incoming.give_up();
        assert_eq!(files(), 0);
    }
}
