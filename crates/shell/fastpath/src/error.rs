//! Why the fast path cannot be had.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// Why the fast path cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was built without clang, without the feature `xdp`, or for another machine than x86-64.
    #[error(
        "built without the XDP program; install clang and build with the feature xdp on x86-64"
    )]
    NotBuilt,
    /// The kernel refuses the program or a map.
    #[error(
        "the kernel refuses the XDP program: {0}; it needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    )]
    Load(#[from] EbpfError),
    /// A program cannot be loaded or attached.
    #[error("the XDP program cannot be {what}: {source}")]
    Program {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: ProgramError,
    },
    /// A map cannot be used.
    #[error("map {map} of the XDP program: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// The kernel refuses a system call.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// What is kept from one process to the next cannot be.
    #[error("xdp.pin_dir: {}: {what}: {source}", place.display())]
    Pin {
        /// What was tried.
        what: &'static str,
        /// With which file or directory.
        place: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no file system for what is kept.
    #[error(
        "xdp.pin_dir: {} is in no file system of type bpf, and {why}; run `mount -t bpf bpf \
         DIRECTORY`, name a directory in such a file system in xdp.pin_dir, or set it to \"\" to keep \
         nothing from one process to the next",
        place.display()
    )]
    NoBpffs {
        /// The directory.
        place: PathBuf,
        /// Why none was mounted.
        why: String,
    },
    /// Another process has it.
    #[error(
        "xdp.pin_dir: {} is used by another process; give each forwarder of a host a name or an \
         xdp.pin_dir of its own",
        place.display()
    )]
    Taken {
        /// The directory.
        place: PathBuf,
    },
    /// More of something than the program has room for.
    #[error("{count} {what}; the XDP program has room for {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}
