//! `loyal explain`: shows the path of one message, from what every node reports or from what a run
//! left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::api_client::{block_on, client, watchful};
use super::error::Usage;
use super::{api_client, escape, notes, output, recorded, trace};
use crate::client::{Client, ClientError, RejectionFilter};
use crate::crypto::Digest;
use crate::http::{MessageDto, RejectionDto};
use crate::mesh::MeshFile;
use crate::report::{Had, Refusal, Trace};
use crate::wire::MessageId;

/// Rows of a rejection log per request, and the maximum number of requests.
const PAGE: usize = 1000;
const PAGES: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The message, or its batch; with --report the first digits do, and without it the slowest is
    /// told of
    pub id: Option<String>,
    #[command(flatten)]
    pub client: api_client::Api,
    /// Ask every node of this mesh's folder
    #[arg(long, value_name = "DIR")]
    pub mesh: Option<PathBuf>,
    /// Look into the report folder of a run instead
    #[arg(long, value_name = "DIR", conflicts_with = "mesh")]
    pub report: Option<PathBuf>,
}

/// Node names by key.
type Names = BTreeMap<String, String>;

/// A node to ask.
struct Source {
    name: String,
    key: String,
    malicious: bool,
    client: Client,
}

/// Shows a message's path.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.report {
        return tell(&recorded::story(dir, args.id.as_deref())?, args.client.json);
    }
    let id = args.id.as_deref().ok_or_else(|| {
        Usage("which message? give its id; without one, give --report DIR for the slowest".into())
    })?;
    let id = message_id(id)?;
    let story = block_on(async {
        let (sources, names) = sources(args).await?;
        Ok(ask(&sources, &names, id).await)
    })?;
    if story.delivered.is_empty() && story.refused.is_empty() {
        if !story.unreachable.is_empty() && story.missing.is_empty() {
            bail!("no node can say: {}", story.unreachable.join(", "));
        }
        bail!("{} is known to none of {}", story.id, story.missing.join(", "));
    }
    tell(&story, args.client.json)
}

fn tell(told: &Trace, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(told)?;
    } else {
        output::text(&trace::text(told))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses a message id; a batch id stands for its first message.
fn message_id(text: &str) -> Result<MessageId, Usage> {
    let batch = || Digest::from_hex(text).map(|batch| MessageId { batch, index: 0 });
    text.parse().ok().or_else(batch).ok_or_else(|| {
        let text = escape::escape(text, 80);
        Usage(format!("`{text}` is no id; an id is 64 hex digits, a dot and a number"))
    })
}

/// Returns the nodes to ask, and the names of keys.
async fn sources(args: &Args) -> anyhow::Result<(Vec<Source>, Names)> {
    let Some(dir) = &args.mesh else {
        let client = client(&args.client)?;
        let (status, network) = (client.status().await?, client.network().await?);
        let names = network.keys.into_iter().map(|key| (key.key, key.name)).collect();
        let malicious = status.malicious.is_some();
        let source = Source { name: status.name, key: status.key, malicious, client };
        return Ok((vec![source], names));
    };
    let nodes = MeshFile::read(dir)?.nodes.into_iter().map(|node| {
        let (malicious, client) = (node.malicious.is_some(), watchful(&node.api, None)?);
        Ok(Source { name: node.name, key: node.key, malicious, client })
    });
    let sources = nodes.collect::<anyhow::Result<Vec<_>>>()?;
    let names = sources.iter().map(|source| (source.key.clone(), source.name.clone())).collect();
    Ok((sources, names))
}

async fn ask(sources: &[Source], names: &Names, id: MessageId) -> Trace {
    let mut story = Trace { id: id.to_string(), ..Trace::default() };
    story.liars = sources.iter().filter(|s| s.malicious).map(|s| s.name.clone()).collect();
    for source in sources {
        match source.client.message(&story.id).await {
            Err(error) => {
                let why = escape::escape(&error.to_string(), 200);
                story.unreachable.push(format!("{} ({why})", source.name));
                continue;
            }
            Ok(None) => story.missing.push(source.name.clone()),
            Ok(Some(message)) => add(&mut story, source, message, names),
        }
        match refusals(source, &id.batch.to_string(), names).await {
            Ok(rows) => story.refused.extend(rows),
            Err(error) => {
                let (name, why) = (&source.name, escape::escape(&error.to_string(), 200));
                notes::note(format_args!("who refused it at {name} is not known: {why}"));
            }
        }
    }
    story.delivered.sort_by_key(|had| (had.at, had.hops));
    story.refused.sort_by_key(|refused| refused.at);
    story
}

fn add(story: &mut Trace, source: &Source, message: MessageDto, names: &Names) {
    story.author = Some(message.author);
    story.author_name = Some(message.author_name);
    story.seq = Some(message.seq);
    story.topic = Some(message.topic);
    story.delivered.push(Had {
        node: source.name.clone(),
        key: source.key.clone(),
        at: message.delivered_at,
        hops: message.hops,
        true_hops: None,
        from_name: message.from.as_deref().and_then(|key| names.get(key)).cloned(),
        from: message.from,
    });
}

/// Returns the rows of a node's rejection log that name this batch.
async fn refusals(
    source: &Source,
    batch: &str,
    names: &Names,
) -> Result<Vec<Refusal>, ClientError> {
    let (filter, mut found, mut after) = (RejectionFilter::default(), Vec::new(), None::<String>);
    for _ in 0..PAGES {
        let page = source.client.rejections(&filter, after.as_deref(), PAGE).await?;
        if page.items.is_empty() {
            break;
        }
        after = Some(page.next);
        let named = page.items.into_iter().filter(|row| row.id.as_deref() == Some(batch));
        found.extend(named.map(|row| refused(&source.name, row, names)));
    }
    Ok(found)
}

fn refused(node: &str, row: RejectionDto, names: &Names) -> Refusal {
    let known = || row.link.as_deref().and_then(|key| names.get(key)).cloned();
    Refusal {
        node: node.to_owned(),
        at: row.time,
        link_name: row.link_name.clone().or_else(known),
        reason: row.reason,
        link: row.link,
        count: row.count,
        detail: row.detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_message_or_a_batch() {
        let batch = "0a".repeat(32);
        assert!(message_id(&batch).is_ok_and(|id| id.index == 0));
        assert!(message_id(&format!("{batch}.7")).is_ok_and(|id| id.index == 7));
        assert!(message_id("nonsense").is_err());
    }
}
