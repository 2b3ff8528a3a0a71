//! One message's story: who had it when, from whom, after how many hops, who refused it and why.
//! It is told from a recording, or from the lines that a run leaves in its folder.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::attribution::Attribution;
use super::paths::{ByBatch, Paths};
use super::{Arrival, Recording, Refused};

/// Arrivals that `deliveries.ndjson` keeps at most, but always one batch: 40 bytes each.
const MOST_ARRIVALS: usize = 200_000;

/// One message or batch. Times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// Its id.
    pub id: String,
    /// Its author's key.
    pub author: Option<String>,
    /// Its author's name.
    pub author_name: Option<String>,
    /// Its slot.
    pub seq: Option<u64>,
    /// What it is about.
    pub topic: Option<String>,
    /// When it was handed to its publisher, if that is known.
    pub posted: Option<u64>,
    /// Who had it, in the order of delivery.
    pub delivered: Vec<Had>,
    /// Names of those who lack it.
    pub missing: Vec<String>,
    /// Who refused it, in the order of time.
    pub refused: Vec<Refusal>,
    /// Names of those who did not answer.
    pub unreachable: Vec<String>,
    /// Nodes that lie: what they lack is no surprise.
    #[serde(skip)]
    pub liars: BTreeSet<String>,
    /// Times count from the zero of a recorded run, not from 1970.
    #[serde(skip)]
    pub recorded: bool,
}

/// Somebody who had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Had {
    /// Name.
    pub node: String,
    /// Key.
    pub key: String,
    /// When.
    pub at: u64,
    /// Links crossed, as the last sender claims.
    pub hops: u8,
    /// Links really crossed, where that is known.
    pub true_hops: Option<u32>,
    /// Key of the neighbour that it came from.
    pub from: Option<String>,
    /// Its name.
    pub from_name: Option<String>,
}

/// Somebody who refused it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Name.
    pub node: String,
    /// When.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// Key of the neighbour that sent it.
    pub link: Option<String>,
    /// Its name.
    pub link_name: Option<String>,
    /// How often.
    pub count: u64,
    /// What was wrong, in words.
    pub detail: String,
}

/// The first line of `deliveries.ndjson`: who took part, and how much of the run is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    /// The run's name.
    pub name: String,
    /// Batches of the run.
    pub batches: usize,
    /// How many of them the following lines have.
    pub kept: usize,
    /// The nodes; the following lines name them by their place here.
    pub nodes: Vec<CastNode>,
}

/// A node of a [`Cast`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CastNode {
    /// Name.
    pub name: String,
    /// Key.
    pub key: String,
    /// It lies.
    pub malicious: bool,
    /// It was dead in the end.
    pub dead: bool,
}

/// Node, time, claimed hops, true hops, from whom.
pub type Step = (u32, u64, u8, Option<u32>, Option<u32>);

/// A further line: one batch and its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLine {
    /// Its id.
    pub id: String,
    /// Its author, by place.
    pub author: Option<u32>,
    /// Its slot.
    pub seq: u64,
    /// When its messages were handed to the publisher; none of a forgery.
    pub posted: Vec<u64>,
    /// From the first of those, else from the first delivery, to the last delivery at an honest
    /// node.
    pub delay: u64,
    /// The deliveries.
    pub steps: Vec<Step>,
}

/// A line of `rejections.ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalLine {
    /// Who refused.
    pub node: String,
    /// The row's number in that node's store, for `loyal rejections show`; `null` of a simulated
    /// node.
    #[serde(default)]
    pub row: Option<i64>,
    /// When, in microseconds since the run's zero.
    pub time: u64,
    /// Why.
    pub reason: String,
    /// Key of the neighbour that sent it; `null` for the node's own API.
    pub link: Option<String>,
    /// Its name.
    pub link_name: Option<String>,
    /// The behaviour that it is put down to; `null` where no liar sent it.
    pub behaviour: Option<String>,
    /// The author that it names: a claim, and perhaps an innocent one, unless it is proven.
    pub author: Option<String>,
    /// Whether that author's own signature over what is refused was checked and is good.
    #[serde(default)]
    pub proven: bool,
    /// The slot that it names.
    pub seq: Option<u64>,
    /// The id that it would have.
    pub id: Option<String>,
    /// The hops that it claims.
    pub hops: Option<u8>,
    /// Bytes of the frame.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame.
    pub frame: String,
    /// What is kept of the frame: all of it, but its first 4096 bytes at most.
    #[serde(default)]
    pub frame_base64: Option<String>,
    /// How it counts: `lie`, `refusal`, `copy` or `knock`.
    #[serde(default)]
    pub counts_as: String,
    /// Equal rejections that it stands for.
    pub count: u64,
}

