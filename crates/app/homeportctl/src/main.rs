//! `homeportctl` as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    homeportctl::main()
}
