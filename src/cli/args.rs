//! The arguments of every verb.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::mesh_run;
use clap::{ArgGroup, Args, Parser, Subcommand};

/// A Byzantine-aware gossip node, and the lab that proves it.
#[derive(Debug, Parser)]
#[command(
    name = "loyal",
    version,
    about,
    after_help = "Example: loyal mesh up --nodes 10 --malicious forge,drop,flood --messages 100"
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a new identity; prints its public key
    #[command(after_help = "Example: loyal keygen --out keys/alice.pem")]
    Keygen(Keygen),
    /// Make or check a network file
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Run one node in the foreground, until SIGINT or SIGTERM
    #[command(
        after_help = "Example: loyal node --network net/network.toml --key net/n0.pem --data \
                            data/n0"
    )]
    Node(Node),
    /// Run a whole mesh of real processes on this machine
    #[command(subcommand)]
    Mesh(MeshVerb),
    /// Run a scenario in the simulator: one seed, or a campaign over many
    #[command(
        after_help = "Examples: loyal sim three-liars --seed 7 --report run\n          loyal sim \
                            three-liars --nodes 100 --set mesh.links=8\n          loyal sim \
                            all-at-once --seeds 1..100\n          loyal sim swarm --seeds 1..1000 \
                            --verify\n\nExit codes: 0 the verdict that the scenario declares, 1 \
                            failed to run, 2 bad usage,\n3 liveness missed, 4 safety broken, 5 an \
                            attack reached no honest node,\n6 not deterministic, 130 interrupted; \
                            of a campaign, that of its gravest failure."
    )]
    Sim(super::sim::Args),
    /// Publish a message through a node
    #[command(
        after_help = "Examples: loyal post \"hello, generals\"\n          loyal post --topic \
                            orders --file plan.txt\n          loyal post --key a0.pem --network \
                            network.toml \"signed here\""
    )]
    Post(Post),
    /// List the messages that a node holds
    #[command(after_help = "Example: loyal messages --topic orders --json")]
    Messages(Messages),
    /// List the other members and how the node stands with them
    #[command(after_help = "Example: loyal peers --api http://127.0.0.1:7700")]
    Peers(Client),
    /// Show a node's state
    #[command(after_help = "Example: loyal status --json")]
    Status(Client),
    /// Show the rejection log, of a running node or of a data folder
    #[command(
        after_help = "Examples: loyal rejections --reason bad_signature --since 10m\n          \
                            loyal rejections --follow\n          loyal rejections --data data/n0 \
                            --summary\n          loyal rejections show 12"
    )]
    Rejections(Rejections),
    /// Tell one message's story: who had it when, from whom, and who refused it
    #[command(after_help = "Examples: loyal explain ID --mesh DIR\n          loyal explain ID \
                            --report DIR\n          loyal explain --report DIR")]
    Explain(Explain),
    /// List the built-in scenarios, show one, or print the JSON Schema of their files
    #[command(after_help = "Examples: loyal scenarios\n          loyal scenarios show three-liars")]
    Scenarios(super::scenarios::Scenarios),
    /// Read the report of a run, or compare two
    #[command(after_help = "Examples: loyal report DIR\n          loyal report DIR --diff BEFORE")]
    Report(super::report::Args),
    /// Print a completion script for a shell
    #[command(after_help = "Example: loyal completions bash > ~/.local/share/bash-completion/\
                            completions/loyal")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Where a passphrase comes from.
