//! What random octets have reached before is reached on every test run: the committed corpora
//! through the same targets, the golden packets, and all of it damaged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;

use homeport_tests::fuzz::{TARGETS, Target};
use homeport_tests::golden;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = homeport_tests::root().join("tests/fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// Says which input it was when a target panics.
struct Trace<'a>(&'a Target, String);

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {} with {}", self.0.name, self.1);
        }
    }
}

fn throw(target: &Target, what: impl Into<String>, octets: &[u8]) {
    let _trace = Trace(target, what.into());
    (target.run)(octets);
}

#[test]
fn every_corpus_runs() {
    for target in &TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 5, "{} has {} inputs", target.name, corpus.len());
        for (file, octets) in corpus {
            assert!(octets.len() <= target.octets_max, "{}", file.display());
            throw(target, file.display().to_string(), &octets);
        }
        throw(target, "nothing", &[]);
    }
}

#[test]
fn every_corpus_runs_damaged() {
    for target in &TARGETS {
        for (file, octets) in corpus(target) {
            // Where it is cut and turned differs from file to file, by its length.
            for at in (octets.len() % 3..octets.len()).step_by(3) {
                throw(target, format!("{} cut at {at}", file.display()), &octets[..at]);
                let mut turned = octets.clone();
                turned[at] ^= 1 << (at % 8);
                throw(target, format!("{} turned at {at}", file.display()), &turned);
            }
        }
    }
}

#[test]
fn every_golden_packet_runs_through_every_target() {
    for number in 1..=36 {
        let id = format!("V{number:02}");
        let packet = golden::vector(&id).unwrap();
        for target in &TARGETS {
            throw(target, &*id, &packet);
            // For those that begin with choices.
            for choice in [0, 1] {
                let octets = [&[choice, choice, 0x80, 255], &packet[..]].concat();
                throw(target, format!("{id} with {choice}"), &octets);
            }
        }
    }
}

#[test]
fn each_corpus_belongs_to_a_target() {
    let folder = homeport_tests::root().join("tests/fuzz/corpus");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}
