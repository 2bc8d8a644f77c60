//! The journal before sled: what was written last, in two files that are written in turn.
//!
//! A sync of sled wakes all of its threads and makes its file grow. Here it is one write into a file that has its
//! size already, so that only the data must reach the device.
//!
//! ```text
//! records at multiples of 512 octets, all numbers little endian
//! octet  0..8   "HPJOURNL"
//!        8..12  length of the changes
//!       12..16  crc32c of everything after
//!       16..24  incarnation of the disk
//!       24..32  number of the record: one more than that of the record before, from 1 on
//!       32..    changes, each: length of the key (2), length of the value (4), key, value
//! ```
//!
//! A record is written and synced before the next one, so at most the last is torn. Who reads takes every
//! valid record of both files: their numbers say which is the last, and whether one is missing. What stands
//! behind the last one is from an earlier turn, and has lower numbers.

use crate::error::DiskError;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"HPJOURNL";
const HEAD_OCTETS: usize = 32;
const SUM_END: usize = 16;
const NAMES: [&str; 2] = ["0", "1"];

/// Records stand at multiples of this, so that one is found behind another that is damaged.
const ALIGNMENT: usize = 512;

/// The files grow by this: a file that grows with every record is synced with its inode each time.
const STEP_OCTETS: u64 = 1024 * 1024;

/// A record that would go beyond is written into the other file: what a start must read is bounded.
const FILE_OCTETS_MAX: u64 = 16 * 1024 * 1024;

/// A key and its new value.
pub(super) type Change = (Vec<u8>, Vec<u8>);

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) changes: Vec<Change>,
}

/// The two files.
#[derive(Debug)]
pub(super) struct Journal {
    incarnation: u64,
    files: [Place; 2],
    active: usize,
    /// Of the last record.
    number: u64,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    file: File,
    octets: u64,
    /// Where the next record goes.
    end: u64,
    /// Number of the last record in it.
    last: u64,
}

/// Where the next record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Behind the last one.
    Here,
    /// At the start of the other file: everything up to this number must be elsewhere before.
    AfterTurn(u64),
}

impl Journal {
    /// Opens the files below `dir`, or creates them unless they were `created` before, and reads all
    /// records in the order of their numbers.
    pub(super) fn open(
        dir: &Path,
        incarnation: u64,
        created: bool,
    ) -> Result<(Self, Vec<Record>), DiskError> {
        if !created {
            std::fs::create_dir_all(dir).map_err(|e| DiskError::io("create", dir, e))?;
        }
        let mut records = BTreeMap::new();
        let [first, second] = NAMES.map(|name| {
            let path = dir.join(name);
            let mut options = File::options();
            options.read(true).write(true).create(!created).truncate(false);
            let file = options.open(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    corrupt(&path, "it is missing although it was there before")
                }
                _ => DiskError::io("open", &path, e),
            })?;
            let content = std::fs::read(&path).map_err(|e| DiskError::io("read", &path, e))?;
            let octets = u64::try_from(content.len()).unwrap_or(u64::MAX);
            let mut place = Place { path, file, octets, end: 0, last: 0 };
            place.read(&content, incarnation, &mut records)?;
            Ok::<_, DiskError>(place)
        });
        let files = [first?, second?];
        let active = usize::from(files[1].last > files[0].last);
        let number = files[active].last;
        let records = records.into_iter().map(|(number, changes)| Record { number, changes });
        Ok((Self { incarnation, files, active, number }, records.collect()))
    }

    /// Of the last record.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Where a record with these changes would go.
    pub(super) fn room(&self, changes: &[Change]) -> Room {
        let [here, other] = self.turn(self.active);
        let octets = u64::try_from(record_octets(changes)).unwrap_or(u64::MAX);
        if here.end == 0 || here.end.saturating_add(octets) <= FILE_OCTETS_MAX {
            Room::Here
        } else {
            Room::AfterTurn(other.last)
        }
    }

    const fn turn(&self, active: usize) -> [&Place; 2] {
        let [first, second] = &self.files;
        if active == 0 { [first, second] } else { [second, first] }
    }

    /// The other file's turn: its records are given up.
    pub(super) fn take_turn(&mut self) {
        self.active = 1 - self.active;
        self.place().end = 0;
    }

    fn place(&mut self) -> &mut Place {
        let [first, second] = &mut self.files;
        if self.active == 0 { first } else { second }
    }

    /// Writes a record and waits for the device. Returns its number.
    pub(super) fn append(&mut self, changes: &[Change]) -> Result<u64, DiskError> {
        let number = self.number + 1;
        let record = emit(self.incarnation, number, changes);
        self.place().append(number, &record)?;
        self.number = number;
        Ok(number)
    }
}

