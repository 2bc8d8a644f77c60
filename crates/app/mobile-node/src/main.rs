//! `mobile-node`: a mobile node on the command line.

mod arguments;
mod commands;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mobile-node: cannot start: {error}");
            return ExitCode::from(commands::EXIT_HOST);
        }
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mobile-node: {error:#}");
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
