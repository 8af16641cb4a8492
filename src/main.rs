//! The `stepback` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    stepback::cli::run(std::env::args_os())
}