impl Place {
    /// Collects the valid records, and finds the end of the last one.
    fn read(
        &mut self,
        content: &[u8],
        incarnation: u64,
        records: &mut BTreeMap<u64, Vec<Change>>,
    ) -> Result<(), DiskError> {
        let mut at = 0;
        while let Some(rest) = content.get(at..).filter(|rest| !rest.is_empty()) {
            let Some((found, number, body)) = parse(rest) else {
                at += ALIGNMENT;
                continue;
            };
            if found != incarnation {
                let detail = format!(
                    "it belongs to the disk {found:016x}, and not to this one, {incarnation:016x}"
                );
                return Err(corrupt(&self.path, &detail));
            }
            let changes = changes_of(body)
                .ok_or_else(|| corrupt(&self.path, &format!("record {number} is malformed")))?;
            at += aligned(HEAD_OCTETS + body.len());
            if number > self.last {
                self.last = number;
                self.end = u64::try_from(at).unwrap_or(u64::MAX);
            }
            records.insert(number, changes);
        }
        Ok(())
    }

    fn append(&mut self, number: u64, record: &[u8]) -> Result<(), DiskError> {
        let error = |operation| {
            let path = self.path.clone();
            move |e| DiskError::io(operation, path, e)
        };
        let end = self.end + u64::try_from(aligned(record.len())).unwrap_or(u64::MAX);
        while self.octets < end {
            let zeros = vec![0; usize::try_from(STEP_OCTETS).unwrap_or_default()];
            self.file.write_all_at(&zeros, self.octets).map_err(error("extend"))?;
            self.octets += STEP_OCTETS;
        }
        self.file.write_all_at(record, self.end).map_err(error("write"))?;
        self.file.sync_data().map_err(error("sync"))?;
        (self.end, self.last) = (end, number);
        Ok(())
    }
}

fn corrupt(path: &Path, detail: &str) -> DiskError {
    DiskError::Corrupt {
        file: path.into(),
        record: "the journal".to_owned(),
        detail: detail.to_owned(),
    }
}

const fn aligned(octets: usize) -> usize {
    octets.next_multiple_of(ALIGNMENT)
}

const fn change_octets(change: &Change) -> usize {
    6 + change.0.len() + change.1.len()
}

fn record_octets(changes: &[Change]) -> usize {
    aligned(HEAD_OCTETS + changes.iter().map(change_octets).sum::<usize>())
}

fn emit(incarnation: u64, number: u64, changes: &[Change]) -> Vec<u8> {
    let length = changes.iter().map(change_octets).sum::<usize>();
    let mut record = Vec::with_capacity(HEAD_OCTETS + length);
    record.extend_from_slice(MAGIC);
    record.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&incarnation.to_le_bytes());
    record.extend_from_slice(&number.to_le_bytes());
    for (key, value) in changes {
        record.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        record.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(key);
        record.extend_from_slice(value);
    }
    let sum = crc32c::crc32c(record.get(SUM_END..).unwrap_or_default());
    if let Some(place) = record.get_mut(SUM_END - 4..SUM_END) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    record
}

