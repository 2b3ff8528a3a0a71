//! The `loyal` command: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    loyal::cli::main()
}
