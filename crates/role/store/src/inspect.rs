//! What a replica's data directory holds, for an operator; the replica does not run meanwhile.

use std::fmt;
use std::path::{Path, PathBuf};

use homeport_raft::{Inspection, StartError};

use crate::machine::Machine;

/// A data directory and the bindings in it. Its text is for people.
#[derive(Debug)]
pub struct Inspected {
    data_dir: PathBuf,
    disk: Inspection,
    home_addresses: usize,
    bindings: usize,
}

/// Reads all of a data directory and changes nothing in it. `scratch` is an empty directory with room for
/// a copy of the log.
///
/// # Errors
/// When there is nothing to read, when a replica runs on the directory, or when the copy cannot be made.
pub fn inspect(data_dir: &Path, scratch: &Path) -> Result<Inspected, StartError> {
    let mut machine = Machine::default();
    let disk = homeport_raft::inspect(data_dir, scratch, &mut machine)?;
    Ok(Inspected {
        data_dir: data_dir.to_owned(),
        disk,
        home_addresses: machine.cache.home_address_count(),
        bindings: machine.cache.binding_count(),
    })
}

impl Inspected {
    /// What is damaged, where, and how to recover; empty when all of it is whole.
    #[must_use]
    pub fn damage(&self) -> &[String] {
        &self.disk.damage
    }
}

fn known(index: Option<u64>) -> String {
    index.map_or("none".to_owned(), |index| index.to_string())
}

fn list(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = &self.disk;
        writeln!(f, "data directory  {}", self.data_dir.display())?;
        writeln!(f, "replica         node {} of cluster {:?}", disk.node_id, disk.cluster)?;
        let (format, incarnation) = (disk.format, disk.incarnation);
        writeln!(f, "cluster id      {:016x}", disk.cluster_id)?;
        if !disk.origin.is_empty() {
            writeln!(f, "origin          {}", disk.origin)?;
        }
        writeln!(f, "disk            {incarnation:016x}, format {format}")?;
        if let Some(log) = &disk.log {
            let term = log.last_term.unwrap_or_default();
            let entries = log.entries;
            let entries = entries.map(|(first, last)| format!("{first} to {last} of term {term}"));
            writeln!(f, "vote            {}", log.vote.as_deref().unwrap_or("none"))?;
            writeln!(f, "log entries     {}", entries.as_deref().unwrap_or("none"))?;
            writeln!(f, "committed to    {}", known(log.committed))?;
            writeln!(f, "purged to       {}", known(log.purged))?;
            writeln!(f, "peers known     {}", list(&log.peers))?;
        }
        for snapshot in &disk.snapshots {
            writeln!(f, "snapshot        {}", snapshot.file.display())?;
            let (last, voters) = (known(snapshot.last), list(&snapshot.voters));
            let octets = snapshot.octets;
            writeln!(f, "                {octets} octets, up to entry {last}, voters {voters}")?;
        }
        let (homes, bindings) = (self.home_addresses, self.bindings);
        writeln!(f, "state           revision {}", known(disk.applied))?;
        write!(f, "                {homes} home addresses, {bindings} bindings")
    }
}
