//! Runs a verb and maps its result to an exit code. Every failure is one message on standard error.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, MeshVerb, Verb};
use super::error::{code, message};
use super::{
    explain, keygen, mesh_run, mesh_up, network, node, output, post, rejections, report, scenarios,
    show, sim, stderr,
};

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let code = parsed();
    stderr::flush();
    code
}

fn parsed() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, std::env::args_os().skip(1)),
    };
    match run(cli.verb) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            stderr::error(message(&error));
            code(&error)
        }
    }
}

/// Reports invalid arguments. Help and version go to standard output, with code 0.
fn unparsed(error: &clap::Error, given: impl Iterator<Item = OsString>) -> ExitCode {
    let why = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::InvalidUtf8, _) => Some(not_text(given)),
        (ErrorKind::ArgumentConflict, Some(ContextValue::String(show))) if show == "show" => Some(
            "write options after `show`, as in loyal rejections show 12 --api URL; options that \
             select rows do not go with it"
                .into(),
        ),
        // For `-5m`, the parser names `-5`, because it takes it for an option.
        (ErrorKind::UnknownArgument, Some(ContextValue::String(named))) => {
            let whole: Vec<String> = given.filter_map(|it| it.into_string().ok()).collect();
            let negative = whole.windows(2).find(|two| {
                takes_number(&two[0]) && is_number(&two[1]) && two[1].starts_with(named)
            });
            let whole = negative.map(|two| &two[1]);
            whole.map(|text| {
                let text = text.escape_debug();
                format!("`{text}`: numbers, times and durations must not be negative")
            })
        }
        _ => None,
    };
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let text = error.render().ansi().to_string();
    match why {
        Some(why) => stderr::error(why),
        None if error.use_stderr() => stderr::note(text.trim_end()),
        None => return output::outcome(code, [output::text(&text).map_err(Into::into)]),
    }
    code.into()
}

/// Names the argument that is not UTF-8; if there is none, it is the one variable that the parser
/// reads.
fn not_text(mut given: impl Iterator<Item = OsString>) -> String {
    given.find(|argument| argument.to_str().is_none()).map_or_else(
        || "LOYAL_API is not UTF-8; set it to the URL of a node, or unset it".into(),
        |it| {
            let shown = it.to_string_lossy().escape_debug().to_string();
            format!(
                "the argument `{shown}` is not UTF-8; only paths after options may be other bytes"
            )
        },
    )
}

/// Whether this is an option whose value is not text. For those whose value is text, the parser's
/// own message helps more.
fn takes_number(option: &str) -> bool {
    let text = [
        "--topic",
        "--out",
        "--dir",
        "--data",
        "--report",
        "--key",
        "--name",
        "--file",
        "--author",
        "--peer",
        "--reason",
        "--api",
        "--set",
        "--malicious",
    ];
    option.starts_with("--") && !text.contains(&option)
}

/// Whether the text looks like `-5`, `-1.5` or `-5m`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or("x");
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Keygen(args) => keygen::run(&args),
        Verb::Network(verb) => network::run(&verb),
        Verb::Node(args) => node::run(args),
        Verb::Mesh(MeshVerb::Up(args)) => mesh_up::run(&args),
        Verb::Mesh(MeshVerb::Run(args)) => mesh_run::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::Post(args) => post::run(&args),
        Verb::Messages(args) => show::messages(&args),
        Verb::Peers(client) => show::peers(&client),
        Verb::Status(client) => show::status(&client),
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
    fn only_numbers_are_told_that_they_are_never_negative() {
        for (option, value, hint) in [
            ("--rate", "-5", true),
            ("--since", "-5m", true),
            ("--rate", "-5 is cold", false),
            ("--topic", "-1", false),
            ("post", "-5", false),
            ("--rate", "-x", false),
        ] {
            assert_eq!(takes_number(option) && is_number(value), hint, "{option} {value}");
        }
    }
}
