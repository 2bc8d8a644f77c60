//! The file `identity`: whom a data directory belongs to, and in which format it is written.
//!
//! ```text
//! octet  0..8   "HPREPLIC"
//!        8..12  format version, little endian
//!       12..16  length of the message that follows
//!       16..    proto Identity
//!       then    crc32c of all octets before it
//! ```
//!
//! It is read before anything else, so that a program never touches a disk that it does not
//! understand or that is not its own.

use super::file::{replace_file, sync_dir};
use crate::config::RaftConfig;
use crate::error::{DiskError, StartError};
use crate::proto;
use prost::Message as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"HPREPLIC";

/// The newest version of everything below the data directory that this program reads, and the one
/// that it writes. A directory of an older one stays as it is until it is migrated: version 1 does
/// not say which cluster of its name it belongs to, and version 2 has no journal.
pub(crate) const FORMAT_VERSION: u32 = 3;

/// The first version that says which cluster of its name a disk belongs to.
const CLUSTER_ID_SINCE: u32 = 2;

/// The first version with a journal before sled.
const JOURNAL_SINCE: u32 = 3;

/// Below the data directory: what a restore or a recovery has made and not yet put into its place.
pub(crate) const STAGE: &str = "founding";

/// Whom the data directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) path: PathBuf,
    pub(crate) format: u32,
    pub(crate) cluster: String,
    /// Which cluster of this name: drawn when one is restored or recovered, 0 before any.
    pub(crate) cluster_id: u64,
    /// How that cluster came to be, for people.
    pub(crate) origin: String,
    pub(crate) node_id: u64,
    /// Drawn when the disk was created; peers tell a lost and recreated disk by it.
    pub(crate) incarnation: u64,
    pub(crate) log_created: bool,
    pub(crate) reached_created: bool,
    pub(crate) journal_created: bool,
}

/// Reads whose the data directory is, or takes an empty one into possession.
pub(crate) fn claim(config: &RaftConfig, incarnation: u64) -> Result<Identity, StartError> {
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir).map_err(|e| DiskError::io("create", dir, e))?;
    let path = dir.join("identity");
    check_finished(dir)?;
    match std::fs::read(&path) {
        Ok(octets) => {
            let identity = parse(&path, &octets)?;
            check(&identity, config)?;
            Ok(identity)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if dir.join("log").exists() {
                let detail = "there is a log without an identity".to_owned();
                return Err(StartError::NotOurs { path, detail });
            }
            let identity = Identity {
                path,
                format: FORMAT_VERSION,
                cluster: config.cluster_name.clone(),
                cluster_id: 0,
                origin: String::new(),
                node_id: config.node_id,
                incarnation,
                log_created: false,
                reached_created: false,
                journal_created: false,
            };
            identity.write()?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent).map_err(|e| DiskError::io("sync", parent, e))?;
            }
            Ok(identity)
        }
        Err(e) => Err(DiskError::io("read", &path, e).into()),
    }
}

/// Whose the data directory with this file is, whoever asks.
pub(crate) fn identity_of(path: &Path) -> Result<Identity, StartError> {
    match std::fs::read(path) {
        Ok(octets) => parse(path, &octets),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(StartError::NotOurs {
            path: path.into(),
            detail: "there is a log without an identity".to_owned(),
        }),
        Err(e) => Err(DiskError::io("read", path, e).into()),
    }
}

impl Identity {
    /// Notes durably that the log and the bound of what it holds exist from now on.
    pub(crate) fn mark_log_created(&mut self) -> Result<(), DiskError> {
        (self.log_created, self.reached_created) = (true, true);
        self.write()
    }

    /// There is a journal before sled, or will be with the next start.
    pub(crate) const fn has_journal(&self) -> bool {
        self.format >= JOURNAL_SINCE
    }

    /// Notes durably that the journal exists from now on.
    pub(crate) fn mark_journal_created(&mut self) -> Result<(), DiskError> {
        self.journal_created = true;
        self.write()
    }

    /// Becomes that of another cluster of the same name, durably: for an empty disk.
    pub(crate) fn join_cluster(&mut self, cluster_id: u64) -> Result<(), DiskError> {
        self.cluster_id = cluster_id;
        self.format = self.format.max(CLUSTER_ID_SINCE);
        self.write()
    }

    /// Writes it in the newest version; the version that it had.
    pub(crate) fn migrate(&mut self) -> Result<u32, DiskError> {
        let before = std::mem::replace(&mut self.format, FORMAT_VERSION);
        if before < FORMAT_VERSION {
            self.write()?;
        }
        Ok(before)
    }

    pub(crate) fn write(&self) -> Result<(), DiskError> {
        replace_file(&self.path, &self.emit()).map_err(|e| DiskError::io("write", &self.path, e))
    }

    fn emit(&self) -> Vec<u8> {
        let message = proto::Identity {
            cluster: self.cluster.clone(),
            node_id: self.node_id,
            incarnation: self.incarnation,
            log_created: self.log_created,
            reached_created: self.reached_created,
            journal_created: self.journal_created,
            cluster_id: self.cluster_id,
            origin: self.origin.clone(),
        }
        .encode_to_vec();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut octets = Vec::with_capacity(message.len() + 20);
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&self.format.to_le_bytes());
        octets.extend_from_slice(&length.to_le_bytes());
        octets.extend_from_slice(&message);
        let sum = crc32c::crc32c(&octets);
        octets.extend_from_slice(&sum.to_le_bytes());
        octets
    }
}

