//! What an operator is told about a disk: the one of a frozen format, whole, damaged and in use.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};

use homeport_raft::StartError;
use homeport_store::inspect;
use tempfile::TempDir;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn replica() -> TempDir {
    let ledger = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../migrations");
    let dir = tempfile::tempdir().unwrap();
    copy(&ledger.join("0001-first-format/replica"), dir.path());
    dir
}

fn snapshot(dir: &Path) -> PathBuf {
    std::fs::read_dir(dir.join("snapshots")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_whole_disk_is_shown_with_its_bindings() {
    let (dir, scratch) = (replica(), tempfile::tempdir().unwrap());
    let found = inspect(dir.path(), scratch.path()).unwrap();
    assert!(found.damage().is_empty(), "{:?}", found.damage());
    let text = found.to_string();
    for part in [
        "node 1 of cluster \"frozen\"",
        "node 1, elected in term 1",
        "0 to 18",
        "up to entry 10, voters 1",
        "revision 18",
        "4 home addresses, 6 bindings",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn damage_is_told_with_the_file_and_the_remedy() {
    let (dir, scratch) = (replica(), tempfile::tempdir().unwrap());
    let file = snapshot(dir.path());
    let mut octets = std::fs::read(&file).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    std::fs::write(&file, octets).unwrap();
    std::fs::write(dir.path().join("log/conf"), "segment_size: 1").unwrap();
    let found = inspect(dir.path(), scratch.path()).unwrap();
    let told = found.damage();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains(file.to_str().unwrap()), "{told:?}");
    assert!(told[1].contains(dir.path().join("log").to_str().unwrap()), "{told:?}");
    assert!(told.iter().all(|damage| damage.contains("new node id")), "{told:?}");
}

#[test]
fn a_disk_in_use_and_an_empty_directory_are_no_disks_to_look_at() {
    let (dir, scratch) = (replica(), tempfile::tempdir().unwrap());
    let running = std::fs::File::open(dir.path().join("log/db")).unwrap();
    running.lock().unwrap();
    let error = inspect(dir.path(), scratch.path()).unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    drop(running);
    inspect(dir.path(), scratch.path()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let error = inspect(empty.path(), scratch.path()).unwrap_err().to_string();
    assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
}
