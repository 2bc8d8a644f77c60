//! What a task found, in one form for people's scripts.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde::Serialize;

/// What else a task says, by its name.
pub(crate) type Detail = serde_json::Map<String, serde_json::Value>;

/// Counts of a task, and what it measured.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Checks that held.
    pub(crate) passed: u64,
    /// Checks that did not.
    pub(crate) failed: u64,
    /// Checks that this machine or user could not make.
    pub(crate) skipped: u64,
    /// Measured values.
    pub(crate) figures: Vec<Figure>,
    /// What only this task has to say.
    #[serde(flatten)]
    pub(crate) detail: Detail,
}

/// One measured value.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
}

impl Report {
    /// Counts one check.
    pub(crate) fn count(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds what another part of the same task found.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.figures.extend(other.figures);
        self.detail.extend(other.detail);
    }

    /// Adds a measured value.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.to_owned(), value, unit });
    }

    /// Writes the report as one JSON object.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string(self)? + "\n";
        fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_agreed_form() {
        let mut report = Report { passed: 2, ..Report::default() };
        report.count(false);
        report.figure("rate", 1.5, "1/s");
        assert_eq!(
            serde_json::to_string(&report).expect("serializes"),
            r#"{"passed":2,"failed":1,"skipped":0,"figures":[{"name":"rate","value":1.5,"unit":"1/s"}]}"#
        );
    }
}