fn parse(path: &Path, octets: &[u8]) -> Result<Identity, StartError> {
    let not_ours = |detail: &str| StartError::NotOurs { path: path.into(), detail: detail.into() };
    let corrupt = |detail: &str| DiskError::Corrupt {
        file: path.into(),
        record: "the identity".to_owned(),
        detail: detail.to_owned(),
    };
    let rest = octets.strip_prefix(MAGIC).ok_or_else(|| not_ours("wrong first octets"))?;
    let (version, rest) = split_u32(rest).ok_or_else(|| not_ours("too short"))?;
    // Before the checksum: a newer format may have moved it.
    if version > FORMAT_VERSION {
        return Err(StartError::NewerFormat {
            path: path.into(),
            found: version,
            supported: FORMAT_VERSION,
        });
    }
    if version == 0 {
        return Err(not_ours("format version 0 never existed"));
    }
    let body = octets.len().saturating_sub(4);
    let (covered, sum) = octets.split_at(body);
    let stored = split_u32(sum).map(|(sum, _)| sum);
    if stored != Some(crc32c::crc32c(covered)) {
        return Err(corrupt("its checksum does not match").into());
    }
    let (length, rest) = split_u32(rest).ok_or_else(|| corrupt("too short"))?;
    let message = usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or_else(|| corrupt("its length does not match"))?;
    let message = proto::Identity::decode(message).map_err(|e| corrupt(&e.to_string()))?;
    Ok(Identity {
        path: path.into(),
        format: version,
        cluster: message.cluster,
        cluster_id: message.cluster_id,
        origin: message.origin,
        node_id: message.node_id,
        incarnation: message.incarnation,
        log_created: message.log_created,
        reached_created: message.reached_created,
        journal_created: message.journal_created,
    })
}

/// A directory in which a cluster was being founded belongs to nobody yet.
fn check_finished(dir: &Path) -> Result<(), StartError> {
    let stage = dir.join(STAGE);
    if stage.exists() { Err(StartError::Unfinished { path: stage }) } else { Ok(()) }
}

fn check(identity: &Identity, config: &RaftConfig) -> Result<(), StartError> {
    if identity.cluster != config.cluster_name {
        return Err(StartError::OtherCluster {
            path: identity.path.clone(),
            found: identity.cluster.clone(),
            expected: config.cluster_name.clone(),
        });
    }
    if identity.node_id != config.node_id {
        return Err(StartError::OtherNode {
            path: identity.path.clone(),
            found: identity.node_id,
            expected: config.node_id,
        });
    }
    Ok(())
}

fn split_u32(octets: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = octets.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config(dir: &Path, cluster: &str, node_id: u64) -> RaftConfig {
        RaftConfig::new(node_id, dir, cluster, BTreeMap::new())
    }

    #[test]
    fn a_claimed_directory_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = claim(&config(dir.path(), "blue", 1), 42).unwrap();
        assert!(!first.log_created);
        first.mark_log_created().unwrap();
        let again = claim(&config(dir.path(), "blue", 1), 43).unwrap();
        assert_eq!((again.incarnation, again.log_created), (42, true));
    }

    #[test]
    fn another_cluster_and_another_node_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        claim(&config(dir.path(), "blue", 1), 1).unwrap();
        let other = claim(&config(dir.path(), "green", 1), 1).unwrap_err();
        assert!(matches!(other, StartError::OtherCluster { .. }));
        let text = other.to_string();
        assert!(text.contains("blue") && text.contains("green") && text.contains("identity"));
        let other = claim(&config(dir.path(), "blue", 2), 1).unwrap_err();
        assert!(matches!(other, StartError::OtherNode { found: 1, expected: 2, .. }));
    }

    #[test]
    fn a_newer_format_is_refused_and_both_versions_are_named() {
        let dir = tempfile::tempdir().unwrap();
        claim(&config(dir.path(), "blue", 1), 1).unwrap();
        let path = dir.path().join("identity");
        let mut octets = std::fs::read(&path).unwrap();
        octets[8] = 4;
        std::fs::write(&path, &octets).unwrap();
        let error = claim(&config(dir.path(), "blue", 1), 1).unwrap_err();
        assert_eq!(error, StartError::NewerFormat { path, found: 4, supported: 3 });
        assert!(error.to_string().contains("version 4") && error.to_string().contains("to 3"));
    }

    #[test]
    fn an_older_format_stays_until_it_is_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = claim(&config(dir.path(), "blue", 1), 1).unwrap();
        old.format = 1;
        old.write().unwrap();
        let mut again = claim(&config(dir.path(), "blue", 1), 2).unwrap();
        again.mark_log_created().unwrap();
        assert_eq!((again.format, again.cluster_id), (1, 0));
        let mut again = claim(&config(dir.path(), "blue", 1), 2).unwrap();
        assert_eq!((again.format, again.migrate()), (1, Ok(1)));
        let mut again = claim(&config(dir.path(), "blue", 1), 2).unwrap();
        assert_eq!((again.format, again.migrate()), (3, Ok(3)));
        // Whoever joins a cluster that was restored says which, and no older program reads that.
        old.join_cluster(77).unwrap();
        let joined = claim(&config(dir.path(), "blue", 1), 2).unwrap();
        assert_eq!((joined.format, joined.cluster_id), (2, 77));
    }

    #[test]
    fn a_directory_with_an_unfinished_restore_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(STAGE)).unwrap();
        let error = claim(&config(dir.path(), "blue", 1), 1).unwrap_err();
        assert!(matches!(error, StartError::Unfinished { .. }), "{error}");
        assert!(!dir.path().join("identity").exists());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        claim(&config(dir.path(), "blue", 1), 77).unwrap();
        let path = dir.path().join("identity");
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut octets = good.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&path, &octets).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(parse(&path, &good[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_log_without_identity_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let error = claim(&config(dir.path(), "blue", 1), 1).unwrap_err();
        assert!(matches!(error, StartError::NotOurs { .. }));
    }
}
