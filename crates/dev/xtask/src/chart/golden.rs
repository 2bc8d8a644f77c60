//! What the chart renders is in `tests/chart`, so that a change of a template shows what it changes.

use std::{fs, path::Path};

use anyhow::Context as _;

use super::Rendered;
use crate::report::Report;

const FOLDER: &str = "tests/chart";

/// Compares, or writes them anew.
pub(super) fn check(
    report: &mut Report,
    root: &Path,
    rendered: &[Rendered],
    write: bool,
) -> anyhow::Result<()> {
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder)?;
    for one in rendered {
        let file = folder.join(format!("{}.yaml", one.name));
        let text = without_files(&one.text);
        if write {
            fs::write(&file, &text).with_context(|| file.display().to_string())?;
        }
        let known = fs::read_to_string(&file).unwrap_or_default();
        let difference = known
            .lines()
            .zip(text.lines())
            .position(|(known, now)| known != now)
            .map_or_else(|| known.lines().count().min(text.lines().count()) + 1, |line| line + 1);
        report.count(known == text);
        if known != text {
            eprintln!(
                "chart: {FOLDER}/{}.yaml is not what is rendered, from line {difference} on: look, then \
                 `cargo xtask chart --write`",
                one.name
            );
        }
    }
    Ok(())
}

/// Without what stands elsewhere in the tree as it is: dashboards.
fn without_files(rendered: &str) -> String {
    let mut text = String::new();
    let mut is_inside = false;
    for line in rendered.lines() {
        is_inside &= line.starts_with("    ");
        if !is_inside {
            text.push_str(line);
            text.push('\n');
        }
        is_inside |= line.ends_with(".json: |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_tree_are_left_out() {
        let rendered = "data:\n  a.json: |\n    {\n      1\n    }\n---\nkind: Pod\n";
        assert_eq!(without_files(rendered), "data:\n  a.json: |\n---\nkind: Pod\n");
    }
}
