//! The path of one message: which node had it when, from which peer, after how many hops, and which
//! nodes refused it and why. Built from a recording, or from the lines that a run leaves in its
//! report folder.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::attribution::Attribution;
use super::paths::{ByBatch, Paths};
use super::{Arrival, Recording, Refused};

/// The most arrivals that `deliveries.ndjson` keeps, at about 40 bytes each. At least one batch is
/// kept.
const MOST_ARRIVALS: usize = 200_000;

/// The trace of one message or batch. Times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// The id of the message or batch.
    pub id: String,
    /// The author's key, in hex.
    pub author: Option<String>,
    /// The author's name in the network file.
    pub author_name: Option<String>,
    /// Slot of the batch in the author's lane.
    pub seq: Option<u64>,
    /// The message's topic; `None` for a recorded batch, whose payload is not kept.
    pub topic: Option<String>,
    /// When the message was handed to its publisher; `None` if unknown.
    pub posted: Option<u64>,
    /// Nodes that delivered it, in order of delivery.
    pub delivered: Vec<Had>,
    /// Names of the nodes that lack it.
    pub missing: Vec<String>,
    /// Nodes that refused it, ordered by time.
    pub refused: Vec<Refusal>,
    /// Names of the nodes that did not answer.
    pub unreachable: Vec<String>,
    /// Names of the liars, of which no delivery is expected.
    #[serde(skip)]
    pub liars: BTreeSet<String>,
    /// Whether times count from the zero of a recorded run rather than from 1970.
    #[serde(skip)]
    pub recorded: bool,
}

/// A node that delivered the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Had {
    /// Name in the network file.
    pub node: String,
    /// The node's key, in hex.
    pub key: String,
    /// When it delivered the message.
    pub at: u64,
    /// Links crossed, as the last sender claims.
    pub hops: u8,
    /// Links really crossed; `None` where the path is unknown.
    pub true_hops: Option<u32>,
    /// Key of the neighbour that the message came from; `None` at the author.
    pub from: Option<String>,
    /// Name in the network file of the key before.
    pub from_name: Option<String>,
}

/// A node that refused the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Name in the network file.
    pub node: String,
    /// When it refused the message.
    pub at: u64,
    /// The name of the reason.
    pub reason: String,
    /// Key of the neighbour that sent it; `None` for the node's own API.
    pub link: Option<String>,
    /// Name of that neighbour.
    pub link_name: Option<String>,
    /// How many equal rejections this one stands for.
    pub count: u64,
    /// What was wrong, in words.
    pub detail: String,
}

/// The first line of `deliveries.ndjson`: the nodes of the run, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesLine {
    /// Name of the scenario or of the command.
    pub name: String,
    /// Number of batches in the run.
    pub batches: usize,
    /// Number of batches that the following lines hold.
    pub kept: usize,
    /// The nodes. The following lines refer to them by index.
    pub nodes: Vec<LineNode>,
}

/// A node of a [`NodesLine`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineNode {
    /// Name in the network file.
    pub name: String,
    /// The node's key, in hex.
    pub key: String,
    /// Whether it has a SPEC, so that nothing is expected of it.
    pub malicious: bool,
    /// Whether it was dead when the run ended.
    pub dead: bool,
}

/// A delivery: node, time, claimed hops, true hops, sending neighbour. Nodes are indices into
/// [`NodesLine::nodes`]; the time is in microseconds since the run's zero.
pub type DeliveryRow = (u32, u64, u8, Option<u32>, Option<u32>);

/// A further line of `deliveries.ndjson`: one batch and its deliveries. Times are microseconds
/// since the run's zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLine {
    /// The batch id, in hex.
    pub id: String,
    /// The author, by index; `null` for an author that runs no node.
    pub author: Option<u32>,
    /// Slot of the batch in the author's lane.
    pub seq: u64,
    /// When its messages were handed to the publisher; empty for a forgery.
    pub posted: Vec<u64>,
    /// Microseconds from the first of `posted`, or else from the first delivery, to the last
    /// delivery at an honest node.
    pub delay: u64,
    /// The deliveries, in the order of the recording.
    pub steps: Vec<DeliveryRow>,
}

