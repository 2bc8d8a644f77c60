//! The directory of snapshots. One counts: the newest. It replaces the one before only when it is
//! wholly on the disk.

use super::format::{self, Reader};
use super::steps::Steps;
use crate::disk::sync_dir;
use crate::error::SnapshotError;
use crate::limits::{SNAPSHOT_CHUNK_OCTETS, SNAPSHOT_STEP_OCTETS};
use crate::sync::lock;
use crate::types::{LogId, SnapshotMeta};
use bytes::Bytes;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIRECTORY: &str = "snapshots";
const SUFFIX: &str = "snap";
const TEMPORARY: &str = "tmp";

/// A snapshot file that is open: it stays readable when a newer one replaces it.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile(Arc<OpenFile>);

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    octets: u64,
    /// Not yet the snapshot that counts; removed when nobody wants it.
    temporary: bool,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a temporary file");
        }
    }
}

impl SnapshotFile {
    pub(crate) fn octets(&self) -> u64 {
        self.0.octets
    }

    /// Its name in its directory.
    pub(crate) fn name(&self) -> String {
        self.0.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reads from `offset` on; fewer octets than asked for at the end.
    pub(crate) fn read_at(&self, offset: u64, octets: usize) -> Result<Bytes, SnapshotError> {
        let left = usize::try_from(self.0.octets.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; octets.min(left)];
        self.0
            .file
            .read_exact_at(&mut buffer, offset)
            .map_err(|e| SnapshotError::io("read", &self.0.path, e))?;
        Ok(Bytes::from(buffer))
    }

    fn reader(&self) -> BufReader<Cursor<'_>> {
        BufReader::with_capacity(1 << 16, Cursor { file: &self.0.file, offset: 0 })
    }
}

/// Reads a shared file from its start without moving its position.
struct Cursor<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let octets = self.file.read_at(buffer, self.offset)?;
        self.offset += u64::try_from(octets).unwrap_or(u64::MAX);
        Ok(octets)
    }
}

/// The directory, and the snapshot that counts.
#[derive(Debug)]
pub(crate) struct SnapshotStore {
    dir: PathBuf,
    cluster: String,
    current: Mutex<Option<(SnapshotMeta, SnapshotFile)>>,
    serial: AtomicU64,
}

