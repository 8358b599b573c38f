//! `sender`: measures the path to a TWAMP-Light or STAMP Session-Reflector.

use std::process::ExitCode;

fn main() -> ExitCode {
    sender::cli::main(std::env::args_os())
}
