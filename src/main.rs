//! Arguments, logging, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    floorcast::cli::main()
}
