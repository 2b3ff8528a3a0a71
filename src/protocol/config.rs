//! What an operator may configure on a node. Nothing here affects validity: honest nodes may
//! differ.

use std::time::Duration;

/// A node's own settings. [`Config::default`] suits a mesh of up to a few hundred members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many links the node chooses, at random, and pushes to.
    pub links: usize,
    /// How often lanes are compared with a random linked peer; half as often without news for 2 s.
    pub compare_every: Duration,
    /// How often a random member without a link is visited to compare lanes; up to four times as
    /// often while comparisons find long gaps. This is the way out when every link is a liar.
    pub visit_every: Duration,
    /// How often one chosen link is replaced.
    pub rotate_every: Duration,
    /// How long after an announcement the batch is requested, if no push brings it.
    pub ask_after: Duration,
    /// How long a want may stay unanswered before another neighbour is asked. Applies until an
    /// answer has been timed; after that the node uses 1.5 times the median over its links.
    pub ask_again_after: Duration,
    /// How long a link may be silent in either direction before it is pinged.
    pub ping_every: Duration,
    /// How long a peer may be silent before its link is closed, without blame.
    pub idle_limit: Duration,
    /// Longest wait before credit for consumed pushes is sent; other classes may wait 500 ms.
    pub credit_delay: Duration,
    /// First wait after a failed dial; doubles up to `redial_max`.
    pub redial_min: Duration,
    /// Longest wait after failed dials.
    pub redial_max: Duration,
    /// Duration of a first ban; doubles on each repeat, up to `ban_max`.
    pub ban_min: Duration,
    /// Longest duration of a ban.
    pub ban_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            links: 3,
            compare_every: Duration::from_millis(500),
            visit_every: Duration::from_millis(1200),
            rotate_every: Duration::from_secs(60),
            ask_after: Duration::from_millis(8),
            ask_again_after: Duration::from_millis(150),
            ping_every: Duration::from_secs(5),
            idle_limit: Duration::from_secs(20),
            credit_delay: Duration::from_millis(5),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(15),
            ban_min: Duration::from_secs(10),
            ban_max: Duration::from_secs(3600),
        }
    }
}
