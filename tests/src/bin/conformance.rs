//! The conformance suite as a program: `cargo xtask conformance` does the same and writes the page.
//!
//! `conformance [--during-leader-kill] [--full] [--quick] [CASE]`

use std::process::ExitCode;

use homeport_tests::conformance::{self, Ran, Selection, Verdict, lab::Extent, report};

fn main() -> ExitCode {
    let mut selection = Selection::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--during-leader-kill" => selection.during_leader_kill = true,
            "--full" => selection.extent = Extent::FULL,
            "--quick" => selection.quick = true,
            _ => selection.case = Some(argument),
        }
    }
    let ran = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(conformance::run(&selection)));
    match ran {
        Ok(Ran { tried, figures, .. }) => {
            println!("\n{}", report::summary(&tried));
            for figure in figures {
                println!("{}: {} {}", figure.name, figure.value, figure.unit);
            }
            let failed = tried.iter().any(|case| case.verdict == Verdict::Failed);
            if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}
