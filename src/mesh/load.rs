//! The loads of a scenario on real processes: each message is posted when it is due, whether or not
//! earlier ones were answered (open loop), so that a slow node cannot hide its latency by being
//! asked less often. It goes to the publisher whose turn it is. A publisher that is dead or paused
//! is passed over, as a client would do. If a node is killed before it answers, the message is
//! excused, since it is unknown whether it was published.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::clock::now;
use super::stop::Stop;
use super::targets::PostTargets;
use crate::client::{Client, ClientError};
use crate::crypto::Digest;
use crate::scenario::{LOAD_TOPIC, POST_RETRY_MAX, POST_TIMEOUT, Scenario};

/// Interval between two looks for a publisher that is up, while none is.
const LOOK: Duration = Duration::from_millis(20);
/// Concurrent posts to one node, and their bytes: half of what a node accepts. Further posts wait
/// here without a payload, and the wait counts towards their latency.
const AT_ONCE: usize = 64;
const AT_ONCE_BYTES: usize = 16 << 20;
/// Maximum posts that wait or are under way, over all nodes.
const WAITING: usize = 16 << 10;

/// A message that was due to be posted.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The key of the node that it was posted to, in hex.
    pub author: String,
    /// When the message was due, in microseconds since 1970. If it has to wait because too many
    /// posts to the node are under way, the wait is part of the latency.
    pub at: u64,
    /// SHA-256 of the payload; zero if nothing was sent.
    pub payload: Digest,
    /// Length of the payload in bytes.
    pub size: usize,
    /// The id that the node answered with, or why it did not accept the message.
    pub id: Result<String, String>,
    /// The slot that the node answered with; 0 if it did not accept the message.
    pub seq: u64,
    /// The node was killed before it answered: the message counts as neither refused nor published.
    pub excused: bool,
}

/// Maximum concurrent posts to one node.
pub(super) fn posts_at_once(scenario: &Scenario) -> usize {
    let largest = scenario.loads.iter().map(|load| load.size).max().unwrap_or(0);
    (AT_ONCE_BYTES / largest.max(1)).clamp(1, AT_ONCE)
}

/// Returns the number of messages of all loads; an upper bound where a load has no count.
pub fn messages(scenario: &Scenario) -> u64 {
    let of = |load: &crate::scenario::Load| {
        let until = load.until.unwrap_or(scenario.duration).saturating_sub(load.from);
        let fit = until.as_nanos().div_ceil(load.every.as_nanos().max(1));
        let fit = u64::try_from(fit).unwrap_or(u64::MAX);
        match (load.count, load.until) {
            (Some(count), None) => count,
            (Some(count), Some(_)) => count.min(fit),
            (None, _) => fit,
        }
    };
    scenario.loads.iter().map(of).fold(0, u64::saturating_add)
}

/// Publishes all loads; times count from `zero`. Calls `progress` with the number of finished
/// posts. Stops posting once the run is to stop.
pub(super) async fn publish(
    scenario: &Scenario,
    targets: &PostTargets,
    zero: Instant,
    stop: &Stop,
    mut progress: impl FnMut(u64),
) -> Vec<Sent> {
    let publishers: Vec<Arc<Vec<usize>>> =
        scenario.loads.iter().map(|load| Arc::new(scenario.publishers(load))).collect();
    let due = |load: usize, k| scenario.due(&scenario.loads[load], k).map(|at| (at, load, k));
    let mut next: BTreeSet<(Duration, usize, u64)> =
        (0..scenario.loads.len()).filter_map(|load| due(load, 0)).collect();
    let (mut posts, mut sent) = (JoinSet::new(), Vec::new());
    let mut number = 0;
    while let Some((at, load, k)) = next.pop_first() {
        if let Some(at) = zero.checked_add(at) {
            stop.sleep_until(at).await;
        }
        if stop.asked() {
            break;
        }
        next.extend(due(load, k + 1));
        let size = scenario.loads[load].size;
        let message = Message { number, turn: k, size, at: now(), since: Instant::now() };
        posts.spawn(message.publish(Arc::clone(targets), Arc::clone(&publishers[load])));
        number += 1;
        while posts.len() >= WAITING && !stop.asked() {
            tokio::select! {
                Some(done) = posts.join_next() => sent.extend(done.ok()),
                () = stop.wait() => {}
            }
        }
        while let Some(Ok(done)) = posts.try_join_next() {
            sent.push(done);
        }
        progress(sent.len() as u64);
    }
    finish(posts, &mut sent, stop, progress).await;
    sent
}

/// Waits for the posts under way; only for a short time once the run is to stop.
async fn finish(
    mut posts: JoinSet<Sent>,
    sent: &mut Vec<Sent>,
    stop: &Stop,
    mut progress: impl FnMut(u64),
) {
    loop {
        tokio::select! {
            done = posts.join_next() => match done {
                Some(done) => sent.extend(done.ok()),
                None => return,
            },
            () = stop.overdue() => return,
        }
        progress(sent.len() as u64);
    }
}

/// Creates a payload that differs from all others, in this run and in other runs, as far as its
/// size allows.
fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = format!("message {number} at {} ", now()).into_bytes();
    let mut block = Digest::of(&[&bytes]);
    while bytes.len() < size {
        bytes.extend_from_slice(&block.0);
        block = Digest::of(&[&block.0]);
    }
    bytes.truncate(size);
    bytes
}

/// A message that is due.
struct Message {
    number: u64,
    turn: u64,
    size: usize,
    at: u64,
    since: Instant,
}

