//! The form of a backup file of the store, version 1.
//!
//! ```text
//! "HPBACKUP"
//! format version                          4 octets, all numbers little endian
//! length of the header, then proto homeport.backup.v1.BackupHeader
//! chunks, each: length (> 0), then whole StateRecord messages, each with its length before it
//! length 0
//! number of chunks                        8
//! octets in all chunks                    8
//! SHA-256 of the whole file before        32
//! ```
//!
//! The digest at the end finds a file that was cut off, changed or pieced together: whoever reads one has a
//! backup only once [`Reader`] has come to its end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use homeport_binding::StateRecord;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::backup_file::{BackupHeader, Counts};
use crate::convert;

const MAGIC: &[u8; 8] = b"HPBACKUP";

/// The newest version that this code reads, and the one that it writes.
pub const FORMAT_VERSION: u32 = 1;

/// Octets of the header: it holds names and numbers.
const HEADER_OCTETS_MAX: u32 = 64 * 1024;

/// Octets of a chunk: four times what a store puts into one.
pub const CHUNK_OCTETS_MAX: u32 = 4 * 1024 * 1024;

/// What can be done about a file that is no use.
const REMEDY: &str = "nothing was taken from it; use another backup, or save one again with \
                      `homeportctl snapshot save`";

/// A file cannot be used as a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system refused.
    #[error("{file}: cannot {operation} it: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The octets are not those that were written.
    #[error("{file}: damaged, found at octet {offset}: {detail}; {REMEDY}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Up to where it was read.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A newer program wrote it.
    #[error(
        "{file}: {what} has version {found}, this program reads up to {supported}: use the programs of the \
         version that wrote it, or newer ones"
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The file or the state in it.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
}

/// Makes a backup file piece by piece.
pub struct Encoder {
    digest: Sha256,
    chunks: u64,
    octets: u64,
}

impl Encoder {
    /// The beginning of a file.
    #[must_use]
    pub fn begin(header: &BackupHeader) -> (Self, Bytes) {
        let header = header.encode_to_vec();
        let mut piece = Vec::with_capacity(header.len().saturating_add(16));
        piece.extend_from_slice(MAGIC);
        piece.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        piece.extend_from_slice(&length(&header).to_le_bytes());
        piece.extend_from_slice(&header);
        let mut encoder = Self { digest: Sha256::new(), chunks: 0, octets: 0 };
        encoder.digest.update(&piece);
        (encoder, piece.into())
    }

    /// Whole records, at least one; at most [`CHUNK_OCTETS_MAX`].
    pub fn chunk(&mut self, records: &[u8]) -> Bytes {
        let mut piece = Vec::with_capacity(records.len().saturating_add(4));
        piece.extend_from_slice(&length(records).to_le_bytes());
        piece.extend_from_slice(records);
        self.digest.update(&piece);
        self.chunks = self.chunks.saturating_add(1);
        self.octets = self.octets.saturating_add(u64::from(length(records)));
        piece.into()
    }

    /// The end of the file.
    #[must_use]
    pub fn end(mut self) -> Bytes {
        let mut piece = 0_u32.to_le_bytes().to_vec();
        piece.extend_from_slice(&self.chunks.to_le_bytes());
        piece.extend_from_slice(&self.octets.to_le_bytes());
        self.digest.update(&piece);
        piece.extend_from_slice(&self.digest.finalize());
        piece.into()
    }
}