/// A line of `rejections.ndjson`: one row of an honest node's rejection log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalLine {
    /// Name of the node that refused the frame.
    pub node: String,
    /// The row's number in that node's store, for `loyal rejections show`; `null` for a simulated
    /// node.
    #[serde(default)]
    pub row: Option<i64>,
    /// When, in microseconds since the run's zero.
    pub time: u64,
    /// The name of the reason.
    pub reason: String,
    /// Key of the neighbour that sent it; `null` for the node's own API.
    pub link: Option<String>,
    /// Name of that neighbour.
    pub link_name: Option<String>,
    /// The behaviour that the rejection is attributed to; `null` if no liar sent the frame.
    pub behaviour: Option<String>,
    /// The author that the frame names: only a claim, and the author may be innocent, unless
    /// `proven`.
    pub author: Option<String>,
    /// Whether that author's signature over the refused data was checked and is valid.
    #[serde(default)]
    pub proven: bool,
    /// The slot that the frame names.
    pub seq: Option<u64>,
    /// The id of the refused batch.
    pub id: Option<String>,
    /// The hops that the frame claims.
    pub hops: Option<u8>,
    /// Length of the frame in bytes, without its length prefix.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame, as the liar that sent it counts it too.
    pub frame: String,
    /// The frame, cut off after 4096 bytes; `null` if nothing was kept.
    #[serde(default)]
    pub frame_base64: Option<String>,
    /// The class of the rejection: `lie`, `refusal`, `copy` or `knock`.
    #[serde(default)]
    pub counts_as: String,
    /// The number of equal rejections folded into this row.
    pub count: u64,
}

impl Trace {
    /// Builds a trace from lines; `refused` holds the rejections that name the batch's id.
    pub fn from_lines(head: &NodesLine, line: &BatchLine, refused: Vec<RefusalLine>) -> Self {
        let node = |number: u32| head.nodes.get(number as usize);
        let author = line.author.and_then(node);
        let mut delivered: Vec<Had> = Vec::with_capacity(line.steps.len());
        let mut have = vec![false; head.nodes.len()];
        for (number, at, hops, true_hops, from) in &line.steps {
            let Some(one) = node(*number) else { continue };
            have[*number as usize] = true;
            let from = from.and_then(node);
            delivered.push(Had {
                node: one.name.clone(),
                key: one.key.clone(),
                at: *at,
                hops: *hops,
                true_hops: *true_hops,
                from: from.map(|from| from.key.clone()),
                from_name: from.map(|from| from.name.clone()),
            });
        }
        delivered.sort_by_key(|had| (had.at, had.hops));
        let lack = head.nodes.iter().zip(&have).filter(|(node, have)| !**have && !node.malicious);
        let lack = lack.map(|(node, _)| match node.dead {
            true => format!("{} (dead)", node.name),
            false => node.name.clone(),
        });
        Self {
            id: line.id.clone(),
            author: author.map(|author| author.key.clone()),
            author_name: author.map(|author| author.name.clone()),
            seq: Some(line.seq),
            topic: None,
            posted: line.posted.iter().min().copied(),
            delivered,
            missing: lack.collect(),
            refused: refused.into_iter().map(Refusal::from).collect(),
            unreachable: vec![],
            liars: head.nodes.iter().filter(|n| n.malicious).map(|n| n.name.clone()).collect(),
            recorded: true,
        }
    }
}

impl From<RefusalLine> for Refusal {
    fn from(line: RefusalLine) -> Self {
        Self {
            node: line.node,
            at: line.time,
            reason: line.reason,
            link: line.link,
            link_name: line.link_name,
            count: line.count,
            detail: line.detail,
        }
    }
}

/// Returns the trace of the batch whose id begins with `id`; a message's index at the end of `id`
/// is ignored. With an empty `id`, returns the trace of the slowest batch. `None` if no batch
/// matches, or several do.
pub fn trace(run: &Recording, id: &str) -> Option<Trace> {
    let teller = Teller::of(run);
    let number = if id.is_empty() {
        teller.slowest()?
    } else {
        let prefix = id.split_once('.').map_or(id, |(batch, _)| batch);
        let mut found = (0..run.batches.len())
            .filter(|number| run.batches[*number].id.to_string().starts_with(prefix));
        let one = found.next()?;
        if found.any(|other| run.batches[other].id != run.batches[one].id) {
            return None;
        }
        one
    };
    let attribution = Attribution::of(run);
    let id = run.batches[number].id;
    let named = rows(run).filter(|(_, row)| row.id == Some(id));
    let mut refused: Vec<_> =
        named.map(|(node, row)| refusal(run, &attribution, node, row)).collect();
    refused.sort_by_key(|line| line.time);
    Some(Trace::from_lines(&teller.head(run.batches.len()), &teller.line(number), refused))
}

/// Returns the lines of `rejections.ndjson`, without newlines: one compact object each.
pub fn rejection_lines(run: &Recording) -> impl Iterator<Item = String> {
    let attribution = Attribution::of(run);
    rows(run).filter_map(move |(node, row)| {
        serde_json::to_string(&refusal(run, &attribution, node, row)).ok()
    })
}

