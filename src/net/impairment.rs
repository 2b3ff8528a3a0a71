//! Impairments of the node's links for a lab: cut, delay and rate limit, by peer. They act between
//! framing and TLS, so neither end can tell them from a bad network. They exist only in a node that
//! was started with a lab token.
//!
//! A cut is a black hole: nothing is written, and nothing received is taken. A link stays up until
//! a timeout ends it, and bytes in flight pass when the cut is mended, as TCP would send them
//! again. Delay and rate apply to what this node writes; to impair both directions of a link, set
//! them at both ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::crypto::PublicKey;

/// Impairment of the links with one peer. The default has no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Whether nothing is written and nothing received is taken.
    pub cut: bool,
    /// Delay of everything that is written.
    pub delay: Duration,
    /// Largest additional delay, drawn uniformly; order is kept.
    pub jitter: Duration,
    /// Most bytes per second that are written, including length prefixes but not TLS overhead;
    /// `None` for no limit.
    pub bytes_per_s: Option<u64>,
}

impl Impairment {
    /// Whether the impairment has no effect.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

type Table = BTreeMap<PublicKey, Impairment>;

/// The impairments of a node, which can be changed while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Impairments {
    table: Arc<watch::Sender<Table>>,
}

impl Impairments {
    /// Creates a table without impairments.
    pub(super) fn new() -> Self {
        Self { table: Arc::new(watch::Sender::new(Table::new())) }
    }

    /// Replaces all impairments, including those of links that are up.
    pub fn set(&self, table: BTreeMap<PublicKey, Impairment>) {
        self.table.send_replace(table);
    }

    /// The impairments in force, by peer.
    pub fn get(&self) -> BTreeMap<PublicKey, Impairment> {
        self.table.borrow().clone()
    }
}

/// Link conditions with one peer, as one task of a link sees them. Reading them costs an atomic
/// load, and nothing in a node without a lab.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    peer: PublicKey,
    table: Option<watch::Receiver<Table>>,
    current: Impairment,
}

impl Conditions {
    /// Link conditions with a peer; never impaired without a lab.
    pub(super) fn new(lab: Option<&Impairments>, peer: PublicKey) -> Self {
        let table = lab.map(|lab| lab.table.subscribe());
        let mut conditions = Self { peer, table, current: Impairment::default() };
        conditions.look();
        conditions
    }

    fn look(&mut self) {
        if let Some(table) = &mut self.table {
            self.current = table.borrow_and_update().get(&self.peer).copied().unwrap_or_default();
        }
    }

    /// The impairment in force now; none if there is no lab.
    pub(super) fn now(&mut self) -> Impairment {
        // An error means that the node is gone, and nothing will change any more.
        if self.table.as_ref().is_some_and(|table| table.has_changed().unwrap_or(false)) {
            self.look();
        }
        self.current
    }

    /// Waits until the table of impairments is replaced.
    pub(super) async fn changed(&mut self) {
        let gone = match &mut self.table {
            None => true,
            Some(table) => table.changed().await.is_err(),
        };
        if gone {
            std::future::pending::<()>().await;
        }
        self.look();
    }

    /// Waits until no cut is in force.
    pub(super) async fn mended(&mut self) {
        while self.now().cut {
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::identity;

    const CUT: Impairment =
        Impairment { cut: true, delay: Duration::ZERO, jitter: Duration::ZERO, bytes_per_s: None };

    #[tokio::test]
    async fn conditions_follow_what_is_set_for_their_peer() {
        let (lab, peer) = (Impairments::new(), identity(1).public());
        let mut conditions = Conditions::new(Some(&lab), peer);
        assert!(conditions.now().is_none());
        lab.set([(identity(2).public(), CUT)].into());
        assert!(conditions.now().is_none(), "another peer's");
        lab.set([(peer, CUT)].into());
        assert!(conditions.now().cut);
        assert!(Conditions::new(Some(&lab), peer).now().cut, "and a later link's");
        let mut other = conditions.clone();
        let waiting = tokio::spawn(async move { other.mended().await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        lab.set(BTreeMap::new());
        waiting.await.expect("mended");
        assert!(conditions.now().is_none());
    }

    #[tokio::test]
    async fn without_a_lab_nothing_ever_changes() {
        let mut conditions = Conditions::new(None, identity(1).public());
        conditions.mended().await;
        assert!(conditions.now().is_none());
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, conditions.changed()).await.is_err());
    }
}
