//! What an operator may set on a node. Nothing here decides validity: two honest nodes may differ.

use std::time::Duration;

/// A node's own preferences. [`Config::default`] suits a mesh of up to a few hundred members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Links that the node chooses for itself, at random, and pushes to.
    pub links: usize,
    /// How often lanes are compared with some linked peer; half as often when nothing is new.
    pub compare_every: Duration,
    /// How often, at the least, a random member is linked to for a comparison, if it is not linked
    /// already; up to four times as often while such comparisons find something. The way out when
    /// every link is a liar.
    pub visit_every: Duration,
    /// How often one chosen link is exchanged for another.
    pub rotate_every: Duration,
    /// How long after an announcement the batch is asked for, if no push brings it.
    pub ask_after: Duration,
    /// How long an open want may stay unanswered before another neighbour is asked.
    pub ask_again_after: Duration,
    /// How often a silent link is pinged.
    pub ping_every: Duration,
    /// How long a link may be silent before it is given up, without blame.
    pub idle_limit: Duration,
    /// Longest wait before credit for consumed frames is sent.
    pub credit_delay: Duration,
    /// First wait after a failed dial; doubles up to `redial_max`.
    pub redial_min: Duration,
    /// Longest wait after failed dials.
    pub redial_max: Duration,
    /// Term of a first ban; doubles on each repeat, up to `ban_max`.
    pub ban_min: Duration,
    /// Longest term of a ban.
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
