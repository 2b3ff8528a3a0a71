//! What a malicious node wants done.

use std::sync::Arc;

use crate::protocol::{LinkId, Output};

/// What a malicious node wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// What its honest node wants done, as it is or rewritten.
    Node(Output),
    /// Bytes for a link's stream as they are, length prefix included; after what was given before.
    Raw {
        /// Where.
        link: LinkId,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// Read from a link, or no longer.
    Pause {
        /// Which.
        link: LinkId,
        /// Whether to read.
        reading: bool,
    },
    /// Write to a link at no more than so many bytes a second; `None` lifts it.
    Pace {
        /// Which.
        link: LinkId,
        /// The limit.
        bytes_per_s: Option<u64>,
    },
}
