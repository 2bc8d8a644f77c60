//! The form of a snapshot file, version 1.
//!
//! ```text
//! "HPSNAPSH"
//! format version                          4 octets, all numbers little endian
//! length of the header, then proto SnapshotHeader
//! crc32c of everything before             4
//! chunks, each: length (> 0), crc32c of the chunk, the chunk
//! length 0
//! number of chunks                        8
//! octets in all chunks                    8
//! crc32c of the whole file before         4
//! ```
//!
//! A chunk's checksum lets a reader use it before it has seen the rest; the last one finds a file
//! that was cut off or pieced together.

use crate::encoding;
use crate::error::SnapshotError;
use crate::limits::SNAPSHOT_CHUNK_OCTETS;
use crate::proto;
use crate::types::SnapshotMeta;
use bytes::Bytes;
use prost::Message as _;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"HPSNAPSH";

/// The newest version that this program reads, and the one that it writes.
pub(super) const FORMAT_VERSION: u32 = 1;

/// The header holds the membership: a kilobyte for a hundred members.
const HEADER_OCTETS_MAX: u32 = 1024 * 1024;

/// A chunk may be a little larger than what a state machine should produce.
const CHUNK_OCTETS_MAX: u32 = 4 * 1024 * 1024;

/// Writes a whole snapshot; returns its size.
pub(super) fn write(
    out: &mut impl Write,
    cluster: &str,
    meta: &SnapshotMeta,
    command_octets: u64,
    chunks: impl Iterator<Item = Bytes>,
) -> io::Result<u64> {
    let mut out = Summing { inner: out, sum: 0, octets: 0 };
    let header = proto::SnapshotHeader {
        cluster: cluster.to_owned(),
        last_log_id: meta.last_log_id.as_ref().map(encoding::log_id_to_proto),
        membership: Some(encoding::stored_membership_to_proto(&meta.last_membership)),
        command_octets,
    }
    .encode_to_vec();
    out.write_all(MAGIC)?;
    out.write_u32(FORMAT_VERSION)?;
    out.write_u32(length(&header)?)?;
    out.write_all(&header)?;
    out.write_u32(out.sum)?;
    let (mut count, mut octets) = (0u64, 0u64);
    for chunk in chunks {
        for part in chunk.chunks(SNAPSHOT_CHUNK_OCTETS) {
            out.write_u32(length(part)?)?;
            out.write_u32(crc32c::crc32c(part))?;
            out.write_all(part)?;
            octets += u64::from(length(part)?);
            count += 1;
        }
    }
    out.write_u32(0)?;
    out.write_all(&count.to_le_bytes())?;
    out.write_all(&octets.to_le_bytes())?;
    out.write_u32(out.sum)?;
    Ok(out.octets)
}

fn length(octets: &[u8]) -> io::Result<u32> {
    u32::try_from(octets.len()).map_err(io::Error::other)
}

struct Summing<W> {
    inner: W,
    sum: u32,
    octets: u64,
}

