//! `loyal scenarios`: the built-in scenarios. Also reads the SCENARIO argument for other verbs.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use super::error::Usage;
use super::output;
use crate::adversary::nearest;
use crate::scenario::{self, Scenario, ScenarioError};

/// Maximum size of a scenario file, in bytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Print a built-in scenario's file
    #[command(after_help = "Example: loyal scenarios show three-liars > mine.toml")]
    Show {
        /// Its name
        name: String,
    },
    /// Check a scenario without running it, and print it with every value spelt out
    #[command(after_help = "Example: loyal scenarios check three-liars --set mesh.nodes=100")]
    Check {
        /// A built-in name or a file
        scenario: String,
        /// Set a value of the scenario, as in mesh.nodes=1000 or malicious.0.behave=drop
        #[arg(long = "set", value_name = "PATH=VALUE")]
        overlays: Vec<String>,
    },
    /// Print the JSON Schema of scenario files
    #[command(after_help = "Example: loyal scenarios schema > scenario.schema.json")]
    Schema,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        None => list(args.json)?,
        Some(Verb::Show { name }) => {
            let text = scenario::builtin(name).ok_or_else(|| unknown(name))?;
            output::bytes(text.as_bytes())?;
        }
        Some(Verb::Check { scenario, overlays }) => {
            output::bytes(load(scenario, overlays)?.to_toml().as_bytes())?;
        }
        Some(Verb::Schema) => {
            output::line(&serde_json::to_string_pretty(&scenario::schema())?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    nodes: usize,
    liars: usize,
    about: &'a str,
}

fn list(json: bool) -> anyhow::Result<()> {
    let mut table = output::table(&["name", "nodes", "liars", "about"]);
    for (name, text) in scenario::builtins() {
        let built_in = Scenario::parse(text, &[]).with_context(|| format!("built-in {name}"))?;
        let liars = built_in.specs().iter().flatten().count();
        let row = Row { name, nodes: built_in.mesh.nodes, liars, about: &built_in.about };
        if json {
            output::json(&row)?;
        } else {
            let (nodes, liars) = (row.nodes.to_string(), row.liars.to_string());
            table.add_row([row.name, &nodes, &liars, row.about]);
        }
    }
    if json { Ok(()) } else { Ok(output::text(&output::render(&table))?) }
}

/// Reads a SCENARIO, which is a built-in name or a file, and applies the overlays.
///
/// # Errors
/// [`Usage`] if there is no such name or file, if the file is too long, or if its contents are
/// invalid; the latter as `FILE:line:column: why`.
pub(super) fn load(scenario: &str, overlays: &[String]) -> anyhow::Result<Scenario> {
    let read;
    let text = match scenario::builtin(scenario) {
        Some(text) => text,
        None => {
            read = file(scenario)?;
            &read
        }
    };
    Ok(Scenario::parse(text, overlays).map_err(|error| Usage(place(scenario, &error)))?)
}

/// Formats an error as `FILE:line:column: why`; an error in an overlay names the overlay instead.
fn place(file: &str, error: &ScenarioError) -> String {
    match error.line {
        0 => error.why.clone(),
        line => format!("{file}:{line}:{}: {}", error.column, error.why),
    }
}

fn file(path: &str) -> anyhow::Result<String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown(path).into()),
        Err(error) => return Err(Usage(format!("cannot read {path}: {error}")).into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Usage(format!("cannot read {path}: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Usage(format!("{path} is longer than {MAX_FILE} bytes")).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Usage(format!("{path}:{line}:1: this line is not UTF-8")).into()
    })
}

fn unknown(name: &str) -> Usage {
    let names = scenario::builtins().iter().map(|(name, _)| *name);
    let near = nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
    let looks_like_a_file = Path::new(name).components().count() > 1 || name.ends_with(".toml");
    let what = if looks_like_a_file { "there is no file" } else { "there is no scenario or file" };
    let near = near.unwrap_or_default();
    Usage(format!("{what} `{name}`{near} (`loyal scenarios` lists the built-in ones)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(scenario: &str, overlays: &[String]) -> String {
        let error = load(scenario, overlays).expect_err(scenario);
        assert!(error.is::<Usage>(), "exit code 2: {error}");
        error.to_string()
    }

    #[test]
    fn a_misspelt_name_is_told_the_nearest() {
        assert!(load("three-liars", &[]).is_ok());
        let text = refused("three-lairs", &[]);
        assert!(text.contains("did you mean `three-liars`"), "{text}");
        assert!(text.contains("`loyal scenarios`"), "{text}");
        assert!(refused("no/such/file.toml", &[]).contains("no file"));
    }

    #[test]
    fn a_bad_file_is_told_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bad.toml");
        let name = path.to_str().expect("UTF-8");
        std::fs::write(&path, "name = 'x'\n[mesh]\n  nodes = -3\n").expect("written");
        let text = refused(name, &[]);
        assert!(text.starts_with(&format!("{name}:3:11: ")) && text.contains("nodes"), "{text}");
        assert!(load(name, &["mesh.nodes=3".to_owned()]).is_ok());
        let text = refused(name, &["mesh.nodes=many".to_owned()]);
        assert!(text.starts_with("--set mesh.nodes=many: "), "{text}");
        std::fs::write(&path, b"name = 'x'\n# \xff\n").expect("written");
        assert!(refused(name, &[]).contains(":2:1: "));
        std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).expect("written");
        assert!(refused(name, &[]).contains("longer than"));
        assert!(refused(folder.path().to_str().expect("UTF-8"), &[]).contains("cannot read"));
    }
}
