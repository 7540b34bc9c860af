//! The `dismantle` command with the built-in scenarios.

use std::process::ExitCode;

fn main() -> ExitCode {
    dismantle::cli::main(dismantle::BUILT_IN)
}
