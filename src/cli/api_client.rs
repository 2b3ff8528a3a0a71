//! A client of the node that the arguments name, and the runtime that it needs.

use anyhow::Context as _;

use super::args;
use super::keys;
use crate::client::Client;

/// The client.
pub fn client(args: &args::Client) -> anyhow::Result<Client> {
    let token = match &args.api_token_file {
        None => None,
        Some(path) => Some(keys::secret(path, "token")?.as_str().to_owned()),
    };
    Ok(Client::new(&args.api, token)?)
}

/// Runs a client verb to its end on this thread.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(work)
}
