//! The verbs of the command line. Each verb's module defines its own arguments.

use clap::{Parser, Subcommand};

use super::{
    api_client, explain, keygen, mesh_run, mesh_up, network, node, post, rejections, report,
    scenarios, show, sim,
};

/// A Byzantine-aware gossip node, and a lab that puts it to the test.
#[derive(Debug, Parser)]
#[command(
    name = "loyal",
    version,
    about,
    after_help = "Example: loyal mesh up --nodes 10 --malicious forge,drop,flood --messages 100"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Create a key pair and print the public key
    #[command(after_help = "Example: loyal keygen --out keys/alice.pem")]
    Keygen(keygen::Args),
    /// Create or check a network file
    #[command(subcommand)]
    Network(network::Verb),
    /// Run one node in the foreground, until SIGINT or SIGTERM
    #[command(
        after_help = "Example: loyal node --network net/network.toml --key net/n0.pem --data \
                            data/n0"
    )]
    Node(node::Args),
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
                            of a campaign, that of its worst failure."
    )]
    Sim(sim::Args),
    /// Publish a message through a node
    #[command(
        after_help = "Examples: loyal post \"hello, generals\"\n          loyal post --topic \
                            orders --file plan.txt\n          loyal post --key a0.pem --network \
                            network.toml \"signed here\""
    )]
    Post(post::Args),
    /// List the messages that a node holds
    #[command(after_help = "Example: loyal messages --topic orders --json")]
    Messages(show::Messages),
    /// List the other members, with their links and bans
    #[command(after_help = "Example: loyal peers --api http://127.0.0.1:7700")]
    Peers(api_client::Api),
    /// Show a node's state
    #[command(after_help = "Example: loyal status --json")]
    Status(api_client::Api),
    /// Show the rejection log, of a running node or of a data folder
    #[command(
        after_help = "Examples: loyal rejections --reason bad_signature --since 10m\n          \
                            loyal rejections --follow\n          loyal rejections --data data/n0 \
                            --summary\n          loyal rejections show 12"
    )]
    Rejections(rejections::Args),
    /// Show the path of one message: who received it, from whom, and who refused it
    #[command(after_help = "Examples: loyal explain ID --mesh DIR\n          loyal explain ID \
                            --report DIR\n          loyal explain --report DIR")]
    Explain(explain::Args),
    /// List the built-in scenarios, show one, or print the JSON Schema of their files
    #[command(after_help = "Examples: loyal scenarios\n          loyal scenarios show three-liars")]
    Scenarios(scenarios::Args),
    /// Read the report of a run, or compare two
    #[command(after_help = "Examples: loyal report DIR\n          loyal report DIR --diff BEFORE")]
    Report(report::Args),
    /// Print a completion script for a shell
    #[command(after_help = "Example: loyal completions bash > ~/.local/share/bash-completion/\
                            completions/loyal")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MeshVerb {
    /// Start a mesh; with --messages, publish, judge and exit
    #[command(after_help = "Examples: loyal mesh up --nodes 10 --malicious forge,drop,flood \
                            --messages 100\n          loyal mesh up --f 1 --dir mesh\n\nExit codes: \
                            0 pass, 1 failed to run, 2 bad usage, 3 liveness missed, 4 safety \
                            broken,\n5 an attack reached no honest node, 130 interrupted.")]
    Up(mesh_up::Args),
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
