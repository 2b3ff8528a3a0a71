//! `loyal network new` and `loyal network check`: create and check network files.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{keys, output};
use crate::mesh;
use crate::protocol::{Network, Role};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Create keys and a network file for a mesh
    #[command(after_help = "Example: loyal network new --nodes 4 --authors 1 --dir net")]
    New {
        /// Members, each with a node
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
        nodes: u16,
        /// Further keys, of authors that sign elsewhere and run no node
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
        authors: u16,
        /// Folder for n0.pem, a0.pem, … and network.toml
        #[arg(long)]
        dir: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check a network file
    #[command(after_help = "Example: loyal network check net/network.toml")]
    Check {
        /// The network file
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Summary<'a> {
    file: Cow<'a, str>,
    id: String,
    members: usize,
    authors: usize,
    f: usize,
    quorum: usize,
}

/// Creates or checks a network file.
pub(super) fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::New { nodes, authors, dir, json } => {
            let made = mesh::create(dir, usize::from(*nodes), usize::from(*authors))?;
            print(&made.file, &made.network, *json)?;
        }
        Verb::Check { file, json } => print(file, &keys::network(file)?, *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(file: &Path, network: &Network, json: bool) -> anyhow::Result<()> {
    let authors = network.keys().iter().filter(|key| key.role == Role::Author).count();
    let summary = Summary {
        file: file.to_string_lossy(),
        id: network.id().to_string(),
        members: network.n(),
        authors,
        f: network.f(),
        quorum: network.quorum(),
    };
    if json {
        return output::json(&summary);
    }
    output::line(&format!(
        "{}\n  id       {}\n  members  {}, of which {} may lie; quorum {}\n  authors  {}",
        file.display(),
        summary.id,
        summary.members,
        summary.f,
        summary.quorum,
        summary.authors
    ))?;
    Ok(())
}
