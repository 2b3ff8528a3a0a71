//! `loyal report`: shows the report of a run, or compares two.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{output, recorded};
use crate::report::{changes, diff, terminal};

#[derive(Debug, clap::Args)]
#[allow(missing_docs)]
pub(super) struct Args {
    /// The report folder of a run
    pub dir: PathBuf,
    /// Compare it with this earlier run
    #[arg(long, value_name = "DIR")]
    pub diff: Option<PathBuf>,
    /// Print report.json; with --diff, one changed number a line
    #[arg(long)]
    pub json: bool,
}

/// Shows a report or compares two.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = recorded::report(&args.dir)?;
    match (&args.diff, args.json) {
        (None, true) => output::text(&report.to_json()?)?,
        (None, false) => output::text(&terminal(&report))?,
        (Some(before), true) => {
            for change in changes(&recorded::report(before)?, &report) {
                output::json(&change)?;
            }
        }
        (Some(before), false) => output::text(&diff(&recorded::report(before)?, &report))?,
    }
    Ok(ExitCode::SUCCESS)
}
