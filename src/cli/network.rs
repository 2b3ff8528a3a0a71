//! `loyal network new` and `loyal network check`

use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::args::NetworkVerb;
use super::{keys, output};
use crate::mesh;
use crate::protocol::{Network, Role};

#[derive(Serialize)]
struct Summary<'a> {
    file: Cow<'a, str>,
    id: String,
    members: usize,
    authors: usize,
    f: usize,
    quorum: usize,
}

/// Makes or checks a network file.
pub fn run(verb: &NetworkVerb) -> anyhow::Result<ExitCode> {
    match verb {
        NetworkVerb::New { nodes, authors, dir, json } => {
            let made = mesh::create(dir, usize::from(*nodes), usize::from(*authors))?;
            print(&made.file, &made.network, *json)?;
        }
        NetworkVerb::Check { file, json } => print(file, &keys::network(file)?, *json)?,
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
