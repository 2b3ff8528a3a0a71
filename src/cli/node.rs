//! `loyal node`: one node in the foreground.

use std::env::VarError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::error::{self, Usage};
use super::{keys, logs, signals};
use crate::adversary::Spec;
use crate::api::{self, ApiError, ApiOptions};
use crate::mesh::read_decoys;
use crate::net::{self, Malice, Settings};
use crate::protocol::{Config, Network, Role};
use crate::store;

/// Environment variable with the lab token, used if no option gives one.
const LAB_TOKEN: &str = "LOYAL_LAB_TOKEN";

/// How long tasks that still hang may take after the node has stopped.
const ABANDON: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The network file
    #[arg(long, value_name = "FILE")]
    pub network: PathBuf,
    /// This node's key file
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    #[command(flatten)]
    pub passphrase: keys::Passphrase,
    /// The data folder; created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Address for links [default: the one in the network file]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub gossip: Option<SocketAddr>,
    /// Address of the HTTP API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700", value_parser = address)]
    pub api: SocketAddr,
    /// Require the bearer token in this file for the HTTP API; needed on addresses other than
    /// loopback
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
    /// Links that the node chooses for itself
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub links: Option<u16>,
    /// Lie: behaviours joined by `+`, as in "forge@after=2s+drop:p=0.5"
    #[arg(long, value_name = "SPEC")]
    pub malicious: Option<String>,
    /// Batches that honest members signed for another network, for the behaviour forge
    #[arg(long, value_name = "FILE", requires = "malicious")]
    pub decoys: Option<PathBuf>,
    /// Let clients that have the token in this file impair (cut, delay, cap) the node's links over
    /// the HTTP API; without a token there is no such route
    #[arg(long, value_name = "FILE", conflicts_with = "lab_token")]
    pub lab_token_file: Option<PathBuf>,
    /// The same with the token itself; other users may see it in the list of processes, so
    /// LOYAL_LAB_TOKEN is safer
    #[arg(long, value_name = "TOKEN")]
    pub lab_token: Option<String>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub with_parent: bool,
    /// Write logs as JSON. LOYAL_LOG chooses what is logged, as in `loyal=debug`
    #[arg(long)]
    pub log_json: bool,
}

/// Runs a node until it is told to stop.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Dropped last, so that the log is written before the process ends.
    let _flush = logs::start(args.log_json).context("cannot start")?;
    let json = args.log_json;
    start(args).or_else(|error| match json {
        true => {
            tracing::error!("{error:#}"); // a reader of JSON expects no other text
            Ok(error::code(&error))
        }
        false => Err(error),
    })
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

fn start(args: Args) -> anyhow::Result<ExitCode> {
    let token = match &args.api_token_file {
        None => None,
        Some(path) => Some(keys::secret(path, "token")?.as_str().to_owned()),
    };
    let lab_token = match &args.lab_token_file {
        Some(path) => Some(keys::secret(path, "token")?.as_str().to_owned()),
        None => args.lab_token.clone().map_or_else(lab_token, |token| Ok(Some(token)))?,
    };
    let options = ApiOptions { listen: args.api, token, lab_token };
    // The key stays locked as long as the node runs.
    let (mut settings, _lock) = settings(&args)?;
    settings.lab = options.lab_token.is_some();
    // One reactor thread: checks and the disk have their own threads, and moving work between
    // threads would cost an idle node more than the work itself.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let result = runtime.block_on(serve(settings, options, args.with_parent));
    // A disk that hangs must not keep the process alive.
    runtime.shutdown_timeout(ABANDON);
    result
}

/// Reads the lab token from the environment, if it is set.
fn lab_token() -> Result<Option<String>, Usage> {
    match std::env::var(LAB_TOKEN) {
        Ok(token) if token.is_empty() => {
            Err(Usage(format!("{LAB_TOKEN} is set but empty; set it or unset it")))
        }
        Ok(token) => Ok(Some(token)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Usage(format!("{LAB_TOKEN} is not UTF-8"))),
    }
}

fn settings(args: &Args) -> anyhow::Result<(Settings, store::KeyLock)> {
    let network = keys::network(&args.network)?;
    let malicious = malice(args, &network)?;
    let lock = store::keys::lock(&args.key)?;
    let identity = store::keys::read(&args.key, || keys::opening(&args.passphrase, &args.key))?;
    let own = identity.public();
    let gossip = match network.get(&own) {
        Some(member) if member.role == Role::Member => args.gossip.or(member.gossip),
        _ => None,
    };
    let gossip = gossip.ok_or_else(|| {
        anyhow!(
            "the key of {} ({own}) is not a member of {}; add it there, or give a member's key",
            args.key.display(),
            args.network.display()
        )
    })?;
    let mut config = Config::default();
    if let Some(links) = args.links {
        config.links = usize::from(links);
    }
    let settings = Settings {
        identity,
        network: Arc::new(network),
        gossip,
        data: args.data.clone(),
        config,
        store: store::Options::default(),
        lab: false,
        malicious,
    };
    Ok((settings, lock))
}

fn malice(args: &Args, network: &Network) -> anyhow::Result<Option<Malice>> {
    let Some(text) = &args.malicious else { return Ok(None) };
    let usage = |error| Usage(format!("--malicious: {error}"));
    let spec: Spec = text.parse().map_err(usage)?;
    spec.check(network).map_err(usage)?;
    let decoys = match &args.decoys {
        None => vec![],
        Some(path) => read_decoys(path)?,
    };
    Ok(Some(Malice { spec, decoys }))
}

async fn serve(
    settings: Settings,
    options: ApiOptions,
    with_parent: bool,
) -> anyhow::Result<ExitCode> {
    let stop = signals::listen(with_parent).context("cannot listen for signals")?;
    let listener = api::bind(&options).await.map_err(|error| match error {
        ApiError::NoToken(_) | ApiError::BadToken(_) => Usage(error.to_string()).into(),
        other => anyhow::Error::from(other),
    })?;
    let network = Arc::clone(&settings.network);
    let mut running = tokio::select! {
        running = net::start(settings) => running?,
        () = stop.wait() => return Ok(ExitCode::SUCCESS),
    };
    let handle = running.handle();
    let name = network.get(&handle.key()).map_or("?", |member| &*member.name);
    let malicious = handle.malicious().map(ToString::to_string);
    let api = listener.local_addr().unwrap_or(options.listen);
    tracing::info!(name, %api, malicious, "serving");
    let serving = api::serve(listener, options, handle, async move { stop.wait().await });
    let result = tokio::select! {
        served = serving => served.context("the HTTP API failed"),
        cause = running.failed() => Err(anyhow!("{cause}; its log says more")),
    };
    tracing::info!(name, "node stopping");
    running.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}