/// Returns the lines of `deliveries.ndjson`, without newlines: the nodes, then the batches. Of a
/// huge run, keeps the slowest batch, those that went wrong, and an even sample of the rest.
pub fn delivery_lines(run: &Recording) -> impl Iterator<Item = String> {
    let teller = Teller::of(run);
    let chosen = teller.choose(MOST_ARRIVALS);
    let head = serde_json::to_string(&teller.head(chosen.len())).ok();
    let lines = chosen.into_iter().filter_map(move |n| serde_json::to_string(&teller.line(n)).ok());
    head.into_iter().chain(lines)
}

fn rows(run: &Recording) -> impl Iterator<Item = (u32, &Refused)> {
    let honest = (0u32..).zip(&run.nodes).filter(|(_, node)| node.honest());
    honest.flat_map(|(number, node)| node.rejections.iter().map(move |row| (number, row)))
}

fn refusal(
    run: &Recording,
    attribution: &Attribution<'_>,
    node: u32,
    row: &Refused,
) -> RefusalLine {
    let link = row.link.and_then(|link| run.nodes.get(link as usize));
    RefusalLine {
        node: run.node_name(node).to_owned(),
        row: row.row,
        time: row.at,
        reason: row.reason.clone(),
        link: link.map(|link| link.key.to_string()),
        link_name: link.map(|link| link.name.clone()),
        behaviour: attribution.kind(row),
        author: row.author.map(|author| author.to_string()),
        proven: row.proven,
        seq: row.seq,
        id: row.id.map(|id| id.to_string()),
        hops: row.hops,
        size: row.size,
        detail: row.detail.clone(),
        frame: row.frame.to_string(),
        frame_base64: row.bytes.as_ref().map(|bytes| STANDARD.encode(bytes)),
        counts_as: row.counts_as.name().to_owned(),
        count: row.count,
    }
}

/// Turns batches of a recording into lines.
pub(super) struct Teller<'a> {
    run: &'a Recording,
    by_batch: ByBatch,
    ways: Paths,
    /// For each batch, microseconds until its last honest node had it.
    delays: Vec<u64>,
}

impl<'a> Teller<'a> {
    pub(super) fn of(run: &'a Recording) -> Self {
        let by_batch = ByBatch::of(run);
        let ways = Paths::of(run, &by_batch);
        let mut teller = Self { run, by_batch, ways, delays: vec![] };
        teller.delays = (0..run.batches.len()).map(|number| teller.delay(number)).collect();
        teller
    }