/// The record at the start: incarnation, number, and the octets of its changes.
fn parse(octets: &[u8]) -> Option<(u64, u64, &[u8])> {
    let rest = octets.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, covered) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let covered = covered.get(..length.checked_add(HEAD_OCTETS - SUM_END)?)?;
    if u32::from_le_bytes(*sum) != crc32c::crc32c(covered) {
        return None;
    }
    let (incarnation, rest) = covered.split_first_chunk::<8>()?;
    let (number, body) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*incarnation), u64::from_le_bytes(*number), body))
}

fn changes_of(mut octets: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !octets.is_empty() {
        let (key, rest) = octets.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key).into())?;
        let value = usize::try_from(u32::from_le_bytes(*value)).ok()?;
        let (value, rest) = rest.split_at_checked(value)?;
        changes.push((key.to_vec(), value.to_vec()));
        octets = rest;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u64 = 7;

    fn changes(number: u64, octets: usize) -> Vec<Change> {
        vec![(number.to_be_bytes().to_vec(), vec![1; octets]), (b"empty".to_vec(), Vec::new())]
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.number).collect()
    }

    /// As its user does.
    fn append(journal: &mut Journal, octets: usize) -> u64 {
        let changes = changes(journal.number() + 1, octets);
        if journal.room(&changes) != Room::Here {
            journal.take_turn();
        }
        journal.append(&changes).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, records) = Journal::open(dir.path(), OURS, false).unwrap();
        assert_eq!((journal.number(), records.len()), (0, 0));
        for octets in [0, 1, 470, 474, 475, 511, 512, 5000] {
            append(&mut journal, octets);
        }
        let (mut journal, records) = Journal::open(dir.path(), OURS, true).unwrap();
        assert_eq!(numbers(&records), (1..=8).collect::<Vec<_>>());
        assert_eq!(records[7].changes, changes(8, 5000));
        assert_eq!(append(&mut journal, 3), 9);
        let (_, records) = Journal::open(dir.path(), OURS, true).unwrap();
        assert_eq!(numbers(&records), (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn the_files_take_turns_and_do_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), OURS, false).unwrap();
        for _ in 0..50 {
            append(&mut journal, 1 << 20);
        }
        let sizes = NAMES.map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|octets| *octets <= FILE_OCTETS_MAX), "{sizes:?}");
        let (journal, records) = Journal::open(dir.path(), OURS, true).unwrap();
        assert_eq!(journal.number(), 50);
        // The last ones without a gap; of the turn before something may be left.
        let numbers = numbers(&records);
        assert!(numbers.is_sorted() && numbers.ends_with(&(30..=50).collect::<Vec<_>>()));
        let changes = changes(51, 1 << 20);
        assert!(matches!(journal.room(&changes), Room::Here | Room::AfterTurn(30..=45)));
    }

    #[test]
    fn a_torn_record_is_the_end_and_one_behind_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), OURS, false).unwrap();
        for _ in 0..3 {
            append(&mut journal, 2000);
        }
        let path = dir.path().join("0");
        let whole = std::fs::read(&path).unwrap();
        let each = aligned(HEAD_OCTETS + 2000 + 6 + 8 + 6 + 5);
        for (octet, left) in [(2 * each + 900, vec![1, 2]), (each + 9, vec![1, 3])] {
            let mut octets = whole.clone();
            octets[octet] ^= 4;
            std::fs::write(&path, octets).unwrap();
            let (_, records) = Journal::open(dir.path(), OURS, true).unwrap();
            assert_eq!(numbers(&records), left);
        }
    }

    #[test]
    fn that_of_another_disk_and_a_missing_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), OURS, false).unwrap();
        append(&mut journal, 10);
        let error = Journal::open(dir.path(), 8, true).unwrap_err().to_string();
        assert!(error.contains("0000000000000007"), "{error}");
        std::fs::remove_file(dir.path().join("1")).unwrap();
        let error = Journal::open(dir.path(), OURS, true).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
