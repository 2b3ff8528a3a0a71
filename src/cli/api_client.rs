//! A client of the node that the arguments name, and the runtime that it needs.

use anyhow::Context as _;

use super::exit::Usage;
use super::{args, keys};
use crate::client::{Client, ClientError};

/// The client.
pub fn client(args: &args::Client) -> anyhow::Result<Client> {
    let token = match &args.api_token_file {
        None => None,
        Some(path) => Some(keys::secret(path, "token")?.as_str().to_owned()),
    };
    watchful(&args.api, token)
}

/// A client for a person who waits.
///
/// # Errors
/// [`Usage`] for an address that is none.
pub fn watchful(base: &str, token: Option<String>) -> anyhow::Result<Client> {
    Client::watchful(base, token).map_err(|error| match error {
        ClientError::Broken(why) => Usage(format!("--api (or LOYAL_API): {why}")).into(),
        other => other.into(),
    })
}

/// Runs a client verb to its end on this thread.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(work)
}
