//! The `reflector` command.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use reflector::args::Args;
use reflector::error::Error;
use reflector::service::Service;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr(args.verbose);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever read standard error may have gone: the status still tells.
            let _ = writeln!(io::stderr(), "reflector: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(args: Args) -> Result<(), Error> {
    let summary = Service::start(args)?.run()?;
    io::stdout()
        .write_all(summary.to_string().as_bytes())
        .map_err(Error::system("writing the summary to standard output"))
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // A reader that has gone is no reason to stop answering.
        .log_internal_errors(false)
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .init();
}