impl Trace {
    /// Tells it from lines; `refused` are those of the log that name its id.
    pub fn from_lines(cast: &Cast, line: &BatchLine, refused: Vec<RefusalLine>) -> Self {
        let node = |number: u32| cast.nodes.get(number as usize);
        let author = line.author.and_then(node);
        let mut delivered: Vec<Had> = Vec::with_capacity(line.steps.len());
        let mut have = vec![false; cast.nodes.len()];
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
        let lack = cast.nodes.iter().zip(&have).filter(|(node, have)| !**have && !node.malicious);
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
            liars: cast.nodes.iter().filter(|n| n.malicious).map(|n| n.name.clone()).collect(),
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

/// The story of a batch of a recording, by its id or a prefix of it, with or without a message's
/// index; of the slowest one for the empty prefix. `None` if none or several are called so.
pub fn story(run: &Recording, id: &str) -> Option<Trace> {
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
    Some(Trace::from_lines(&teller.cast(run.batches.len()), &teller.line(number), refused))
}

/// The lines of `rejections.ndjson`, without newlines: one compact object each.
pub fn rejection_lines(run: &Recording) -> impl Iterator<Item = String> {
    let attribution = Attribution::of(run);
    rows(run).filter_map(move |(node, row)| {
        serde_json::to_string(&refusal(run, &attribution, node, row)).ok()
    })
}

/// The lines of `deliveries.ndjson`, without newlines: the cast, then batches. Of a huge run it
/// keeps what went wrong, the slowest, and an even sample of the rest.
pub fn delivery_lines(run: &Recording) -> impl Iterator<Item = String> {
    let teller = Teller::of(run);
    let chosen = teller.choose(MOST_ARRIVALS);
    let cast = serde_json::to_string(&teller.cast(chosen.len())).ok();
    let lines = chosen.into_iter().filter_map(move |n| serde_json::to_string(&teller.line(n)).ok());
    cast.into_iter().chain(lines)
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

/// Makes lines of a recording.
pub(super) struct Teller<'a> {
    run: &'a Recording,
    by_batch: ByBatch,
    ways: Paths,
    /// Of each batch: how long it took to its last honest node.
    delays: Vec<u64>,
}

impl<'a> Teller<'a> {
    pub fn of(run: &'a Recording) -> Self {
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

    /// The batch that took longest to its last honest node.
    pub fn slowest(&self) -> Option<usize> {
        // The first of equals.
        (0..self.delays.len()).rev().max_by_key(|number| self.delays[*number])
    }

    /// The nodes.
    pub fn cast(&self, kept: usize) -> Cast {
        let node = |node: &super::NodeRecord| CastNode {
            name: node.name.clone(),
            key: node.key.to_string(),
            malicious: !node.honest(),
            dead: node.dead,
        };
        Cast {
            name: self.run.name.clone(),
            batches: self.run.batches.len(),
            kept,
            nodes: self.run.nodes.iter().map(node).collect(),
        }
    }

    /// One batch.
    pub fn line(&self, batch: usize) -> BatchLine {
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

    /// Batches with so many arrivals at most, but always one: the slowest, those that went wrong,
    /// and every so many of the rest; ascending.
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
    use super::super::judge_tests::{big, clean};
    use super::*;

    #[test]
    fn a_recording_tells_the_story_of_a_batch() {
        let run = clean();
        let told = story(&run, "aaaa").expect("one batch is called so");
        assert_eq!(told, story(&run, "").expect("the slowest"));
        assert_eq!(told, story(&run, &format!("{}.0", "aa".repeat(32))).expect("in full"));
        let way: Vec<_> =
            told.delivered.iter().map(|had| (&*had.node, had.hops, had.true_hops)).collect();
        let expected =
            [("n0", 0, Some(0)), ("n3", 1, Some(1)), ("n2", 1, Some(1)), ("n1", 1, Some(2))];
        assert_eq!(way, expected);
        assert_eq!((told.posted, told.author_name.as_deref()), (Some(1000), Some("n0")));
        assert!(story(&run, "0123").is_none());
        let mut twins = clean();
        twins.batches[1].id.0[..31].fill(0xaa);
        assert!(story(&twins, "aaaa").is_none(), "two are called so");
        assert!(story(&twins, &"aa".repeat(32)).is_some());
    }

    #[test]
    fn refusals_belong_to_the_story() {
        let mut run = clean();
        run.arrivals.pop();
        let told = story(&run, "bb").expect("it is known by who refused it");
        assert_eq!(told.refused.len(), 1);
        assert_eq!(told.refused[0].link_name.as_deref(), Some("n3"));
        assert_eq!(told.missing, ["n0", "n1", "n2"]);
        assert_eq!(story(&run, "aa").expect("is there").missing, ["n1"]);
    }

    #[test]
    fn lines_tell_the_same_story() {
        let run = clean();
        let mut lines = delivery_lines(&run);
        let cast: Cast = serde_json::from_str(&lines.next().expect("a cast")).expect("reads");
        assert_eq!((cast.batches, cast.kept), (3, 3));
        let first: BatchLine = serde_json::from_str(&lines.next().expect("one")).expect("reads");
        assert_eq!(Some(Trace::from_lines(&cast, &first, vec![])), story(&run, "aa"));
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
        let cast: Cast = serde_json::from_str(&lines[0]).expect("reads");
        assert_eq!((cast.batches, cast.kept + 1), (100, lines.len()));
        assert!((10..100).contains(&cast.kept), "{}", cast.kept);
        assert!(lines.iter().map(String::len).sum::<usize>() < 12 << 20);
        let id = run.batches[77].id.to_string();
        assert!(lines[1..].iter().any(|line| line.contains(&id)));
    }
}
