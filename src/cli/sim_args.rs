//! The arguments of `loyal sim`, and the command line that runs a seed again.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::output::quoted;
use crate::campaign::Profile;

/// The SCENARIO that draws a new scenario for each seed.
pub(super) const SWARM: &str = "swarm";
/// Maximum number of seeds in a campaign.
const MAX_SEEDS: u64 = 10_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A built-in scenario, a file, or `swarm`: then each seed draws its own nodes, liars, faults,
    /// network and load, and an attack that reached no honest node is not a failure
    pub scenario: String,
    /// The seed of the run; the scenario's own if not given
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// A campaign: every seed from A to B, both included; at most 10 million
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<RangeInclusive<u64>>,
    /// What the seeds of `swarm` draw: `usual`, mostly a few seconds; or `long`, few nodes for
    /// minutes at an author's quota or for hours
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub profile: ProfileName,
    /// Number of nodes; short for --set mesh.nodes=N
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
    /// Set a value of the scenario, as in mesh.links=8 or load.0.rate=500; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Run each seed twice, side by side, and compare digests after every event
    #[arg(long)]
    pub verify: bool,
    /// Write the report into this folder. A campaign writes campaign.json, seeds.ndjson (one object
    /// per seed, in the order in which they end) and failures/
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print report.json and nothing else; for a campaign one object: counts, ranges, failures
    #[arg(long)]
    pub json: bool,
    /// Seeds that run at once [default: one per core]
    #[arg(long, value_name = "N", requires = "seeds",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Shrink the scenarios of at most N failing seeds [default: 3 in a campaign, 0 for a single
    /// seed]; the smaller scenarios go to DIR/failures, or to loyal-failures here
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub shrink: Option<u16>,
}

/// See [`Profile`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// Mostly a few seconds.
    #[default]
    Usual,
    /// Minutes or hours.
    Long,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Usual => Self::Usual,
            ProfileName::Long => Self::Long,
        }
    }
}

/// Parses `A..B` with both ends included, at most [`MAX_SEEDS`] seeds.
fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let parsed = text.split_once("..").and_then(|(first, last)| {
        Some((first.parse::<u64>().ok()?, last.trim_start_matches('=').parse::<u64>().ok()?))
    });
    let Some((first, last)) = parsed else {
        return Err("write it like 1..100: the first seed and the last, both included".into());
    };
    if first > last {
        return Err(format!("it ends before it begins; did you mean `{last}..{first}`?"));
    }
    if last - first >= MAX_SEEDS {
        return Err(format!("at most {MAX_SEEDS} seeds can be"));
    }
    Ok(first..=last)
}

/// Returns the command line that repeats the run of a seed.
pub(super) fn reproduce(args: &Args, seed: u64) -> String {
    let mut line = format!("loyal sim {} --seed {seed}", quoted(&args.scenario));
    if args.profile == ProfileName::Long {
        line += " --profile long";
    }
    if let Some(nodes) = args.nodes {
        line += &format!(" --nodes {nodes}");
    }
    for set in &args.sets {
        line += &format!(" --set {}", quoted(set));
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    fn parse(line: &str) -> Result<Args, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.verb {
            Verb::Sim(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_range_of_seeds_has_both_its_ends() {
        assert_eq!(seeds("1..100"), Ok(1..=100));
        assert_eq!(seeds("5..5"), Ok(5..=5));
        assert_eq!(seeds("1..=3"), Ok(1..=3));
        assert_eq!(seeds("1..10000000").map(|seeds| seeds.count()), Ok(10_000_000));
        let last = u64::MAX;
        assert_eq!(seeds(&format!("{}..{last}", last - 1)), Ok(last - 1..=last));
        for bad in ["", "7", "1..", "..2", "1...3", "a..b", "-1..2", "0..10000000", "9..1"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
        assert!(seeds("9..1").is_err_and(|why| why.contains("1..9")));
    }

    #[test]
    fn contradictions_are_bad_usage() {
        for bad in [
            "loyal sim",
            "loyal sim forge --seed 1 --seeds 1..2",
            "loyal sim forge --seeds 2..1",
            "loyal sim forge --jobs 2",
            "loyal sim forge --seeds 1..2 --jobs 0",
            "loyal sim forge --seed x",
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn the_reproduce_line_is_the_same_run() {
        let line =
            "loyal sim three-liars --seed 7 --nodes 13 --set mesh.links=4 --set net.loss=0.1";
        let args = parse(line).expect("reads");
        assert_eq!(reproduce(&args, 7), line);
        let campaign = parse("loyal sim forge --seeds 1..9 --jobs 2 --json").expect("reads");
        assert_eq!(reproduce(&campaign, 5), "loyal sim forge --seed 5");
    }
}
