//! `loyal keygen`: creates an identity.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::{keys, output};
use crate::crypto::Identity;
use crate::store::keys as files;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write the private key; never overwritten
    #[arg(long, value_name = "FILE", default_value = "loyal.pem")]
    pub out: PathBuf,
    /// Encrypt the key, and ask for the passphrase twice; implied when a passphrase is given
    #[arg(long)]
    pub encrypt: bool,
    #[command(flatten)]
    pub passphrase: keys::Passphrase,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    key: String,
    file: std::borrow::Cow<'a, str>,
    encrypted: bool,
}

/// Writes a new identity and prints its public key.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let passphrase = match keys::given(&args.passphrase)? {
        Some(given) => Some(given),
        None if args.encrypt => Some(keys::ask_twice()?),
        None => None,
    };
    let identity = Identity::generate().context("cannot get randomness from the system")?;
    files::write(&args.out, &identity, passphrase.as_ref().map(|text| text.as_str()))?;
    let key = identity.public().to_string();
    let (file, encrypted) = (args.out.to_string_lossy(), passphrase.is_some());
    let shown = match args.json {
        true => output::json(&Made { key: key.clone(), file, encrypted }),
        false => output::line(&key).map_err(Into::into),
    };
    shown.with_context(|| format!("wrote {} with the public key {key}", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
