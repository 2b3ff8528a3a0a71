//! From arguments to an exit code. Every failure is one message on standard error.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, MeshVerb, Verb};
use super::{
    explain, keygen, mesh, mesh_run, network, node, output, post, read, rejections, report,
    scenarios, sim,
};

/// For the reader of the last words.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the user asked for makes no sense: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, std::env::args_os().skip(1)),
    };
    match run(cli.verb) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<Usage>() { 2 } else { 1 };
            complain(message(&error));
            code.into()
        }
    }
}

/// Arguments that make no sense. Help and version go to standard output with code 0.
fn unparsed(error: &clap::Error, mut given: impl Iterator<Item = OsString>) -> ExitCode {
    let why = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::InvalidUtf8, _) => {
            given.find(|argument| argument.to_str().is_none()).map(|it| {
                let shown = it.to_string_lossy().escape_debug().to_string();
                format!(
                    "the argument `{shown}` is not UTF-8; paths after options may be, this may not"
                )
            })
        }
        // Of `-5m` the parser names `-5`, and takes it for an option.
        (ErrorKind::UnknownArgument, Some(ContextValue::String(named))) => {
            let number = |text: &str| {
                let digits = text.strip_prefix('-');
                digits.is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
            };
            let whole = given.filter_map(|argument| argument.into_string().ok());
            let whole = whole.filter(|argument| number(argument) && argument.starts_with(named));
            let whole = if number(named) { whole.last() } else { None };
            whole.map(|text| {
                let text = text.escape_debug();
                format!("`{text}`: numbers, times and durations are never negative here")
            })
        }
        _ => None,
    };
    match why {
        Some(why) => complain(why),
        None => drop(error.print()),
    }
    u8::try_from(error.exit_code()).unwrap_or(2).into()
}

/// Writes what went wrong to standard error. The process ends soon whoever reads it, and so it does
/// if that reader stands still.
fn complain(why: String) {
    use std::io::Write as _;
    let (done, written) = std::sync::mpsc::channel();
    let write = move || {
        let _ = writeln!(anstream::stderr(), "\x1b[1;31merror:\x1b[0m {why}");
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("complaint".into()).spawn(write).is_ok() {
        // Late or not, there is nothing else to do.
        let _ = written.recv_timeout(PATIENCE);
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Keygen(args) => keygen::run(&args),
        Verb::Network(verb) => network::run(&verb),
        Verb::Node(args) => node::run(args),
        Verb::Mesh(MeshVerb::Up(args)) => mesh::run(args),
        Verb::Mesh(MeshVerb::Run(args)) => mesh_run::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::Post(args) => post::run(&args),
        Verb::Messages(args) => read::messages(&args),
        Verb::Peers(client) => read::peers(&client),
        Verb::Status(client) => read::status(&client),
        Verb::Rejections(args) => rejections::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Scenarios(args) => scenarios::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "loyal", &mut script);
            output::bytes(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The error and its causes in one line, each cause once: some errors quote theirs.
fn message(error: &anyhow::Error) -> String {
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
    fn the_arguments_are_consistent_and_every_verb_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
            if subcommands.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{}", command.get_name());
            }
            open.extend(subcommands);
        }
    }

    #[test]
    fn contradictions_are_bad_usage() {
        for bad in [
            "loyal",
            "loyal frobnicate",
            "loyal mesh up --nodes 4 --f 1",
            "loyal mesh up --nodes 0",
            "loyal mesh up --rate 0 --messages 1",
            "loyal mesh up --json",
            "loyal post --key a.pem text",
            "loyal post --file x text",
            "loyal rejections --data d --follow",
            "loyal explain --mesh a --report b",
            "loyal node --network a --key b",
        ] {
            let error = Cli::try_parse_from(bad.split(' ')).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

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