impl Message {
    async fn publish(self, targets: PostTargets, publishers: Arc<Vec<usize>>) -> Sent {
        let count = publishers.len().max(1);
        let turn = usize::try_from(self.turn % count as u64).unwrap_or(0);
        while self.since.elapsed() < POST_TIMEOUT {
            let mut in_turn = (0..count).filter_map(|i| publishers.get((turn + i) % count));
            let open =
                |number: &&usize| targets.get(**number).is_some_and(|target| target.is_open());
            let Some(target) = in_turn.find(open).and_then(|number| targets.get(*number)) else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let deaths = target.deaths();
            let left = POST_TIMEOUT.saturating_sub(self.since.elapsed());
            let Ok(Ok(_permit)) = timeout(left, Arc::clone(&target.permits).acquire_owned()).await
            else {
                let why = format!("earlier posts to this node took more than {POST_TIMEOUT:?}");
                return self.sent(target.key.clone(), Digest::ZERO, Err(why), false);
            };
            if !target.is_open() || target.deaths() != deaths {
                continue; // nothing was sent: another node may take it
            }
            let bytes = payload(self.number, self.size);
            let (digest, result) = Box::pin(post(&target.client, bytes, self.since)).await;
            let excused = result.is_err() && target.deaths() != deaths;
            return self.sent(target.key.clone(), digest, result, excused);
        }
        let author = publishers.get(turn).and_then(|number| targets.get(*number));
        let author = author.map(|target| target.key.clone()).unwrap_or_default();
        let why = format!("no publisher was up for {POST_TIMEOUT:?}");
        self.sent(author, Digest::ZERO, Err(why), false)
    }

    fn sent(
        self,
        author: String,
        payload: Digest,
        result: Result<(String, u64), String>,
        excused: bool,
    ) -> Sent {
        let (id, seq) = match result {
            Ok((id, seq)) => (Ok(id), seq),
            Err(why) => (Err(why), 0),
        };
        Sent { author, at: self.at, payload, size: self.size, id, seq, excused }
    }
}

/// Posts one message. If it is over quota, tries again with exponential backoff. After any other
/// error the message may have been published, so it is not sent twice.
async fn post(
    client: &Client,
    payload: Vec<u8>,
    start: Instant,
) -> (Digest, Result<(String, u64), String>) {
    let digest = Digest::of(&[&payload]);
    let mut wait = Duration::from_millis(20);
    let result = loop {
        match client.post(LOAD_TOPIC, &payload).await {
            Err(ClientError::Refused(problem))
                if problem.status == 429 && start.elapsed() < POST_TIMEOUT =>
            {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(POST_RETRY_MAX);
            }
            other => break other,
        }
    };
    let result = result.map(|posted| (posted.id, posted.seq)).map_err(|error| error.to_string());
    (digest, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::targets::PostTarget;

    fn scenario(text: &str) -> Scenario {
        let head = "name = 'x'\nduration = '10s'\n[mesh]\nnodes = 4\n";
        Scenario::parse(&format!("{head}{text}"), &[]).expect("a scenario")
    }

    #[test]
    fn the_number_of_messages_is_the_number_of_those_due() {
        for (text, expected) in [
            ("", 0),
            ("[[load]]\nrate = 10\ncount = 7\n", 7),
            ("[[load]]\nrate = 10\n", 100),
            ("[[load]]\nrate = 10\nfrom = '1s'\nuntil = '2s'\n", 10),
            ("[[load]]\nrate = 3\nfrom = '1s'\nuntil = '2s'\n[[load]]\nrate = 1\ncount = 5\n", 9),
        ] {
            let scenario = scenario(text);
            let due = scenario
                .loads
                .iter()
                .map(|load| (0..).take_while(|k| scenario.due(load, *k).is_some()).count() as u64);
            assert_eq!(due.sum::<u64>(), expected, "{text}");
            assert_eq!(messages(&scenario), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_load_that_is_too_much_for_a_node_waits_here() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let client = Client::new(&url, None).expect("a URL");
        let most = Arc::new(std::sync::Mutex::new(0));
        let seen = Arc::clone(&most);
        tokio::task::spawn_blocking(move || {
            // Nobody answers: what is under way after the first connections is all that ever is.
            let mut open = Vec::new();
            while open.len() < AT_ONCE {
                open.extend(listener.accept().ok());
            }
            listener.set_nonblocking(true).expect("sets");
            std::thread::sleep(Duration::from_millis(200));
            while let Ok(more) = listener.accept() {
                open.push(more);
            }
            *seen.lock().expect("no panic") = open.len();
        });
        let (_never, stop) = tokio::sync::watch::channel(false);
        let scenario =
            scenario("[[load]]\nrate = 1e6\ncount = 1000\nsize = 10\npublishers = ['n0']\n");
        let target = PostTarget::new("a".into(), client, posts_at_once(&scenario));
        target.came_up();
        let targets = Arc::new(vec![target]);
        let stop = Stop::new(stop);
        let sent = publish(&scenario, &targets, Instant::now(), &stop, |_| {}).await;
        assert_eq!((sent.len(), sent.iter().filter(|one| one.id.is_ok()).count()), (1000, 0));
        assert_eq!(*most.lock().expect("no panic"), AT_ONCE);
    }

    #[test]
    fn payloads_have_their_size_and_differ() {
        for size in [0, 1, 31, 256, 1000] {
            assert_eq!(payload(3, size).len(), size);
        }
        assert_ne!(payload(1, 256), payload(2, 256));
    }
}