fn length(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

/// Reads a backup: its chunks as an iterator, which ends after the digest was verified. Whoever stops earlier
/// has not seen a whole backup.
pub struct Reader<R> {
    input: R,
    file: PathBuf,
    header: BackupHeader,
    digest: Sha256,
    offset: u64,
    chunks: u64,
    octets: u64,
    ended: bool,
    verified: Option<[u8; 32]>,
}

impl Reader<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read, is no backup, or is of a newer version.
    pub fn open(file: &Path) -> Result<Self, BackupError> {
        let input = File::open(file).map_err(|source| BackupError::Io {
            file: file.into(),
            operation: "open",
            source,
        })?;
        Self::new(BufReader::with_capacity(1 << 18, input), file)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header; `file` is for messages.
    ///
    /// # Errors
    /// When it cannot be read, is no backup, or is of a newer version.
    pub fn new(input: R, file: &Path) -> Result<Self, BackupError> {
        let mut reader = Self {
            input,
            file: file.into(),
            header: BackupHeader::default(),
            digest: Sha256::new(),
            offset: 0,
            chunks: 0,
            octets: 0,
            ended: false,
            verified: None,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// What stands before the state.
    #[must_use]
    pub const fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The SHA-256 at the end of the file, once it was verified.
    #[must_use]
    pub const fn digest(&self) -> Option<[u8; 32]> {
        self.verified
    }

    /// Octets read so far.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn read_header(&mut self) -> Result<(), BackupError> {
        if self.array::<8>()? != *MAGIC {
            return Err(self.damaged("it does not begin as a backup of a Homeport store"));
        }
        let version = self.number()?;
        if version > FORMAT_VERSION {
            return Err(self.newer("the file", version, FORMAT_VERSION));
        }
        let length = self.number()?;
        if version == 0 || length > HEADER_OCTETS_MAX {
            return Err(self.damaged("its header is malformed"));
        }
        let header = self.octets(length)?;
        self.header = BackupHeader::decode(&header[..])
            .map_err(|error| self.damaged(&format!("its header: {error}")))?;
        if self.header.state_format > convert::STATE_FORMAT {
            return Err(self.newer("its state", self.header.state_format, convert::STATE_FORMAT));
        }
        Ok(())
    }

    fn read_chunk(&mut self) -> Result<Option<Bytes>, BackupError> {
        let length = self.number()?;
        if length == 0 {
            return self.read_end().map(|()| None);
        }
        if length > CHUNK_OCTETS_MAX {
            return Err(self.damaged("a chunk is too long"));
        }
        let chunk = self.octets(length)?;
        self.chunks = self.chunks.saturating_add(1);
        self.octets = self.octets.saturating_add(u64::from(length));
        Ok(Some(chunk.into()))
    }

    fn read_end(&mut self) -> Result<(), BackupError> {
        let chunks = u64::from_le_bytes(self.array()?);
        let octets = u64::from_le_bytes(self.array()?);
        if (chunks, octets) != (self.chunks, self.octets) {
            return Err(self.damaged("chunks are missing or too many"));
        }
        let computed: [u8; 32] = self.digest.clone().finalize().into();
        if self.array::<32>()? != computed {
            return Err(self.damaged("its SHA-256 does not match its content"));
        }
        match self.input.read(&mut [0; 1]) {
            Ok(0) => self.verified = Some(computed),
            Ok(_) => return Err(self.damaged("it goes on after its end")),
            Err(source) => return Err(self.io(source)),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<u32, BackupError> {
        self.array().map(u32::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut octets = [0; N];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn octets(&mut self, length: u32) -> Result<Vec<u8>, BackupError> {
        let mut octets = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn fill(&mut self, octets: &mut [u8]) -> Result<(), BackupError> {
        match self.input.read_exact(octets) {
            Ok(()) => {
                self.digest.update(&*octets);
                let read = u64::try_from(octets.len()).unwrap_or(u64::MAX);
                self.offset = self.offset.saturating_add(read);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("it ends too early"))
            }
            Err(source) => Err(self.io(source)),
        }
    }

    fn damaged(&self, detail: &str) -> BackupError {
        let (file, detail) = (self.file.clone(), detail.to_owned());
        BackupError::Damaged { file, offset: self.offset, detail }
    }

    fn newer(&self, what: &'static str, found: u32, supported: u32) -> BackupError {
        BackupError::NewerFormat { file: self.file.clone(), what, found, supported }
    }

    fn io(&self, source: io::Error) -> BackupError {
        BackupError::Io { file: self.file.clone(), operation: "read", source }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Bytes, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read_chunk().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// A backup that is whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Verified {
    /// What stands before the state.
    pub header: BackupHeader,
    /// SHA-256 of all that is before it in the file.
    pub digest: [u8; 32],
    /// Size of the file.
    pub octets: u64,
    /// How much there is of everything.
    pub counts: Counts,
}

/// Reads all of a backup: its digest, every record, and whether it holds what its header says.
///
/// # Errors
/// When it cannot be read or is not whole, or a record cannot be read.
pub fn verify(file: &Path) -> Result<Verified, BackupError> {
    let mut reader = Reader::open(file)?;
    let mut counts = Counts::default();
    let mut is_first = true;
    while let Some(chunk) = reader.next() {
        let mut chunk = chunk?;
        while chunk.has_remaining() {
            let record = convert::decode_state_record(&mut chunk)
                .map_err(|error| reader.damaged(&format!("a record: {error}")))?;
            let is_header = matches!(record, StateRecord::Header { .. });
            if is_header != is_first {
                return Err(reader.damaged("the state's header is missing or not its first record"));
            }
            is_first = false;
            count(&mut counts, &record);
        }
    }
    let digest = reader.digest().filter(|_| !is_first);
    let digest = digest.ok_or_else(|| reader.damaged("there is no state in it"))?;
    if reader.header.counts != Some(counts) {
        return Err(reader.damaged("it holds other numbers of records than its header says"));
    }
    Ok(Verified { header: reader.header, digest, octets: reader.offset, counts })
}

fn count(counts: &mut Counts, record: &StateRecord) {
    let bump = |number: &mut u64, by: usize| {
        *number = number.saturating_add(u64::try_from(by).unwrap_or(u64::MAX));
    };
    match record {
        StateRecord::HomePrefix(_) => bump(&mut counts.home_prefixes, 1),
        StateRecord::Subscriber(..) => bump(&mut counts.subscribers, 1),
        StateRecord::Home(_, home) => {
            bump(&mut counts.home_addresses, 1);
            bump(&mut counts.bindings, home.bindings.len());
        }
        StateRecord::Header { .. }
        | StateRecord::Association(_)
        | StateRecord::Defender(_)
        | StateRecord::Advertising(_)
        | StateRecord::Correspondent(..)
        | StateRecord::Operations(_) => {}
    }
}
