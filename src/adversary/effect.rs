//! Effects: what a node that may be malicious wants done.

use std::sync::Arc;

use crate::protocol::{LinkId, Output};

/// An action that a driver carries out.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An output of the wrapped honest node, unchanged or rewritten.
    Node(Output),
    /// Raw bytes for a link's stream, length prefix included; written after everything given
    /// before.
    Raw {
        /// The link to write to.
        link: LinkId,
        /// The bytes to write, which need not form a valid frame.
        bytes: Arc<[u8]>,
    },
    /// Stop or resume reading from a link.
    Pause {
        /// The link concerned.
        link: LinkId,
        /// Whether to read from now on.
        reading: bool,
    },
    /// Limit the rate at which a link is written; `None` lifts the limit.
    Pace {
        /// The link concerned.
        link: LinkId,
        /// The limit in bytes per second.
        bytes_per_s: Option<u64>,
    },
}
