//! `loyal explain`: shows the path of one message, from what every node reports or from what a run
//! left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::api_client::{block_on, client, watchful};
use super::error::Usage;
use super::{api_client, output, report, stderr, trace};
use crate::client::{Client, ClientError, RejectionFilter};
use crate::crypto::Digest;
use crate::http::{MessageDto, RejectionDto};
use crate::mesh::MeshFile;
use crate::report::{Had, Refusal, Trace, escape};
use crate::wire::MessageId;

/// Rows of a rejection log per request, and the maximum number of requests.
const PAGE: usize = 1000;
const PAGES: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the message or of its batch; with --report the first digits are enough, and without an
    /// id the slowest message is shown
    pub id: Option<String>,
    #[command(flatten)]
    pub client: api_client::Api,
    /// Ask every node of this mesh's folder
    #[arg(long, value_name = "DIR")]
    pub mesh: Option<PathBuf>,
    /// Read the report folder of a run instead
    #[arg(long, value_name = "DIR", conflicts_with = "mesh")]
    pub report: Option<PathBuf>,
}

/// Node names by key.
type Names = BTreeMap<String, String>;

/// A node to ask.
struct Respondent {
    name: String,
    key: String,
    malicious: bool,
    client: Client,
}

/// Shows a message's path.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.report {
        return tell(&report::trace(dir, args.id.as_deref())?, args.client.json);
    }
    let id = args.id.as_deref().ok_or_else(|| {
        Usage("no message id: give one, or --report DIR to see the slowest message of a run".into())
    })?;
    let id = message_id(id)?;
    let trace = block_on(async {
        let (nodes, names) = nodes(args).await?;
        Ok(ask(&nodes, &names, id).await)
    })?;
    if trace.delivered.is_empty() && trace.refused.is_empty() {
        if !trace.unreachable.is_empty() && trace.missing.is_empty() {
            bail!("no node answered: {}", trace.unreachable.join(", "));
        }
        bail!("{} is not known to any of {}", trace.id, trace.missing.join(", "));
    }
    tell(&trace, args.client.json)
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
        let text = escape(text, 80);
        Usage(format!("`{text}` is not an id; an id is 64 hex digits, a dot and a number"))
    })
}

/// Returns the nodes to ask, and the names of keys.
async fn nodes(args: &Args) -> anyhow::Result<(Vec<Respondent>, Names)> {
    let Some(dir) = &args.mesh else {
        let client = client(&args.client)?;
        let (status, network) = (client.status().await?, client.network().await?);
        let names = network.keys.into_iter().map(|key| (key.key, key.name)).collect();
        let malicious = status.malicious.is_some();
        let node = Respondent { name: status.name, key: status.key, malicious, client };
        return Ok((vec![node], names));
    };
    let nodes = MeshFile::read(dir)?.nodes.into_iter().map(|node| {
        let (malicious, client) = (node.malicious.is_some(), watchful(&node.api, None)?);
        Ok(Respondent { name: node.name, key: node.key, malicious, client })
    });
    let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
    let names = nodes.iter().map(|node| (node.key.clone(), node.name.clone())).collect();
    Ok((nodes, names))
}

async fn ask(nodes: &[Respondent], names: &Names, id: MessageId) -> Trace {
    let mut trace = Trace { id: id.to_string(), ..Trace::default() };
    trace.liars = nodes.iter().filter(|s| s.malicious).map(|s| s.name.clone()).collect();
    for node in nodes {
        match node.client.message(&trace.id).await {
            Err(error) => {
                let why = escape(&error.to_string(), 200);
                trace.unreachable.push(format!("{} ({why})", node.name));
                continue;
            }
            Ok(None) => trace.missing.push(node.name.clone()),
            Ok(Some(message)) => add(&mut trace, node, message, names),
        }
        match refusals(node, &id.batch.to_string(), names).await {
            Ok(rows) => trace.refused.extend(rows),
            Err(error) => {
                let (name, why) = (&node.name, escape(&error.to_string(), 200));
                stderr::note(format_args!("cannot read the rejections of {name}: {why}"));
            }
        }
    }
    trace.delivered.sort_by_key(|had| (had.at, had.hops));
    trace.refused.sort_by_key(|refused| refused.at);
    trace
}

fn add(trace: &mut Trace, node: &Respondent, message: MessageDto, names: &Names) {
    trace.author = Some(message.author);
    trace.author_name = Some(message.author_name);
    trace.seq = Some(message.seq);
    trace.topic = Some(message.topic);
    trace.delivered.push(Had {
        node: node.name.clone(),
        key: node.key.clone(),
        at: message.delivered_at,
        hops: message.hops,
        true_hops: None,
        from_name: message.from.as_deref().and_then(|key| names.get(key)).cloned(),
        from: message.from,
    });
}

/// Returns the rows of a node's rejection log that name this batch.
async fn refusals(
    node: &Respondent,
    batch: &str,
    names: &Names,
) -> Result<Vec<Refusal>, ClientError> {
    let (filter, mut found, mut after) = (RejectionFilter::default(), Vec::new(), None::<String>);
    for _ in 0..PAGES {
        let page = node.client.rejections(&filter, after.as_deref(), PAGE).await?;
        if page.items.is_empty() {
            break;
        }
        after = Some(page.next);
        let named = page.items.into_iter().filter(|row| row.id.as_deref() == Some(batch));
        found.extend(named.map(|row| refused(&node.name, row, names)));
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
