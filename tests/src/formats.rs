//! Frozen samples of the on-disk formats (`migrations/`): what is in them, how they are read, and
//! how those of a new format are made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes};
use homeport_api::convert;
use homeport_binding::{Batch, BindingCache, StateRecord};
use homeport_raft::{FrozenState, Node, RaftConfig, SnapshotError, StateMachine};

use crate::eventually;

pub mod first;

/// Cluster of the frozen replica.
pub const CLUSTER: &str = "frozen";
/// Its node id; it is the only voter.
pub const NODE_ID: u64 = 1;
/// Its address in the frozen membership; nobody listens there.
pub const ADDRESS: &str = "127.0.0.1:7101";
/// The log index of the first batch: 0 is the first membership, 1 what a new leader writes.
pub const FIRST_INDEX: u64 = 2;

/// The ledger.
#[must_use]
pub fn ledger() -> PathBuf {
    crate::root().join("migrations")
}

/// Directories of the ledger by number.
///
/// # Errors
/// When it cannot be read or holds what is no entry.
pub fn entries() -> Result<BTreeMap<u32, PathBuf>> {
    let mut entries = BTreeMap::new();
    for entry in std::fs::read_dir(ledger())? {
        let path = entry?.path();
        if path.is_dir() {
            let number = number_of(&path)?;
            ensure!(entries.insert(number, path).is_none(), "two entries have number {number}");
        }
    }
    Ok(entries)
}

/// The number in a directory's name, `0001-first-format`.
///
/// # Errors
/// When the name has another form.
pub fn number_of(path: &Path) -> Result<u32> {
    let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
    let (number, title) = name.split_once('-').context("expected NNNN-what-changed")?;
    ensure!(number.len() == 4 && !title.is_empty(), "{name}: expected NNNN-what-changed");
    Ok(number.parse()?)
}

/// The state that a history leaves.
#[must_use]
pub fn replay(history: Vec<Batch>) -> BindingCache {
    let mut cache = BindingCache::default();
    cache.advance(FIRST_INDEX - 1);
    for (revision, batch) in (FIRST_INDEX..).zip(history) {
        cache.apply(revision, batch);
    }
    cache.take_changes();
    cache
}

/// A state as it stands in a snapshot.
#[must_use]
pub fn encode_state(cache: &BindingCache) -> Vec<u8> {
    let mut octets = Vec::new();
    for record in cache.records() {
        convert::encode_state_record(record, &mut octets);
    }
    octets
}

/// Reads what [`encode_state`] wrote.
///
/// # Errors
/// When it is of another format or damaged.
pub fn decode_state(octets: Vec<u8>) -> Result<BindingCache> {
    let mut octets = Bytes::from(octets);
    let mut records: Vec<StateRecord> = Vec::new();
    while octets.has_remaining() {
        records.push(convert::decode_state_record(&mut octets)?);
    }
    Ok(BindingCache::from_records(records)?)
}

/// The binding cache under the log, as the store role puts it there.
#[derive(Default)]
pub struct Machine(pub BindingCache);

impl StateMachine for Machine {
    type Reply = ();

    fn apply(&mut self, index: u64, command: &Bytes) {
        match convert::decode_batch(command) {
            Ok(batch) => drop(self.0.apply(index, batch)),
            Err(_unknown) => {
                self.0.advance(index);
            }
        }
        self.0.take_changes();
    }

    fn advance(&mut self, index: u64) {
        if index > 0 {
            self.0.advance(index);
        }
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(Frozen(encode_state(&self.0)))
    }

    fn restore(
        &mut self,
        _index: u64,
        chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    ) -> Result<(), SnapshotError> {
        let octets: Vec<Bytes> = chunks.collect::<Result<_, _>>()?;
        let state = decode_state(octets.concat());
        self.0 = state.map_err(|error| SnapshotError::Content(error.to_string()))?;
        Ok(())
    }
}

struct Frozen(Vec<u8>);

impl FrozenState for Frozen {
    fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send> {
        Box::new(std::iter::once(Bytes::from(self.0)))
    }
}

/// Configuration of the frozen replica on a copy of its disk.
#[must_use]
pub fn raft_config(data_dir: &Path) -> RaftConfig {
    let peers = BTreeMap::from([(NODE_ID, ADDRESS.to_owned())]);
    RaftConfig::new(NODE_ID, data_dir, CLUSTER, peers)
}

/// Makes a replica's disk: a snapshot of the first half of the history, and a log with all of it.
///
/// # Errors
/// When the replica does not work.
pub async fn write_replica(data_dir: &Path, history: Vec<Batch>) -> Result<()> {
    let half = history.len() / 2;
    let node = Node::start(raft_config(data_dir), Machine::default()).await?;
    eventually("the replica to lead", async || {
        ensure!(node.leadership().borrow().local);
        Ok(())
    })
    .await?;
    for (at, (index, batch)) in (FIRST_INDEX..).zip(history).enumerate() {
        let proposed = node.propose(convert::encode_batch(batch)).await?;
        ensure!(proposed.index == index, "batch {at} went to index {}", proposed.index);
        if at == half {
            node.snapshot().await?;
            eventually("the snapshot", async || {
                ensure!(node.status().snapshot == Some(index));
                Ok(())
            })
            .await?;
        }
    }
    node.shutdown().await?;
    Ok(())
}

/// Copies a directory with all that is in it.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Writes the samples of a new format into a new directory of the ledger.
///
/// # Errors
/// When the directory exists, its number is not the next one, or nothing has changed since the one
/// before.
pub async fn freeze(name: &str) -> Result<PathBuf> {
    let directory = ledger().join(name);
    let number = number_of(&directory)?;
    ensure!(
        !directory.exists(),
        "{} exists: a frozen sample is never written again",
        directory.display()
    );
    let entries = entries()?;
    let next = entries.last_key_value().map_or(1, |(last, _)| last + 1);
    ensure!(number == next, "{name}: the next number is {next:04}");
    let making = tempfile::tempdir()?;
    let made = making.path();
    std::fs::write(made.join("state.bin"), encode_state(&replay(first::history())))?;
    std::fs::write(made.join("batch.bin"), convert::encode_batch(first::batch()))?;
    write_replica(&made.join("replica"), first::history()).await?;
    if let Some((last, path)) = entries.last_key_value() {
        let same = fingerprint(made)? == fingerprint(path)?;
        ensure!(!same, "nothing has changed since format {last:04}: there is nothing to freeze");
    }
    copy_dir(made, &directory)?;
    Ok(directory)
}

/// What tells one format from another: the samples that are the same whenever they are made, and
/// the version in the replica's identity and in its snapshot.
fn fingerprint(entry: &Path) -> Result<[Vec<u8>; 4]> {
    let version = |path: &Path| -> Result<Vec<u8>> {
        let octets = std::fs::read(path)?;
        Ok(octets.get(8..12).context("too short")?.to_vec())
    };
    Ok([
        std::fs::read(entry.join("state.bin"))?,
        std::fs::read(entry.join("batch.bin"))?,
        version(&entry.join("replica/identity"))?,
        version(&snapshot_of(&entry.join("replica"))?)?,
    ])
}

/// The snapshot file of a replica's disk.
///
/// # Errors
/// When there is not exactly one.
pub fn snapshot_of(data_dir: &Path) -> Result<PathBuf> {
    let files = std::fs::read_dir(data_dir.join("snapshots"))?;
    let files: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    ensure!(files.len() == 1, "{} snapshots", files.len());
    files.into_iter().next().context("no snapshot")
}
