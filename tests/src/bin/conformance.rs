//! The conformance suite as a program: `cargo xtask conformance` does the same and writes the page.
//!
//! `conformance [--during-leader-kill] [CASE]`

use std::process::ExitCode;

use homeport_tests::conformance::{self, Selection, Verdict, report};

fn main() -> ExitCode {
    let mut selection = Selection::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--during-leader-kill" => selection.during_leader_kill = true,
            "--quick" => selection.quick = true,
            _ => selection.case = Some(argument),
        }
    }
    let tried = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(conformance::run(&selection)));
    match tried {
        Ok(tried) => {
            println!("\n{}", report::summary(&tried));
            let failed = tried.iter().any(|case| case.verdict == Verdict::Failed);
            if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}
