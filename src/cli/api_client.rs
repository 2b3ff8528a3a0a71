//! The client of the node that the arguments name, and a runtime for it.

use std::path::PathBuf;

use anyhow::Context as _;

use super::error::Usage;
use super::keys;
use crate::client::{Client, ClientError};

/// Which node is asked, and how answers are printed.
#[derive(Debug, clap::Args)]
pub(super) struct Api {
    /// The node's HTTP API
    #[arg(long, value_name = "URL", env = "LOYAL_API", default_value = "http://127.0.0.1:7700")]
    pub api: String,
    /// Send the bearer token in this file
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
    /// Print JSON: one object, or one per line for lists
    #[arg(long)]
    pub json: bool,
}

/// Creates the client that the arguments ask for.
pub(super) fn client(args: &Api) -> anyhow::Result<Client> {
    let token = match &args.api_token_file {
        None => None,
        Some(path) => Some(keys::secret(path, "token")?.as_str().to_owned()),
    };
    watchful(&args.api, token)
}

/// Creates a client for interactive use.
///
/// # Errors
/// [`Usage`] if the address is invalid.
pub(super) fn watchful(base: &str, token: Option<String>) -> anyhow::Result<Client> {
    Client::watchful(base, token).map_err(|error| match error {
        ClientError::Broken(why) => Usage(format!("--api (or LOYAL_API): {why}")).into(),
        other => other.into(),
    })
}

/// Runs a verb's requests to completion on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(work)
}
