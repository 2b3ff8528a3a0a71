//! Errors and their exit codes.

use std::process::ExitCode;

/// Exit code of an interrupted run: 128 plus the number of SIGINT, as in shells.
pub(super) const INTERRUPTED: u8 = 130;

/// The user's request is invalid: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// Returns the exit code for an error: 2 for [`Usage`], else 1.
pub(super) fn code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Usage>() { 2.into() } else { 1.into() }
}

/// Formats the error and its causes in one line. A cause that is already quoted is not repeated.
pub(super) fn message(error: &anyhow::Error) -> String {
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
