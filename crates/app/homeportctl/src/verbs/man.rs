//! `homeportctl man`: manual pages, of what the command line says of itself.

use std::path::Path;

use clap::CommandFactory as _;

use crate::{arguments::Arguments, failure::Failure};

pub(crate) fn run(out: Option<&Path>) -> Result<String, Failure> {
    let Some(dir) = out else { return page() };
    let wrong = |error| Failure::Usage(format!("--out {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(wrong)?;
    // Each page is one of the program's own; the help of clap is no command.
    clap_mangen::generate_to(Arguments::command().disable_help_subcommand(true), dir)
        .map_err(wrong)?;
    Ok(format!("manual pages are in {}\n", dir.display()))
}

fn page() -> Result<String, Failure> {
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(Arguments::command()).render(&mut page);
    written.map_err(|error| Failure::Usage(format!("cannot write: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let printed = run(None).unwrap();
        for part in [".TH homeportctl 1", "homeportctl\\-raft(1)", "Exit codes:"] {
            assert!(printed.contains(part), "{part}: {printed}");
        }
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("man1");
        run(Some(&dir)).unwrap();
        for page in ["homeportctl.1", "homeportctl-raft.1", "homeportctl-raft-transfer.1"] {
            let text = std::fs::read_to_string(dir.join(page)).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}");
        }
    }
}
