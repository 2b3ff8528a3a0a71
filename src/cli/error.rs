//! Failures, and their exit codes.

use std::process::ExitCode;

/// The exit code of an interrupted run, as shells have it: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// What the user asked for makes no sense: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code of a failure.
pub fn code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Usage>() { 2.into() } else { 1.into() }
}

/// The error and its causes in one line, each cause once: some errors quote theirs.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("in use").context("cannot listen: in use").context("no api");
        assert_eq!(message(&error), "no api: cannot listen: in use");
    }

    #[test]
    fn bad_usage_is_known_behind_its_context() {
        assert!(anyhow::Error::from(Usage("x".into())).context("y").is::<Usage>());
    }
}