#[derive(Debug, Default, Args)]
pub struct Passphrase {
    /// Read the passphrase from the first line of this file; else from LOYAL_PASSPHRASE, else ask
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Keygen {
    /// Where to write the private key; never overwritten
    #[arg(long, value_name = "FILE", default_value = "loyal.pem")]
    pub out: PathBuf,
    /// Encrypt it, and ask for the passphrase twice; implied when a passphrase is given
    #[arg(long)]
    pub encrypt: bool,
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// Print an object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// Make keys and a network file for a mesh
    #[command(after_help = "Example: loyal network new --nodes 4 --authors 1 --dir net")]
    New {
        /// Members, each with a node
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
        nodes: u16,
        /// Further keys that sign elsewhere and run no node
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
        authors: u16,
        /// Where to write n0.pem, a0.pem, … and network.toml
        #[arg(long)]
        dir: PathBuf,
        /// Print an object
        #[arg(long)]
        json: bool,
    },
    /// Check a network file
    #[command(after_help = "Example: loyal network check net/network.toml")]
    Check {
        /// The network file
        file: PathBuf,
        /// Print an object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Node {
    /// The network file
    #[arg(long, value_name = "FILE")]
    pub network: PathBuf,
    /// This node's key file
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// Where it keeps everything; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Where to listen for links; the network file's address if not given
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub gossip: Option<SocketAddr>,
    /// Where to serve HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700", value_parser = address)]
    pub api: SocketAddr,
    /// Ask every HTTP request for the bearer token in this file; needed off loopback
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
    /// Links that it chooses for itself
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub links: Option<u16>,
    /// Lie: behaviours joined by `+`, as in "forge@after=2s+drop:p=0.5"
    #[arg(long, value_name = "SPEC")]
    pub malicious: Option<String>,
    /// Batches that honest members signed for another network, for the behaviour forge
    #[arg(long, value_name = "FILE", requires = "malicious")]
    pub decoys: Option<PathBuf>,
    /// Let its links be impaired (cut, delayed, capped) through its HTTP interface, by whoever
    /// shows the token in this file; without a token there is no such route
    #[arg(long, value_name = "FILE", conflicts_with = "lab_token")]
    pub lab_token_file: Option<PathBuf>,
    /// The same with the token itself; other users may see it in the list of processes, so rather
    /// give it as LOYAL_LAB_TOKEN
    #[arg(long, value_name = "TOKEN")]
    pub lab_token: Option<String>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub with_parent: bool,
    /// Write logs as JSON. LOYAL_LOG chooses what is logged, as in `loyal=debug`
    #[arg(long)]
    pub log_json: bool,
}

#[derive(Debug, Subcommand)]
pub enum MeshVerb {
    /// Start a mesh; with --messages, publish, judge and exit
    #[command(after_help = "Examples: loyal mesh up --nodes 10 --malicious forge,drop,flood \
                            --messages 100\n          loyal mesh up --f 1 --dir mesh\n\nExit codes: \
                            0 pass, 1 failed to run, 2 bad usage, 3 liveness missed, 4 safety \
                            broken,\n5 an attack reached no honest node, 130 interrupted.")]
    Up(MeshUp),
    /// Run a scenario on real processes, to its verdict
    #[command(
        after_help = "Examples: loyal mesh run partition-and-heal\n          loyal mesh run \
                            mine.toml --seed 7 --set mesh.nodes=20 --report run\n\nExit codes: 0 the \
                            verdict is the one that the scenario declares (pass, if none), 1 failed \
                            to run,\n2 bad usage or scenario, 3 liveness missed, 4 safety broken, 5 \
                            an attack reached no honest node,\n130 interrupted."
    )]
    Run(mesh_run::Args),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("count"))]
pub struct MeshUp {
    /// How many nodes, malicious ones included [default: 4]
    #[arg(long, group = "count", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub nodes: Option<u16>,
    /// 3F+1 nodes
    #[arg(long, value_name = "F", group = "count",
          value_parser = clap::value_parser!(u16).range(0..=333))]
    pub f: Option<u16>,
    /// One SPEC for each malicious node, comma-separated; or how many, taking forge, drop, flood
    /// in turn
    #[arg(long, value_name = "LIST")]
    pub malicious: Option<String>,
    /// Links that each node chooses for itself
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub links: Option<u16>,
    /// Where to keep keys, data and logs; must be empty. Without it, a temporary folder
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    pub keep: bool,
    /// Publish so many messages, wait, judge and exit
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: Option<u64>,
    /// Messages a second, all nodes together
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
    /// Let nodes write their logs as JSON
    #[arg(long)]
    pub log_json: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let bare = bare.replace("localhost", "127.0.0.1");
        let near = bare.parse::<SocketAddr>().map(|near| format!("; did you mean `{near}`?"));
        let near = near.unwrap_or_default();
        format!("an address is an IP address and a port up to 65535, as in 127.0.0.1:7700{near}")
    })
}

