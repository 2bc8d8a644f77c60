//! `mobile-node`: a mobile node on the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    mobile_node::main()
}
