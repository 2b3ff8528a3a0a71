//! The loads of a scenario on real processes: each message is posted when it is due (open loop), to
//! the publisher whose turn it is. A publisher that is dead or paused is passed over, as a client
//! would do. If a node is killed before it answers, the message is excused, since it is unknown
//! whether it was published.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::halt::Halt;
use super::load::{AT_ONCE, AT_ONCE_BYTES, PATIENCE, Sent, WAITING, finish, payload, post};
use super::roster::Roster;
use super::steps::now;
use crate::crypto::Digest;
use crate::scenario::Scenario;

/// Interval between two looks for a publisher that is up, while none is.
const LOOK: Duration = Duration::from_millis(20);

/// Maximum concurrent posts to one node.
pub(super) fn places(scenario: &Scenario) -> usize {
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
    roster: &Roster,
    zero: Instant,
    halt: &Halt,
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
            halt.sleep_until(at).await;
        }
        if halt.asked() {
            break;
        }
        next.extend(due(load, k + 1));
        let size = scenario.loads[load].size;
        let message = Message { number, turn: k, size, at: now(), since: Instant::now() };
        posts.spawn(message.publish(Arc::clone(roster), Arc::clone(&publishers[load])));
        number += 1;
        while posts.len() >= WAITING && !halt.asked() {
            tokio::select! {
                Some(done) = posts.join_next() => sent.extend(done.ok()),
                () = halt.wait() => {}
            }
        }
        while let Some(Ok(done)) = posts.try_join_next() {
            sent.push(done);
        }
        progress(sent.len() as u64);
    }
    finish(posts, &mut sent, halt, progress).await;
    sent
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
    async fn publish(self, roster: Roster, publishers: Arc<Vec<usize>>) -> Sent {
        let count = publishers.len().max(1);
        let turn = usize::try_from(self.turn % count as u64).unwrap_or(0);
        while self.since.elapsed() < PATIENCE {
            let mut in_turn = (0..count).filter_map(|i| publishers.get((turn + i) % count));
            let open =
                |number: &&usize| roster.get(**number).is_some_and(|endpoint| endpoint.is_open());
            let Some(endpoint) = in_turn.find(open).and_then(|number| roster.get(*number)) else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let deaths = endpoint.deaths();
            let left = PATIENCE.saturating_sub(self.since.elapsed());
            let Ok(Ok(_place)) = timeout(left, Arc::clone(&endpoint.places).acquire_owned()).await
            else {
                let why = format!("earlier posts to this node took it more than {PATIENCE:?}");
                return self.sent(endpoint.key.clone(), Digest::ZERO, Err(why), false);
            };
            if !endpoint.is_open() || endpoint.deaths() != deaths {
                continue; // nothing was sent: another node may take it
            }
            let bytes = payload(self.number, self.size);
            let (digest, result) = Box::pin(post(&endpoint.client, bytes, self.since)).await;
            let excused = result.is_err() && endpoint.deaths() != deaths;
            return self.sent(endpoint.key.clone(), digest, result, excused);
        }
        let author = publishers.get(turn).and_then(|number| roster.get(*number));
        let author = author.map(|endpoint| endpoint.key.clone()).unwrap_or_default();
        let why = format!("no publisher was up for {PATIENCE:?}");
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
