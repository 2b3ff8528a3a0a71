//! `loyal post`: publishes through a node, or signs here and posts the signed batch.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::api_client::{block_on, client};
use super::error::Usage;
use super::signer::Signer;
use super::{api_client, keys, output, stderr};
use crate::client::{Client, ClientError};
use crate::clock;
use crate::http::{Posted, SignedDto};
use crate::report::escape;
use crate::store;
use crate::wire::Entry;
use crate::wire::limits::{MAX_PAYLOAD, MAX_TOPIC};

/// How long a signed batch is posted again while the node does not answer or has no room.
const PATIENCE: Duration = Duration::from_secs(15);

const EMPTY: &str = "nothing to publish: no TEXT, no --file FILE, and standard input is empty; \
                     to publish an empty message, use `loyal post \"\"`";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub client: api_client::Api,
    /// Sign here with this author key, and post the signed batch
    #[arg(long, value_name = "FILE", requires = "network")]
    pub key: Option<PathBuf>,
    /// The file of the network to sign for
    #[arg(long, value_name = "FILE", requires = "key")]
    pub network: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: keys::Passphrase,
    /// The topic, at most 64 bytes
    #[arg(long, default_value = "")]
    pub topic: String,
    /// Publish the bytes of this file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    /// The message; without it and without --file, standard input
    pub text: Option<String>,
}

/// Publishes one message.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.topic.len() > MAX_TOPIC {
        let long = args.topic.len();
        bail!(Usage(format!("--topic has {long} bytes; a topic has at most {MAX_TOPIC}")));
    }
    let payload = payload(args)?;
    if payload.len() > MAX_PAYLOAD {
        let why = format!("the message is longer than the {MAX_PAYLOAD} bytes that are allowed");
        bail!(Usage(why));
    }
    let client = client(&args.client)?;
    let posted = match (&args.key, &args.network) {
        (Some(key), Some(network)) => {
            let entry = Entry { topic: args.topic.clone(), payload };
            signed(args, &client, key, network, entry)?
        }
        _ => vec![block_on(async { Ok(client.post(&args.topic, &payload).await?) })?],
    };
    for one in &posted {
        if args.client.json {
            output::json(one)?;
        } else {
            output::line(&one.id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn payload(args: &Args) -> anyhow::Result<Vec<u8>> {
    if let Some(text) = &args.text {
        return Ok(text.clone().into_bytes());
    }
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to see that it is too long.
    let most = MAX_PAYLOAD as u64 + 1;
    match &args.file {
        Some(path) if path.as_os_str() != "-" => {
            let file = std::fs::File::open(path);
            file.and_then(|file| file.take(most).read_to_end(&mut bytes))
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        given => {
            if given.is_none() && io::stdin().is_terminal() {
                let hint = "reading the message from this terminal; end it with Ctrl-D";
                let _ = writeln!(anstream::stderr(), "\x1b[2m{hint}\x1b[0m");
            }
            io::stdin()
                .lock()
                .take(most)
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            if given.is_none() && bytes.is_empty() {
                bail!(Usage(EMPTY.into()));
            }
        }
    }
    Ok(bytes)
}

/// Posts the batch that is still pending, then signs and posts this message, unless it is the one
/// that was pending.
fn signed(
    args: &Args,
    client: &Client,
    key: &Path,
    network: &Path,
    entry: Entry,
) -> anyhow::Result<Vec<Posted>> {
    let listed = keys::network(network)?;
    let identity = store::keys::read(key, || keys::opening(&args.passphrase, key))?;
    let author = identity.public();
    match listed.get(&author) {
        None => bail!(
            "the key of {} ({author}) is not in {}; add it there with role = \"author\"",
            key.display(),
            network.display()
        ),
        Some(_) if listed.is_member(&author) => bail!(
            "the key of {} belongs to a member, and only a member's own node signs for it; post \
             without --key",
            key.display()
        ),
        Some(_) => {}
    }
    let mut signer = Signer::open(key, &identity, listed.id())?;
    block_on(async {
        if signer.is_fresh() {
            refuse_if_known(client, &author.to_string(), &signer).await?;
        }
        let mut posted = Vec::new();
        if let Some(waiting) = signer.pending().cloned() {
            let same = signer.is_pending(&entry);
            posted.push(deliver(client, &mut signer, &waiting).await?);
            if same {
                return Ok(posted);
            }
        }
        signer.sign(&identity, entry, clock::wall().0)?;
        let fresh = signer.pending().cloned().context("nothing was signed")?;
        posted.push(deliver(client, &mut signer, &fresh).await?);
        Ok(posted)
    })
}

/// Refuses to sign with a new counter for an author that the node knows: the counter was probably
/// lost, and signing slot 1 again would prove that the author lied. A lying node can only cause a
/// refusal.
async fn refuse_if_known(client: &Client, author: &str, signer: &Signer) -> anyhow::Result<()> {
    let status = client.status().await?;
    match status.tips.get(author).copied().unwrap_or(0) {
        0 => Ok(()),
        tip => bail!(
            "the node holds {tip} slots of this author, but the counter {} is missing; restore it \
             (signing a slot twice is proof of a lie) or make a new author key",
            signer.path().display()
        ),
    }
}

/// Posts the same bytes until the node has stored them.
async fn deliver(
    client: &Client,
    signer: &mut Signer,
    batch: &SignedDto,
) -> anyhow::Result<Posted> {
    let (start, mut wait) = (Instant::now(), Duration::from_millis(100));
    loop {
        let error = match client.post_signed(batch).await {
            Ok(posted) => {
                if let Err(error) = signer.acknowledged() {
                    // The next post sends the same bytes again, which has no further effect.
                    stderr::note(format_args!("{error:#}; the message was published nevertheless"));
                }
                return Ok(posted);
            }
            Err(error) => error,
        };
        let transient = match &error {
            ClientError::Unreachable(_) => true,
            ClientError::Refused(problem) => matches!(problem.status, 429 | 503),
            ClientError::Broken(_) => false,
        };
        if !transient || start.elapsed() > PATIENCE {
            return Err(kept(&error, batch, signer));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
}

fn kept(error: &ClientError, batch: &SignedDto, signer: &Signer) -> anyhow::Error {
    let advice = match error {
        ClientError::Refused(problem) if problem.status == 409 => match problem.expected {
            Some(expected) if expected > batch.seq => format!(
                "; the node says that slots up to {} are taken: is somebody else signing with this \
                 key?",
                expected - 1
            ),
            Some(expected) => format!(
                "; the node says that it has not seen slot {expected} yet: try again, or try \
                 another node"
            ),
            None => String::new(),
        },
        _ => String::new(),
    };
    anyhow!(
        "{}{advice}\nslot {} is signed and kept in {}; the next post sends the same bytes first",
        escape(&error.to_string(), 400),
        batch.seq,
        signer.path().display()
    )
}