    fn arrivals(&self, batch: usize) -> impl Iterator<Item = &'a Arrival> {
        self.by_batch.arrivals(batch).iter().map(|number| &self.run.arrivals[*number as usize])
    }

    fn posted(&self, batch: usize) -> Vec<u64> {
        let posts = self.run.batches[batch].posts.iter();
        posts.filter_map(|post| Some(self.run.posts.get(*post as usize)?.at)).collect()
    }

    fn delay(&self, batch: usize) -> u64 {
        let honest = || self.arrivals(batch).filter(|one| self.run.is_honest(one.node));
        let from = self.posted(batch).into_iter().min().or(honest().map(|one| one.at).min());
        let until = honest().map(|one| one.at).max();
        until.zip(from).map_or(0, |(until, from)| until.saturating_sub(from))
    }

    /// Returns the batch that took longest to reach its last honest node.
    pub(super) fn slowest(&self) -> Option<usize> {
        // Of equal delays, the first batch wins.
        (0..self.delays.len()).rev().max_by_key(|number| self.delays[*number])
    }

    /// Returns the first line: the nodes, and that `kept` batches follow.
    pub(super) fn head(&self, kept: usize) -> NodesLine {
        let node = |node: &super::NodeRecord| LineNode {
            name: node.name.clone(),
            key: node.key.to_string(),
            malicious: !node.honest(),
            dead: node.dead,
        };
        NodesLine {
            name: self.run.name.clone(),
            batches: self.run.batches.len(),
            kept,
            nodes: self.run.nodes.iter().map(node).collect(),
        }
    }

    /// Returns the line of one batch.
    pub(super) fn line(&self, batch: usize) -> BatchLine {
        let record = &self.run.batches[batch];
        let step = |number: &u32| {
            let one = &self.run.arrivals[*number as usize];
            (one.node, one.at, one.hops, self.ways.hops(*number as usize), one.from)
        };
        BatchLine {
            id: record.id.to_string(),
            author: record.author,
            seq: record.seq,
            posted: self.posted(batch),
            delay: self.delays.get(batch).copied().unwrap_or(0),
            steps: self.by_batch.arrivals(batch).iter().map(step).collect(),
        }
    }

    /// Chooses batches with at most `most` arrivals in all, but at least one batch: the slowest,
    /// those that went wrong, then every n-th of the rest. Ascending.
    fn choose(&self, most: usize) -> Vec<usize> {
        let all = self.delays.len();
        let cost = |batch: usize| self.by_batch.arrivals(batch).len() + 8;
        let alive = self.run.nodes.iter().filter(|node| node.honest() && !node.dead).count();
        let went_wrong = |batch: &usize| {
            let had = self.arrivals(*batch).filter(|one| self.run.is_honest(one.node)).count();
            self.run.batches[*batch].posts.is_empty() || had < alive
        };
        let total: usize = (0..all).map(cost).sum();
        let every = total.div_ceil(most.max(1)).max(1);
        let sample = (0..every.min(all)).flat_map(|first| (first..all).step_by(every));
        let mut chosen = BTreeMap::new();
        let mut spent = 0;
        for batch in self.slowest().into_iter().chain((0..all).filter(went_wrong)).chain(sample) {
            if chosen.contains_key(&batch) {
                continue;
            }
            if !chosen.is_empty() && spent + cost(batch) > most {
                break;
            }
            spent += cost(batch);
            chosen.insert(batch, ());
        }
        chosen.into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{big, clean};

    #[test]
    fn a_recording_tells_the_story_of_a_batch() {
        let run = clean();
        let told = trace(&run, "aaaa").expect("one batch is called so");
        assert_eq!(told, trace(&run, "").expect("the slowest"));
        assert_eq!(told, trace(&run, &format!("{}.0", "aa".repeat(32))).expect("in full"));
        let way: Vec<_> =
            told.delivered.iter().map(|had| (&*had.node, had.hops, had.true_hops)).collect();
        let expected =
            [("n0", 0, Some(0)), ("n3", 1, Some(1)), ("n2", 1, Some(1)), ("n1", 1, Some(2))];
        assert_eq!(way, expected);
        assert_eq!((told.posted, told.author_name.as_deref()), (Some(1000), Some("n0")));
        assert!(trace(&run, "0123").is_none());
        let mut twins = clean();
        twins.batches[1].id.0[..31].fill(0xaa);
        assert!(trace(&twins, "aaaa").is_none(), "two are called so");
        assert!(trace(&twins, &"aa".repeat(32)).is_some());
    }

    #[test]
    fn refusals_belong_to_the_story() {
        let mut run = clean();
        run.arrivals.pop();
        let told = trace(&run, "bb").expect("it is known by who refused it");
        assert_eq!(told.refused.len(), 1);
        assert_eq!(told.refused[0].link_name.as_deref(), Some("n3"));
        assert_eq!(told.missing, ["n0", "n1", "n2"]);
        assert_eq!(trace(&run, "aa").expect("is there").missing, ["n1"]);
    }

    #[test]
    fn lines_tell_the_same_story() {
        let run = clean();
        let mut lines = delivery_lines(&run);
        let head: NodesLine = serde_json::from_str(&lines.next().expect("a head")).expect("reads");
        assert_eq!((head.batches, head.kept), (3, 3));
        let first: BatchLine = serde_json::from_str(&lines.next().expect("one")).expect("reads");
        assert_eq!(Some(Trace::from_lines(&head, &first, vec![])), trace(&run, "aa"));
        let refused: Vec<String> = rejection_lines(&run).collect();
        let row: RefusalLine = serde_json::from_str(&refused[0]).expect("reads");
        assert_eq!((row.behaviour.as_deref(), row.count), (Some("forge"), 5));
    }

    #[test]
    fn hostile_text_stays_in_its_line() {
        let mut run = clean();
        run.nodes[1].rejections[0].detail = "a\n{\"b\":\"\u{2028}\0".into();
        run.nodes[1].name = "n\n1".into();
        assert!(rejection_lines(&run).chain(delivery_lines(&run)).all(|line| !line.contains('\n')));
    }

    #[test]
    fn a_huge_run_keeps_a_sample_and_says_so() {
        let mut run = big(10_000, 100);
        // The one that somebody lacks is among them.
        run.arrivals.retain(|one| (one.batch, one.node) != (77, 4321));
        let lines: Vec<String> = delivery_lines(&run).collect();
        let head: NodesLine = serde_json::from_str(&lines[0]).expect("reads");
        assert_eq!((head.batches, head.kept + 1), (100, lines.len()));
        assert!((10..100).contains(&head.kept), "{}", head.kept);
        assert!(lines.iter().map(String::len).sum::<usize>() < 12 << 20);
        let id = run.batches[77].id.to_string();
        assert!(lines[1..].iter().any(|line| line.contains(&id)));
    }
}
