//! Backup files: what is written is read, and nothing else is taken.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use homeport_api::backup::{BackupError, Encoder, Reader, verify};
use homeport_api::backup_file::{BackupHeader, Counts};
use homeport_api::convert::{STATE_FORMAT, encode_state_record};
use homeport_binding::{
    Authentication, HomePrefix, Ipv6Prefix, LogTime, Revised, StateRecord, Subscriber,
};

fn records() -> Vec<StateRecord> {
    let prefix = Ipv6Prefix::new("2001:db8:0:1::".parse().unwrap(), 64).unwrap();
    let agent = "2001:db8:0:1::1".parse().unwrap();
    let record = HomePrefix::new(prefix, agent, Authentication::None);
    let subscriber = Subscriber::new("2001:db8:0:1::100".parse().unwrap());
    vec![
        StateRecord::Header { now: LogTime(1_000), revision: 77 },
        StateRecord::HomePrefix(Revised { record, revision: 5 }),
        StateRecord::Subscriber(Revised { record: subscriber, revision: 6 }, 9),
    ]
}

fn header(home_prefixes: u64) -> BackupHeader {
    let counts = Counts { home_prefixes, subscribers: 1, ..Counts::default() };
    BackupHeader {
        cluster: "blue".to_owned(),
        cluster_id: 1 << 60,
        revision: 77,
        state_format: STATE_FORMAT,
        counts: Some(counts),
        ..BackupHeader::default()
    }
}

/// Each record in a chunk of its own.
fn file_of(header: &BackupHeader, records: Vec<StateRecord>) -> Vec<u8> {
    let (mut encoder, begin) = Encoder::begin(header);
    let mut file = begin.to_vec();
    for record in records {
        let mut octets = Vec::new();
        encode_state_record(record, &mut octets);
        file.extend_from_slice(&encoder.chunk(&octets));
    }
    file.extend_from_slice(&encoder.end());
    file
}

fn read(file: &[u8]) -> Result<usize, BackupError> {
    let reader = Reader::new(file, Path::new("x.hpb"))?;
    Ok(reader.collect::<Result<Vec<_>, _>>()?.len())
}

#[test]
fn what_is_written_is_read() {
    let octets = file_of(&header(1), records());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &octets).unwrap();
    let verified = verify(file.path()).unwrap();
    assert_eq!(verified.header, header(1));
    assert_eq!(Some(verified.counts), header(1).counts);
    assert_eq!(verified.octets, u64::try_from(octets.len()).unwrap());
    assert_eq!(verified.digest[..], octets[octets.len() - 32..]);
    assert_eq!(read(&octets).unwrap(), 3);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = file_of(&header(1), records());
    for bit in 0..good.len() * 8 {
        let mut file = good.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&file).is_err(), "bit {bit}");
    }
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "length {length}");
    }
    let mut longer = good;
    longer.push(0);
    assert!(read(&longer).is_err());
}

/// With a right digest: made by a program that errs.
#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let mut without_header = records();
    without_header.remove(0);
    let mut two_headers = records();
    two_headers.push(StateRecord::Header { now: LogTime(1_000), revision: 77 });
    let rows = [
        (file_of(&header(2), records()), "other numbers of records"),
        (file_of(&header(1), without_header), "header is missing"),
        (file_of(&header(1), two_headers), "header is missing"),
        (file_of(&header(1), Vec::new()), "no state in it"),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    for (octets, reason) in rows {
        std::fs::write(file.path(), octets).unwrap();
        let error = verify(file.path()).unwrap_err().to_string();
        let name = file.path().to_str().unwrap();
        assert!(error.contains(reason) && error.contains(name), "{reason}: {error}");
    }
}

#[test]
fn what_is_newer_is_refused_by_name() {
    let newer_state = BackupHeader { state_format: STATE_FORMAT + 1, ..header(1) };
    let mut newer_file = file_of(&header(1), records());
    newer_file[8] = 9;
    for (octets, what) in [
        (newer_file, "the file has version 9"),
        (file_of(&newer_state, records()), "its state has version 2"),
    ] {
        let error = read(&octets).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("up to 1"), "{error}");
    }
}
