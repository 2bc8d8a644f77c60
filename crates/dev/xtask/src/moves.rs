//! Random moves under load: what has ended is not sent to any more.

use clap::Args;
use homeport_tests::netns::{self, Figure, moves::Moves};

use crate::report::Report;

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Bindings that end, by a move or a de-registration, once with the TUN and once with XDP.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    moves: u32,
    /// What decides who moves when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs both; each figure is that of both together.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::default();
    if let Err(reason) = netns::possible() {
        eprintln!("\n*** SKIPPED random moves: {reason:#}\n");
        report.skipped = 2;
        return Ok(report);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let mut all: Vec<Figure> = Vec::new();
    for xdp in [false, true] {
        let moves = Moves { moves: options.moves, xdp, seed: options.seed };
        let outcome = runtime.block_on(moves.run());
        report.count(outcome.result.is_ok());
        let by = if xdp { "XDP" } else { "TUN" };
        match outcome.result {
            Ok(()) => println!("ok      by {by}"),
            Err(error) => println!("FAILED  by {by}: {error:?}"),
        }
        for figure in outcome.figures {
            println!("        {} {}", figure.name, figure.value);
            match all.iter_mut().find(|it| it.name == figure.name) {
                Some(sum) => sum.value += figure.value,
                None => all.push(figure),
            }
        }
    }
    for Figure { name, value, unit } in all {
        report.figure(name, value, unit);
    }
    Ok(report)
}
