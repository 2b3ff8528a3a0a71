//! What a lab does to the links of this node: cut, delay, cap, by peer. It acts between framing and
//! TLS, on both sides of which nobody can tell it from a bad network, and only in a node that was
//! started with a lab token.
//!
//! A cut is a black hole: nothing is written and nothing that comes is taken; a link stays up until
//! somebody's patience ends, and what was under way passes when the cut is mended, as TCP would
//! send it again. Delay and rate act on what this node writes: for both directions of a link, tell
//! both ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::crypto::PublicKey;

/// What is done to the links with one peer. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Nothing is written, and nothing taken that comes.
    pub cut: bool,
    /// What is written leaves so much later.
    pub delay: Duration,
    /// And later still by up to this, uniformly at random; order is kept.
    pub jitter: Duration,
    /// Bytes a second that are written at most, length prefixes included and TLS not.
    pub bytes_per_s: Option<u64>,
}

impl Impairment {
    /// Whether it does nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

type Table = BTreeMap<PublicKey, Impairment>;

/// The impairments of a node, to be changed while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Impairments {
    table: Arc<watch::Sender<Table>>,
}

impl Impairments {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { table: Arc::new(watch::Sender::new(Table::new())) }
    }

    /// Replaces all of them, on links that are up as well.
    pub fn set(&self, table: BTreeMap<PublicKey, Impairment>) {
        self.table.send_replace(table);
    }

    /// Those in force.
    pub fn get(&self) -> BTreeMap<PublicKey, Impairment> {
        self.table.borrow().clone()
    }
}

/// What is done to the links with one peer, as one task of a link sees it. Asking costs an atomic
/// load, and nothing in a node without a lab.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    peer: PublicKey,
    table: Option<watch::Receiver<Table>>,
    current: Impairment,
}

impl Conditions {
    /// The conditions of links with that peer; for ever none without a lab.
    pub fn new(lab: Option<&Impairments>, peer: PublicKey) -> Self {
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

    /// Those in force.
    pub fn now(&mut self) -> Impairment {
        // An error says that the node is gone: then nothing changes any more.
        if self.table.as_ref().is_some_and(|table| table.has_changed().unwrap_or(false)) {
            self.look();
        }
        self.current
    }

    /// Until somebody changes any.
    pub async fn changed(&mut self) {
        let gone = match &mut self.table {
            None => true,
            Some(table) => table.changed().await.is_err(),
        };
        if gone {
            std::future::pending::<()>().await;
        }
        self.look();
    }

    /// Until nothing is cut.
    pub async fn mended(&mut self) {
        while self.now().cut {
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::identity;

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
