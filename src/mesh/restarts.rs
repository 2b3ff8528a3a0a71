//! What is known of killed nodes. A node's counters start at zero in each incarnation, and a node
//! that stays dead reports nothing, so each node is asked just before it is killed.

use std::time::Duration;

use tokio::time::timeout;

use super::launch::MeshNode;
use super::observe::{held_by, look};
use super::{Mesh, NodeView};

/// How long a node may take to report before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What nodes reported before they were killed, by number.
pub(super) struct Restarts {
    /// Keys of the honest authors, whose batches are read.
    authors: Vec<String>,
    /// Bytes of the largest payload.
    size: usize,
    past: Vec<Option<NodeView>>,
}

impl Restarts {
    /// Starts without any killed node.
    pub(super) fn new(mesh: &Mesh, size: usize) -> Self {
        let authors = mesh.honest().map(|node| node.entry.key.clone()).collect();
        Self { authors, size, past: mesh.nodes.iter().map(|_| None).collect() }
    }

    /// Asks a node that is about to be killed. A node that will not come back is also asked for its
    /// deliveries: none are expected of a dead node, but a forgery that it accepted counts.
    pub(super) async fn ask(&mut self, node: &MeshNode, number: usize, for_good: bool) {
        let mut seen = NodeView::new(&node.entry, &node.kinds);
        // On a timeout, keeps what it reported so far.
        let _ = timeout(LAST_WORDS, look(&node.client, node.entry.pid, &mut seen)).await;
        if for_good && seen.honest() {
            let told = held_by(&node.client, &self.authors, self.size, &mut seen.held);
            let _ = timeout(LAST_WORDS, told).await;
        }
        if let Some(place) = self.past.get_mut(number) {
            let earlier = place.take();
            if let Some(earlier) = &earlier {
                add(&mut seen, earlier);
            }
            *place = Some(seen);
        }
    }

    /// Adds what was known of earlier incarnations to what the nodes report now.
    pub(super) fn complete(&self, mesh: &Mesh, seen: &mut [NodeView]) {
        for ((now, past), node) in seen.iter_mut().zip(&self.past).zip(&mesh.nodes) {
            now.dead = node.killed;
            let Some(past) = past else { continue };
            if now.dead {
                *now = NodeView { dead: true, bytes_before: now.bytes_before, ..past.clone() };
            } else {
                add(now, past);
            }
        }
    }
}

/// Adds the counters of an earlier incarnation. Messages and rejections are on disk, so the later
/// one reports them too.
fn add(now: &mut NodeView, past: &NodeView) {
    match (&mut now.status, &past.status) {
        (Some(now), Some(past)) => {
            now.duplicates = now.duplicates.saturating_add(past.duplicates);
            now.bytes_received = now.bytes_received.saturating_add(past.bytes_received);
        }
        (now @ None, past) => *now = past.clone(),
        (Some(_), None) => {}
    }
    match (&mut now.attempts, &past.attempts) {
        (Some(now), Some(past)) => {
            for (kind, totals) in &past.totals {
                let sum = now.totals.entry(kind.clone()).or_default();
                sum.attempted = sum.attempted.saturating_add(totals.attempted);
                sum.affected = sum.affected.saturating_add(totals.affected);
            }
            now.attempts.splice(0..0, past.attempts.iter().cloned());
        }
        (now @ None, past) => *now = past.clone(),
        (Some(_), None) => {}
    }
    for ban in &past.banned {
        if now.banned.iter().all(|(peer, _)| *peer != ban.0) {
            now.banned.push(ban.clone());
        }
    }
    now.cpu_s = match (now.cpu_s, past.cpu_s) {
        (Some(now), Some(past)) => Some(now + past),
        (now, past) => now.or(past),
    };
    now.peak_rss_mb = match (now.peak_rss_mb, past.peak_rss_mb) {
        (Some(now), Some(past)) => Some(now.max(past)),
        (now, past) => now.or(past),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{AttemptKind, AttemptsDto};

    #[test]
    fn the_counters_of_lives_add_up() {
        let life = |attempted, ban: &str| NodeView {
            attempts: Some(AttemptsDto {
                totals: [("forge".into(), AttemptKind { attempted, affected: 1 })].into(),
                attempts: vec![],
            }),
            banned: vec![(ban.into(), None)],
            cpu_s: Some(1.5),
            peak_rss_mb: Some(attempted as f64),
            ..NodeView::default()
        };
        let (mut now, past) = (life(3, "b"), life(40, "a"));
        add(&mut now, &past);
        add(&mut now, &NodeView::default());
        let totals = &now.attempts.as_ref().expect("some").totals["forge"];
        assert_eq!((totals.attempted, totals.affected, now.banned.len()), (43, 2, 2));
        assert_eq!((now.cpu_s, now.peak_rss_mb), (Some(3.0), Some(40.0)));
        let mut silent = NodeView::default();
        add(&mut silent, &past);
        assert_eq!(silent.attempts.expect("told before").totals["forge"].attempted, 40);
    }
}
