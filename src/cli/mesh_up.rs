//! `loyal mesh up`: starts a mesh of real processes, to watch it or to judge a run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::error::Usage;
use super::mesh::{self, Files, MeshJob};
use crate::adversary::{Spec, parse_list};
use crate::crypto::Identity;
use crate::protocol::{Member, Network, Role};
use crate::scenario::{
    Cryptography, Group, Latency, Load, MeshShape, Net, Ppm, Publishers, Scenario, Start, Verdict,
    Who,
};

/// Default number of nodes: the fewest that tolerate a liar.
const DEFAULT_NODES: u16 = 4;
/// The report's name of a run that has no scenario file.
const NAME: &str = "mesh up";
/// How long messages may take to be everywhere after the last was posted; more for bulk.
const SETTLE: Duration = Duration::from_secs(10);
/// Payload bytes, times honest nodes, that add a second to `SETTLE`.
const BYTES_PER_S: u64 = 8 << 20;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("count"))]
pub(super) struct Args {
    /// Number of nodes, malicious ones included [default: 4]
    #[arg(long, group = "count", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub nodes: Option<u16>,
    /// 3F+1 nodes
    #[arg(long, value_name = "F", group = "count",
          value_parser = clap::value_parser!(u16).range(0..=333))]
    pub f: Option<u16>,
    /// One SPEC for each malicious node, comma-separated; or their number, then they take forge,
    /// drop and flood in turn
    #[arg(long, value_name = "LIST")]
    pub malicious: Option<String>,
    /// Links that each node chooses for itself
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub links: Option<u16>,
    #[command(flatten)]
    pub files: Files,
    /// Publish this many messages, wait, judge and exit
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: Option<u64>,
    /// Messages per second, all nodes together
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    pub rate: f64,
    /// Bytes of each payload
    #[arg(
        long,
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(0..=1_048_576)
    )]
    pub size: u32,
    /// Print report.json and nothing else
    #[arg(long, requires = "messages")]
    pub json: bool,
    /// Write report.json, report.html and the rest into this folder
    #[arg(long, value_name = "DIR", requires = "messages")]
    pub report: Option<PathBuf>,
}

/// Minimum rate: one message per day.
const SLOWEST: f64 = 1.0 / 86_400.0;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (SLOWEST..=1e6).contains(&rate) => Ok(rate),
        _ => Err(
            "a rate is a number of messages per second, at least one a day (0.0000116) and at most \
             a million"
            .into()),
    }
}

/// Starts a mesh, and with `--messages` judges it.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scenario = scenario(args)?;
    mesh::run(&MeshJob {
        scenario: &scenario,
        seed: None,
        files: &args.files,
        watch: args.messages.is_none(),
        introduce: !args.json,
        reproduce: reproduce(args, &scenario),
        report: args.report.as_deref(),
        scenario_toml: String::new(),
        json: args.json,
    })
}

/// Returns what the arguments ask for as a scenario: the last nodes lie, and all honest ones
/// publish in turn.
fn scenario(args: &Args) -> anyhow::Result<Scenario> {
    let (nodes, specs) = members(args)?;
    let bulk = u64::from(args.size)
        .saturating_mul(args.messages.unwrap_or(0))
        .saturating_mul((nodes - specs.len()) as u64);
    let load = |count| {
        Ok(Load {
            every: Duration::from_secs_f64(args.rate.recip()),
            count: Some(count),
            from: Duration::ZERO,
            until: None,
            size: usize::try_from(args.size)?,
            publishers: Publishers::Honest,
        })
    };
    let group = |behave| Group { who: Who::Count(1), behave };
    Ok(Scenario {
        name: NAME.into(),
        about: String::new(),
        seed: 0,
        duration: Duration::ZERO,
        settle: SETTLE + Duration::from_secs(bulk / BYTES_PER_S),
        verdict: Verdict::Pass,
        crypto: Cryptography::Real,
        mesh: MeshShape { nodes, links: args.links.map(usize::from), start: Start::Linked },
        net: Net {
            latency: Latency::Constant(Duration::ZERO),
            jitter: Duration::ZERO,
            loss: Ppm(0),
            duplicate: Ppm(0),
            reorder: Ppm(0),
            bandwidth: None,
        },
        store: Default::default(),
        cpu: Default::default(),
        malicious: specs.into_iter().map(group).collect(),
        faults: vec![],
        loads: args.messages.map(load).into_iter().collect::<anyhow::Result<_>>()?,
        expects: vec![],
    })
}