impl SnapshotStore {
    /// Opens the directory, or creates it. Removes what an interrupted write left behind.
    pub(crate) fn open(data_dir: &Path, cluster: &str) -> Result<Self, SnapshotError> {
        let dir = data_dir.join(DIRECTORY);
        std::fs::create_dir_all(&dir).map_err(|e| SnapshotError::io("create", &dir, e))?;
        sync_dir(data_dir).map_err(|e| SnapshotError::io("sync", data_dir, e))?;
        let store = Self::looking_at(data_dir, cluster);
        let mut newest: Option<(SnapshotMeta, SnapshotFile)> = None;
        for path in store.files()? {
            if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                std::fs::remove_file(&path).map_err(|e| SnapshotError::io("remove", &path, e))?;
            } else if path.extension().is_some_and(|extension| extension == SUFFIX) {
                let file = open_file(path)?;
                let meta = store.meta(&file)?;
                if newest.as_ref().is_none_or(|(best, _)| best.last_log_id < meta.last_log_id) {
                    newest = Some((meta, file));
                }
            }
        }
        *lock(&store.current) = newest;
        Ok(store)
    }

    /// Only for reading: nothing is created or removed, and no snapshot counts.
    pub(crate) fn looking_at(data_dir: &Path, cluster: &str) -> Self {
        Self {
            dir: data_dir.join(DIRECTORY),
            cluster: cluster.to_owned(),
            current: Mutex::new(None),
            serial: AtomicU64::new(0),
        }
    }

    /// Every snapshot file, in order; none when there is no directory.
    pub(crate) fn each(&self) -> Result<Vec<SnapshotFile>, SnapshotError> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        let mut paths = self.files()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
        paths.sort();
        paths.into_iter().map(open_file).collect()
    }

    /// The snapshot that counts.
    pub(crate) fn current(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        lock(&self.current).clone()
    }

    /// Writes a snapshot and, unless a newer one counts already, makes it the one that counts.
    /// After each step `rest` is told how long that took, and may wait.
    pub(crate) fn write(
        &self,
        meta: &SnapshotMeta,
        command_octets: u64,
        chunks: impl Iterator<Item = Bytes>,
        rest: impl FnMut(Duration),
    ) -> Result<SnapshotFile, SnapshotError> {
        let mut receiver = self.receive()?;
        let steps = Steps::new(&receiver.0.file, rest);
        let mut out = BufWriter::with_capacity(SNAPSHOT_STEP_OCTETS / 4, steps);
        receiver.0.octets = format::write(&mut out, &self.cluster, meta, command_octets, chunks)
            .and_then(|octets| out.flush().map(|()| octets))
            .map_err(|e| SnapshotError::io("write", &receiver.0.path, e))?;
        drop(out);
        self.publish(meta, &receiver.sync()?)
    }

    /// A new temporary file.
    pub(crate) fn receive(&self) -> Result<Receiver, SnapshotError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{serial}.{TEMPORARY}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|e| SnapshotError::io("create", &path, e))?;
        Ok(Receiver(OpenFile { file, path, octets: 0, temporary: true }))
    }

    /// Makes a snapshot that is on the disk the one that counts, and removes those before it.
    pub(crate) fn publish(
        &self,
        meta: &SnapshotMeta,
        file: &SnapshotFile,
    ) -> Result<SnapshotFile, SnapshotError> {
        if file.0.path.parent() != Some(self.dir.as_path()) {
            return self.publish(meta, &self.copy(file)?);
        }
        if !file.0.temporary {
            return Ok(file.clone());
        }
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|(newest, _)| newest.last_log_id > meta.last_log_id) {
            return Ok(file.clone());
        }
        let path = self.dir.join(file_name(meta.last_log_id.as_ref()));
        std::fs::rename(&file.0.path, &path)
            .map_err(|e| SnapshotError::io("rename", &file.0.path, e))?;
        sync_dir(&self.dir).map_err(|e| SnapshotError::io("sync", &self.dir, e))?;
        let published = open_file(path.clone())?;
        *current = Some((meta.clone(), published.clone()));
        for old in self.files()? {
            let other = old != path && old.extension().is_some_and(|e| e == SUFFIX);
            if other && let Err(error) = std::fs::remove_file(&old) {
                // Harmless: the newer one counts, and the next one tries again.
                tracing::warn!(path = %old.display(), %error, "cannot remove an old snapshot");
            }
        }
        Ok(published)
    }

    /// A snapshot of another directory, in this one.
    fn copy(&self, file: &SnapshotFile) -> Result<SnapshotFile, SnapshotError> {
        let mut receiver = self.receive()?;
        while receiver.octets() < file.octets() {
            let chunk = file.read_at(receiver.octets(), SNAPSHOT_CHUNK_OCTETS)?;
            receiver.write(&chunk)?;
        }
        receiver.sync()
    }

    /// The header of a file.
    pub(crate) fn meta(&self, file: &SnapshotFile) -> Result<SnapshotMeta, SnapshotError> {
        Reader::new(file.reader(), &file.0.path, &self.cluster).map(|(_, meta)| meta)
    }

    /// Reads all of a file and checks every checksum.
    pub(crate) fn verify(&self, file: &SnapshotFile) -> Result<SnapshotMeta, SnapshotError> {
        let (reader, meta) = Reader::new(file.reader(), &file.0.path, &self.cluster)?;
        for chunk in reader {
            chunk?;
        }
        Ok(meta)
    }

    /// Hands the chunks to `use_chunks`, and makes sure that the file was whole. Gives the octets of all
    /// commands that it covers.
    pub(crate) fn read(
        &self,
        file: &SnapshotFile,
        use_chunks: impl FnOnce(
            &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
        ) -> Result<(), SnapshotError>,
    ) -> Result<u64, SnapshotError> {
        let (mut reader, _) = Reader::new(file.reader(), &file.0.path, &self.cluster)?;
        let command_octets = reader.command_octets();
        use_chunks(&mut reader)?;
        for chunk in reader {
            chunk?;
        }
        Ok(command_octets)
    }

    fn files(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let error = |e| SnapshotError::io("list", &self.dir, e);
        std::fs::read_dir(&self.dir)
            .map_err(error)?
            .map(|entry| entry.map(|entry| entry.path()).map_err(error))
            .collect()
    }
}

/// A file that is being written.
pub(crate) struct Receiver(OpenFile);

impl Receiver {
    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<(), SnapshotError> {
        self.0
            .file
            .write_all_at(octets, self.0.octets)
            .map_err(|e| SnapshotError::io("write", &self.0.path, e))?;
        self.0.octets += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    pub(crate) fn octets(&self) -> u64 {
        self.0.octets
    }

    /// What comes next is written after the first `octets`; `false` when there are not so many.
    pub(crate) fn go_back_to(&mut self, octets: u64) -> bool {
        let is_there = octets <= self.0.octets;
        self.0.octets = self.0.octets.min(octets);
        is_there
    }

    /// Everything that was written is on the disk; the name is still temporary.
    pub(crate) fn sync(self) -> Result<SnapshotFile, SnapshotError> {
        self.0.file.sync_all().map_err(|e| SnapshotError::io("sync", &self.0.path, e))?;
        Ok(SnapshotFile(Arc::new(self.0)))
    }
}

fn open_file(path: PathBuf) -> Result<SnapshotFile, SnapshotError> {
    let file = File::open(&path).map_err(|e| SnapshotError::io("open", &path, e))?;
    let octets = file.metadata().map_err(|e| SnapshotError::io("read", &path, e))?.len();
    Ok(SnapshotFile(Arc::new(OpenFile { file, path, octets, temporary: false })))
}

/// Sorts by index, then by leader.
fn file_name(last: Option<&LogId>) -> String {
    let (index, term, node_id) = last.map_or((0, 0, 0), |last| {
        let leader = last.committed_leader_id();
        (last.index(), leader.term, leader.node_id)
    });
    format!("{index:020}-{term}-{node_id}.{SUFFIX}")
}