impl<W: Write> Summing<W> {
    fn write_u32(&mut self, value: u32) -> io::Result<()> {
        self.write_all(&value.to_le_bytes())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        self.inner.write_all(octets)?;
        self.sum = crc32c::crc32c_append(self.sum, octets);
        self.octets += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Reads a snapshot: the header first, then its chunks as an iterator. The iterator ends after the
/// last checksum was verified; whoever stops earlier has not seen a whole snapshot.
pub(super) struct Reader<R> {
    input: R,
    path: PathBuf,
    sum: u32,
    offset: u64,
    chunks: u64,
    octets: u64,
    ended: bool,
    command_octets: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(
        input: R,
        path: &Path,
        cluster: &str,
    ) -> Result<(Self, SnapshotMeta), SnapshotError> {
        let path = path.to_owned();
        let (sum, offset, chunks, octets, command_octets) = (0, 0, 0, 0, 0);
        let mut reader =
            Self { input, path, sum, offset, chunks, octets, ended: false, command_octets };
        let meta = reader.header(cluster)?;
        Ok((reader, meta))
    }

    fn header(&mut self, cluster: &str) -> Result<SnapshotMeta, SnapshotError> {
        if self.array::<8>()? != *MAGIC {
            return Err(self.corrupt("it does not start as a snapshot"));
        }
        let version = self.u32()?;
        if version > FORMAT_VERSION {
            return Err(SnapshotError::NewerFormat {
                file: self.path.clone(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let length = self.u32()?;
        if version == 0 || length > HEADER_OCTETS_MAX {
            return Err(self.corrupt("its header is malformed"));
        }
        let header = self.octets(length)?;
        self.sum(self.sum, "header")?;
        let header = proto::SnapshotHeader::decode(&header[..])
            .map_err(|e| self.corrupt(&format!("its header: {e}")))?;
        if header.cluster != cluster {
            return Err(SnapshotError::OtherCluster {
                file: self.path.clone(),
                found: header.cluster,
                expected: cluster.to_owned(),
            });
        }
        self.command_octets = header.command_octets;
        let membership = header
            .membership
            .as_ref()
            .ok_or(encoding::Invalid::Membership)
            .and_then(encoding::stored_membership_from_proto)
            .map_err(|e| self.corrupt(&format!("its header: {e}")))?;
        Ok(SnapshotMeta {
            last_log_id: header.last_log_id.as_ref().map(encoding::log_id_from_proto),
            last_membership: membership,
        })
    }

    /// Octets of all commands that the snapshot covers.
    pub(super) const fn command_octets(&self) -> u64 {
        self.command_octets
    }

    fn chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let length = self.u32()?;
        if length == 0 {
            return self.trailer().map(|()| None);
        }
        if length > CHUNK_OCTETS_MAX {
            return Err(self.corrupt("a chunk is too long"));
        }
        let stored = self.u32()?;
        let chunk = self.octets(length)?;
        if crc32c::crc32c(&chunk) != stored {
            return Err(self.corrupt("a chunk's checksum does not match"));
        }
        self.chunks += 1;
        self.octets += u64::from(length);
        Ok(Some(Bytes::from(chunk)))
    }

    fn trailer(&mut self) -> Result<(), SnapshotError> {
        let chunks = u64::from_le_bytes(self.array()?);
        let octets = u64::from_le_bytes(self.array()?);
        if (chunks, octets) != (self.chunks, self.octets) {
            return Err(self.corrupt("chunks are missing or too many"));
        }
        self.sum(self.sum, "whole content")?;
        match self.input.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.corrupt("it goes on after its end")),
            Err(e) => Err(SnapshotError::io("read", &self.path, e)),
        }
    }

    fn sum(&mut self, computed: u32, of: &str) -> Result<(), SnapshotError> {
        if self.u32()? == computed {
            return Ok(());
        }
        Err(self.corrupt(&format!("the checksum of its {of} does not match")))
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.array().map(u32::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut octets = [0; N];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn octets(&mut self, length: u32) -> Result<Vec<u8>, SnapshotError> {
        let mut octets = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn fill(&mut self, octets: &mut [u8]) -> Result<(), SnapshotError> {
        match self.input.read_exact(octets) {
            Ok(()) => {
                self.sum = crc32c::crc32c_append(self.sum, octets);
                self.offset += u64::try_from(octets.len()).unwrap_or(u64::MAX);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt("it ends too early"))
            }
            Err(e) => Err(SnapshotError::io("read", &self.path, e)),
        }
    }

    fn corrupt(&self, detail: &str) -> SnapshotError {
        SnapshotError::Corrupt {
            file: self.path.clone(),
            offset: self.offset,
            detail: detail.to_owned(),
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.chunk().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, Membership, StoredMembership};
    use openraft::BasicNode;
    use std::collections::{BTreeMap, BTreeSet};

    fn meta() -> SnapshotMeta {
        let leader = openraft::impls::leader_id_adv::LeaderId { term: 5, node_id: 2 };
        let membership = Membership::new(
            vec![BTreeSet::from([1, 2])],
            BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]),
        )
        .unwrap();
        SnapshotMeta {
            last_log_id: Some(LogId::new(leader, 900)),
            last_membership: StoredMembership::new(Some(LogId::new(leader, 3)), membership),
        }
    }

    fn sample() -> Vec<u8> {
        let mut file = Vec::new();
        let chunks = [Bytes::from(vec![7; 3000]), Bytes::new(), Bytes::from_static(b"end")];
        let octets = write(&mut file, "blue", &meta(), 77, chunks.into_iter()).unwrap();
        assert_eq!(octets, u64::try_from(file.len()).unwrap());
        file
    }

    fn read(file: &[u8], cluster: &str) -> Result<(SnapshotMeta, Vec<Bytes>), SnapshotError> {
        let (reader, meta) = Reader::new(file, Path::new("x.snap"), cluster)?;
        Ok((meta, reader.collect::<Result<_, _>>()?))
    }

    #[test]
    fn what_is_written_is_read() {
        let (read_meta, chunks) = read(&sample(), "blue").unwrap();
        assert_eq!(read_meta, meta());
        let sample = sample();
        let (reader, _) = Reader::new(&sample[..], Path::new("x.snap"), "blue").unwrap();
        assert_eq!(reader.command_octets(), 77);
        assert_eq!(chunks, [Bytes::from(vec![7; 3000]), Bytes::from_static(b"end")]);
    }

    #[test]
    fn a_large_chunk_is_split() {
        let mut file = Vec::new();
        let chunk = Bytes::from(vec![1; SNAPSHOT_CHUNK_OCTETS * 2 + 5]);
        write(&mut file, "blue", &meta(), 0, std::iter::once(chunk.clone())).unwrap();
        let (_, chunks) = read(&file, "blue").unwrap();
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks.concat(), chunk);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = sample();
        for bit in 0..good.len() * 8 {
            let mut file = good.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&file, "blue").is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length], "blue").is_err(), "length {length}");
        }
        let mut longer = good;
        longer.push(0);
        assert!(read(&longer, "blue").is_err());
    }

    #[test]
    fn another_cluster_and_a_newer_format_are_refused() {
        let mut file = sample();
        assert!(matches!(read(&file, "green"), Err(SnapshotError::OtherCluster { .. })));
        file[8] = 9;
        let error = read(&file, "blue").unwrap_err();
        assert!(matches!(error, SnapshotError::NewerFormat { found: 9, supported: 1, .. }));
    }
}