/// Returns the number of nodes, and the SPECs of those that lie.
fn members(args: &Args) -> anyhow::Result<(usize, Vec<Spec>)> {
    let nodes = match (args.nodes, args.f) {
        (_, Some(f)) => 3 * usize::from(f) + 1,
        (nodes, None) => usize::from(nodes.unwrap_or(DEFAULT_NODES)),
    };
    let usage = |error| Usage(format!("--malicious: {error}"));
    let specs = parse_list(args.malicious.as_deref().unwrap_or("0")).map_err(usage)?;
    if specs.len() >= nodes {
        let count = specs.len();
        let why = format!("--malicious: {count} of {nodes} nodes lie; at least one must be honest");
        return Err(Usage(why).into());
    }
    let names = stand_in(nodes)?;
    specs.iter().try_for_each(|spec| spec.check(&names)).map_err(usage)?;
    Ok((nodes, specs))
}

/// A network with the names of the real one, so that SPECs are checked before anything starts.
fn stand_in(nodes: usize) -> anyhow::Result<Network> {
    let member = |number: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Member {
            key: Identity::from_seed(&seed).public(),
            name: format!("n{number}"),
            role: Role::Member,
            gossip: Some(([127, 0, 0, 1], 1).into()),
        }
    };
    Ok(Network::new([0; 32], (0..nodes).map(member).collect())?)
}

/// Returns the command line that repeats the run.
fn reproduce(args: &Args, scenario: &Scenario) -> String {
    let mut line = format!("loyal mesh up --nodes {}", scenario.mesh.nodes);
    if !scenario.malicious.is_empty() {
        let specs: Vec<_> =
            scenario.malicious.iter().map(|group| group.behave.to_string()).collect();
        line += &format!(" --malicious {}", specs.join(","));
    }
    if let Some(links) = args.links {
        line += &format!(" --links {links}");
    }
    if let Some(messages) = args.messages {
        line += &format!(" --messages {messages} --rate {} --size {}", args.rate, args.size);
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, MeshVerb, Verb};

    fn parse(line: &str) -> Args {
        match Cli::try_parse_from(line.split(' ')).expect(line).verb {
            Verb::Mesh(MeshVerb::Up(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn liars_come_last_and_one_node_stays_honest() {
        let read = |line| scenario(&parse(line)).expect("reads").specs();
        let cast = read("loyal mesh up --f 2 --malicious forge,drop");
        let specs: Vec<_> = cast.iter().flatten().map(Spec::to_string).collect();
        assert_eq!((cast.len(), specs.join(" ")), (7, "forge drop".into()));
        assert!(cast[..5].iter().all(Option::is_none));
        assert_eq!(read("loyal mesh up"), [const { None }; 4]);
        for bad in ["--nodes 3 --malicious 3", "--malicious frge", "--malicious censor:author=n99"]
        {
            let error = scenario(&parse(&format!("loyal mesh up {bad}"))).expect_err(bad);
            assert!(error.is::<Usage>(), "{bad}: {error}");
        }
    }

    #[test]
    fn the_reproduce_line_is_the_same_run() {
        let line = "loyal mesh up --nodes 7 --malicious forge,drop --links 4 --messages 9 --rate 5 --size 10";
        let args = parse(line);
        let read = scenario(&args).expect("reads");
        let again = reproduce(&args, &read);
        assert_eq!(again, line);
        assert_eq!(scenario(&parse(&again)).expect("reads"), read);
    }

    #[test]
    fn a_slow_load_and_a_large_one_are_given_their_time() {
        let read = |line: &str| scenario(&parse(line)).expect("reads");
        let slow = read("loyal mesh up --messages 2 --rate 0.0000116");
        assert_eq!(slow.settle, SETTLE);
        assert!(slow.due(&slow.loads[0], 1).is_some_and(|at| at.as_secs() == 86_206));
        let large = read("loyal mesh up --messages 16 --size 1048576 --malicious 1");
        assert_eq!(large.settle, SETTLE + Duration::from_secs(2 * 3));
    }
}
