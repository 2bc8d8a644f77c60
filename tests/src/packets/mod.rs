//! The fixtures of the packet core in `tests/fixtures/forwarding`, and what runs them: through the core, and
//! through the XDP program beside it.
//!
//! They are written by `oracle.py`, which knows the RFCs and scapy and nothing of this tree. `rows.toml` lists
//! what they must show.

mod core;
mod digits;
mod format;
mod xdp;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

pub use self::core::run;
pub use self::format::{Case, Xdp};
pub use self::xdp::{Counts, beside};

/// What must be shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    kinds: Vec<String>,
    marks: Vec<String>,
    each: Vec<String>,
    rows: Vec<String>,
}

/// The directory of the fixtures.
#[must_use]
pub fn directory() -> PathBuf {
    crate::root().join("tests/fixtures/forwarding")
}

fn read(name: &str) -> Result<String> {
    let file = directory().join(name);
    std::fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// The rows that must have a case.
///
/// # Errors
/// When the list cannot be read.
pub fn rows() -> Result<BTreeSet<String>> {
    let Rows { kinds, marks, each, rows } = toml::from_str(&read("rows.toml")?)?;
    let mut all = BTreeSet::from_iter(rows);
    for pattern in each {
        for kind in &kinds {
            for (mark, inner) in marks.iter().flat_map(|mark| marks.iter().map(move |i| (mark, i)))
            {
                let row = pattern.replace("{kind}", kind).replace("{mark}", mark);
                all.insert(row.replace("{inner}", inner));
            }
        }
    }
    Ok(all)
}

/// All cases.
///
/// # Errors
/// When a file cannot be read, or a case stands for nothing.
pub fn cases() -> Result<Vec<Case>> {
    let tables = format::tables(&read("tables.toml")?)?;
    let mut cases: Vec<Case> = Vec::new();
    for entry in std::fs::read_dir(directory())? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        if !name.ends_with(".toml") || ["tables.toml", "rows.toml"].contains(&name.as_str()) {
            continue;
        }
        cases.extend(format::cases(&read(&name)?, &tables).with_context(|| name.clone())?);
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    ensure!(names.len() == cases.len(), "two cases have the same name");
    Ok(cases)
}