/// A message a day.
const SLOWEST: f64 = 1.0 / 86_400.0;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (SLOWEST..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of messages a second, at least one a day (0.0000116) and at \
                  most a million"
            .into()),
    }
}

/// Which node is asked, and how answers are printed.
#[derive(Debug, Args)]
pub struct Client {
    /// The node's HTTP interface
    #[arg(long, value_name = "URL", env = "LOYAL_API", default_value = "http://127.0.0.1:7700")]
    pub api: String,
    /// Send the bearer token in this file
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
    /// Print JSON: one object, or one a line for lists
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Post {
    #[command(flatten)]
    pub client: Client,
    /// Sign here with this author key, and post the signed batch
    #[arg(long, value_name = "FILE", requires = "network")]
    pub key: Option<PathBuf>,
    /// The network file that it is signed for
    #[arg(long, value_name = "FILE", requires = "key")]
    pub network: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// What it is about; at most 64 bytes
    #[arg(long, default_value = "")]
    pub topic: String,
    /// Publish the bytes of this file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    /// The message; standard input if neither it nor --file is given
    pub text: Option<String>,
}

#[derive(Debug, Args)]
pub struct Messages {
    #[command(flatten)]
    pub client: Client,
    /// Of this topic only
    #[arg(long)]
    pub topic: Option<String>,
    /// Of this author only: a key or a name
    #[arg(long, value_name = "KEY")]
    pub author: Option<String>,
    /// After this cursor
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Rejections {
    #[command(subcommand)]
    pub verb: Option<RejectionsVerb>,
    #[command(flatten)]
    pub client: Client,
    /// Read this data folder instead; its node may run or not
    #[arg(long, value_name = "DIR", conflicts_with = "follow")]
    pub data: Option<PathBuf>,
    /// The network file, for the names of keys, with --data
    #[arg(long, value_name = "FILE", requires = "data")]
    pub network: Option<PathBuf>,
    /// For this reason only, as in bad_signature
    #[arg(long)]
    pub reason: Option<String>,
    /// Sent by this peer only: a key or a name
    #[arg(long, value_name = "KEY")]
    pub peer: Option<String>,
    /// Naming this author only: a key or a name
    #[arg(long, value_name = "KEY")]
    pub author: Option<String>,
    /// Since this time: `5m` ago, or as in 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Go on with those that happen
    #[arg(long, conflicts_with = "summary")]
    pub follow: bool,
    /// Count by reason and link
    #[arg(long)]
    pub summary: bool,
}

#[derive(Debug, Subcommand)]
pub enum RejectionsVerb {
    /// Show one rejection: its frame field by field, and the check that failed, done again
    #[command(
        after_help = "Examples: loyal rejections show 12\n          loyal rejections show 12 \
                            --data data/n0 --network net/network.toml"
    )]
    Show(ShowRejection),
}

#[derive(Debug, Args)]
pub struct ShowRejection {
    /// The number of its row, as `loyal rejections` lists it
    #[arg(value_name = "ROW", value_parser = clap::value_parser!(i64).range(1..))]
    pub row: i64,
    #[command(flatten)]
    pub client: Client,
    /// Read this data folder instead; its node may run or not
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The network file, for which keys it has, with --data
    #[arg(long, value_name = "FILE", requires = "data")]
    pub network: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The message, or its batch; with --report the first digits do, and without it the slowest is
    /// told of
    pub id: Option<String>,
    #[command(flatten)]
    pub client: Client,
    /// Ask every node of this mesh's folder
    #[arg(long, value_name = "DIR")]
    pub mesh: Option<PathBuf>,
    /// Look into the report folder of a run instead
    #[arg(long, value_name = "DIR", conflicts_with = "mesh")]
    pub report: Option<PathBuf>,
}
