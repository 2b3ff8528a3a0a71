//! `loyal mesh run`: plays a scenario on real processes, to its verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use super::error::Usage;
use super::mesh::{self, Files, MeshJob};
use super::output::quoted;
use super::scenarios;

/// Maximum number of processes on one machine.
const MOST_NODES: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A built-in scenario's name (`loyal scenarios` lists them), or a file
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// Seed that decides which nodes faults strike and how far nodes are apart [default: the
    /// scenario's]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Set a value of the scenario, as in mesh.nodes=20; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Write the report into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print report.json
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub files: Files,
}

/// Runs a scenario on real processes.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scenario = scenarios::load(&args.scenario, &args.set)?;
    let nodes = scenario.mesh.nodes;
    if nodes > MOST_NODES {
        return Err(Usage(format!(
            "{nodes} nodes are too many processes for one machine (at most {MOST_NODES}): \
             `loyal sim {}` simulates them, and --set mesh.nodes={MOST_NODES} asks for fewer",
            quoted(&args.scenario)
        ))
        .into());
    }
    let seed = args.seed.unwrap_or(scenario.seed);
    mesh::run(&MeshJob {
        scenario: &scenario,
        seed: Some(seed),
        files: &args.files,
        watch: false,
        introduce: false,
        reproduce: reproduce(args, seed),
        report: args.report.as_deref(),
        scenario_toml: scenario.to_toml(),
        json: args.json,
    })
}

/// Returns the command line that repeats the run.
fn reproduce(args: &Args, seed: u64) -> String {
    let mut line = format!("loyal mesh run {} --seed {seed}", quoted(&args.scenario));
    for overlay in &args.set {
        line += &format!(" --set {}", quoted(overlay));
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, MeshVerb, Verb};

    fn parse(line: &[&str]) -> Args {
        match Cli::try_parse_from(line).expect("parses").verb {
            Verb::Mesh(MeshVerb::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_reproduce_line_is_the_same_run() {
        let line = ["loyal", "mesh", "run", "my mesh.toml", "--set", "name='x'", "--set", "a.b=1"];
        let args = parse(&line);
        let expected = r"loyal mesh run 'my mesh.toml' --seed 9 --set 'name='\''x'\''' --set a.b=1";
        assert_eq!(reproduce(&args, 9), expected);
    }

    #[test]
    fn too_many_processes_are_refused_with_a_way_out() {
        let line = ["loyal", "mesh", "run", "three-liars", "--set", "mesh.nodes=201"];
        let error = run(&parse(&line)).expect_err("too many");
        assert!(error.is::<Usage>() && error.to_string().contains("loyal sim"), "{error}");
    }
}
