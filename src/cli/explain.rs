//! `loyal explain`: one message's story, from what every node says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;

use super::api_client::{block_on, client};
use super::exit::Usage;
use super::{args, escape, output};
use crate::client::{Client, RejectionFilter};
use crate::crypto::Digest;
use crate::http::{MessageDto, RejectionDto};
use crate::mesh::MeshFile;
use crate::wire::MessageId;

/// Rows of a rejection log asked for at once, and pages that are searched.
const PAGE: usize = 1000;
const PAGES: usize = 200;

/// What all nodes say of one message.
#[derive(Debug, Default, Serialize)]
struct Story {
    id: String,
    author: Option<String>,
    author_name: Option<String>,
    seq: Option<u64>,
    topic: Option<String>,
    /// In the order of delivery.
    delivered: Vec<Had>,
    missing: Vec<String>,
    refused: Vec<Refused>,
    unreachable: Vec<String>,
    /// Nodes of the mesh that were started to lie: what they lack is no surprise.
    #[serde(skip)]
    liars: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Had {
    node: String,
    key: String,
    at: u64,
    hops: u8,
    from: Option<String>,
    from_name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Refused {
    node: String,
    at: u64,
    reason: String,
    link: Option<String>,
    link_name: Option<String>,
    count: u64,
    detail: String,
}

/// Names by key.
type Names = BTreeMap<String, String>;

/// Who is asked.
struct Source {
    name: String,
    key: String,
    malicious: bool,
    client: Client,
}

/// Tells the story.
pub fn run(args: &args::Explain) -> anyhow::Result<ExitCode> {
    let id = message_id(&args.id)?;
    let story = block_on(async {
        let (sources, names) = sources(args).await?;
        Ok(ask(&sources, &names, id).await)
    })?;
    if story.delivered.is_empty() && story.refused.is_empty() {
        if !story.unreachable.is_empty() && story.missing.is_empty() {
            bail!("no node answers: {}", story.unreachable.join(", "));
        }
        bail!("{} is known to none of {}", story.id, story.missing.join(", "));
    }
    if args.client.json {
        output::json(&story)?;
    } else {
        output::text(&text(&story))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A message's id, or a batch's for its first message.
fn message_id(text: &str) -> Result<MessageId, Usage> {
    let batch = || Digest::from_hex(text).map(|batch| MessageId { batch, index: 0 });
    text.parse().ok().or_else(batch).ok_or_else(|| {
        let text = escape::escape(text, 80);
        Usage(format!("`{text}` is no id; an id is 64 hex digits, a dot and a number"))
    })
}

/// Whom to ask, and the names of keys.
async fn sources(args: &args::Explain) -> anyhow::Result<(Vec<Source>, Names)> {
    let Some(dir) = &args.mesh else {
        let client = client(&args.client)?;
        let (status, network) = (client.status().await?, client.network().await?);
        let names = network.keys.into_iter().map(|key| (key.key, key.name)).collect();
        let malicious = status.malicious.is_some();
        let source = Source { name: status.name, key: status.key, malicious, client };
        return Ok((vec![source], names));
    };
    let nodes = MeshFile::read(dir)?.nodes.into_iter().map(|node| {
        let (malicious, client) = (node.malicious.is_some(), Client::new(&node.api, None)?);
        Ok(Source { name: node.name, key: node.key, malicious, client })
    });
    let sources = nodes.collect::<anyhow::Result<Vec<_>>>()?;
    let names = sources.iter().map(|source| (source.key.clone(), source.name.clone())).collect();
    Ok((sources, names))
}

async fn ask(sources: &[Source], names: &Names, id: MessageId) -> Story {
    let mut story = Story { id: id.to_string(), ..Story::default() };
    story.liars = sources.iter().filter(|s| s.malicious).map(|s| s.name.clone()).collect();
    for source in sources {
        match source.client.message(&story.id).await {
            Err(_) => {
                story.unreachable.push(source.name.clone());
                continue;
            }
            Ok(None) => story.missing.push(source.name.clone()),
            Ok(Some(message)) => story.add(source, message, names),
        }
        story.refused.extend(refusals(source, &id.batch.to_string(), names).await);
    }
    story.delivered.sort_by_key(|had| (had.at, had.hops));
    story.refused.sort_by_key(|refused| refused.at);
    story
}

impl Story {
    fn add(&mut self, source: &Source, message: MessageDto, names: &Names) {
        self.author = Some(message.author);
        self.author_name = Some(message.author_name);
        self.seq = Some(message.seq);
        self.topic = Some(message.topic);
        self.delivered.push(Had {
            node: source.name.clone(),
            key: source.key.clone(),
            at: message.delivered_at,
            hops: message.hops,
            from_name: message.from.as_deref().and_then(|key| names.get(key)).cloned(),
            from: message.from,
        });
    }
}

/// The rows of a node's log that name this batch; none if it does not answer.
async fn refusals(source: &Source, batch: &str, names: &Names) -> Vec<Refused> {
    let (filter, mut found, mut after) = (RejectionFilter::default(), Vec::new(), None::<String>);
    for _ in 0..PAGES {
        let Ok(page) = source.client.rejections(&filter, after.as_deref(), PAGE).await else {
            break;
        };
        if page.items.is_empty() {
            break;
        }
        after = Some(page.next);
        let named = page.items.into_iter().filter(|row| row.id.as_deref() == Some(batch));
        found.extend(named.map(|row| refused(&source.name, row, names)));
    }
    found
}

fn refused(node: &str, row: RejectionDto, names: &Names) -> Refused {
    let known = || row.link.as_deref().and_then(|key| names.get(key)).cloned();
    Refused {
        node: node.to_owned(),
        at: row.time,
        link_name: row.link_name.clone().or_else(known),
        reason: row.reason,
        link: row.link,
        count: row.count,
        detail: row.detail,
    }
}

fn text(story: &Story) -> String {
    let mut out = format!("\x1b[1mmessage {}\x1b[0m\n", story.id);
    if let (Some(author), Some(name), Some(seq)) = (&story.author, &story.author_name, story.seq) {
        let topic = story.topic.as_deref().unwrap_or_default();
        let (name, topic) = (escape::escape(name, 64), escape::escape(topic, 64));
        let _ = writeln!(
            out,
            "author  {name} {}, slot {seq}, topic \"{topic}\"",
            output::short(author)
        );
    }
    Tree::new(&story.delivered).draw(&mut out);
    for (label, nodes) in [("missing at", &story.missing), ("no answer from", &story.unreachable)] {
        if !nodes.is_empty() {
            let shown = |name: &String| match story.liars.contains(name) {
                true => format!("{name} (malicious)"),
                false => name.clone(),
            };
            let nodes: Vec<String> = nodes.iter().map(shown).collect();
            let _ = writeln!(out, "\x1b[33m{label} {}\x1b[0m", nodes.join(", "));
        }
    }
    for row in &story.refused {
        let from = match (&row.link_name, &row.link) {
            (Some(name), _) => escape::escape(name, 64),
            (None, Some(key)) => output::short(key).to_owned(),
            (None, None) => "its own API".into(),
        };
        let (reason, detail) = (escape::escape(&row.reason, 32), escape::escape(&row.detail, 100));
        let _ = writeln!(
            out,
            "\x1b[31mrefused\x1b[0m by {} from {from}: {reason} ×{} ({detail})",
            row.node, row.count
        );
    }
    out
}

/// Who had it from whom.
struct Tree<'a> {
    had: &'a [Had],
    children: BTreeMap<&'a str, Vec<usize>>,
    drawn: BTreeSet<usize>,
    start: u64,
}

impl<'a> Tree<'a> {
    fn new(had: &'a [Had]) -> Self {
        let mut children: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, one) in had.iter().enumerate() {
            if let Some(from) = &one.from {
                children.entry(from).or_default().push(number);
            }
        }
        let start = had.first().map_or(0, |first| first.at);
        Self { had, children, drawn: BTreeSet::new(), start }
    }

    fn draw(mut self, out: &mut String) {
        let keys: BTreeSet<&str> = self.had.iter().map(|had| &*had.key).collect();
        let is_root = |had: &Had| had.from.as_deref().is_none_or(|from| !keys.contains(from));
        for (number, had) in self.had.iter().enumerate() {
            if is_root(had) {
                self.branch(out, number, "", "");
            }
        }
        // Nodes that name each other as the source: clocks or claims are wrong, but none is left
        // out.
        for number in 0..self.had.len() {
            if !self.drawn.contains(&number) {
                self.branch(out, number, "", "");
            }
        }
    }

    fn branch(&mut self, out: &mut String, number: usize, first: &str, rest: &str) {
        let Some(had) = self.had.get(number) else { return };
        if !self.drawn.insert(number) {
            return;
        }
        let after = had.at.saturating_sub(self.start) as f64 / 1000.0;
        let how = match (&had.from, &had.from_name, first.is_empty()) {
            (None, _, _) => format!("published {}", output::time(had.at)),
            (Some(_), _, false) => format!("+{after:.1} ms, hop {}", had.hops),
            (Some(key), name, true) => {
                let from = name.as_deref().unwrap_or_else(|| output::short(key));
                format!("+{after:.1} ms, hop {}, from {from}", had.hops)
            }
        };
        let _ = writeln!(out, "{first}\x1b[1m{}\x1b[0m  {how}", had.node);
        let children = self.children.get(&*had.key).cloned().unwrap_or_default();
        for (place, child) in children.iter().enumerate() {
            let last = place + 1 == children.len();
            let (corner, bar) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(out, *child, &format!("{rest}{corner}"), &format!("{rest}{bar}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(node: &str, at: u64, hops: u8, from: Option<&str>) -> Had {
        let (from, from_name) = (from.map(|name| format!("K{name}")), from.map(str::to_owned));
        Had { node: node.into(), key: format!("K{node}"), at, hops, from, from_name }
    }

    #[test]
    fn the_story_is_a_tree_and_leaves_nobody_out() {
        let story = Story {
            id: "aa.0".into(),
            delivered: vec![
                had("n0", 1_000_000, 0, None),
                had("n1", 1_001_000, 1, Some("n0")),
                had("n3", 1_001_200, 1, Some("n0")),
                had("n2", 1_002_500, 2, Some("n1")),
                had("n4", 1_003_000, 3, Some("n9")),
                had("n5", 1_004_000, 3, Some("n6")),
                had("n6", 1_005_000, 3, Some("n5")),
            ],
            missing: vec!["n7".into(), "n8".into()],
            liars: ["n8".to_owned()].into(),
            ..Story::default()
        };
        let text = anstream::adapter::strip_str(&text(&story)).to_string();
        for line in [
            "n0  published 1970-01-01T00:00:01.000Z",
            "├─ n1  +1.0 ms, hop 1",
            "│  └─ n2  +2.5 ms, hop 2",
            "└─ n3  +1.2 ms, hop 1",
            "n4  +3.0 ms, hop 3, from n9",
            "n5  +4.0 ms",
            "└─ n6",
            "missing at n7, n8 (malicious)",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn an_id_is_a_message_or_a_batch() {
        let batch = "0a".repeat(32);
        assert!(message_id(&batch).is_ok_and(|id| id.index == 0));
        assert!(message_id(&format!("{batch}.7")).is_ok_and(|id| id.index == 7));
        assert!(message_id("nonsense").is_err());
    }
}
