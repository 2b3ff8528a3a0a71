//! Why a frame or batch is refused, and who is to blame.

/// The reason of a rejection; every exit of the pipeline has one. The names appear in logs, rows
/// and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    Malformed,
    NonCanonical,
    Oversize,
    WrongVersion,
    WrongNetwork,
    UnknownAuthor,
    ContentMismatch,
    BadSignature,
    CreditOverrun,
    AuthorRate,
    TooFarAhead,
    Replayed,
    Pruned,
    Equivocation,
    Banned,
}

/// Who is to blame for a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The peer, proven by a complete frame (or by a length prefix over the limit): the link is
    /// closed and the peer banned.
    Link,
    /// The author, proven by its signature; the peer that relayed it is innocent.
    Author,
    /// Nobody: this also happens between honest nodes.
    Nobody,
}

/// How a rejection counts, worst first. Proven lies come first wherever rejections are shown.
/// Knocks and copies are the most frequent and are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountsAs {
    /// A frame proves that the peer broke the rules, or a signature proves that the author did.
    Lie,
    /// Refused, but nobody is proven to have lied.
    Refusal,
    /// A plain copy: the same batch is held already.
    Copy,
    /// A link from a banned peer.
    Knock,
}

impl CountsAs {
    /// All of them, worst first.
    pub const ALL: [Self; 4] = [Self::Lie, Self::Refusal, Self::Copy, Self::Knock];

    /// How a rejection for `reason` counts. `proven` says that the author's own signature over the
    /// refused statement is good. Never returns `Copy`: only the node knows which `replayed`
    /// batches are plain copies.
    pub fn of(reason: Reason, proven: bool) -> Self {
        match (reason, reason.blame()) {
            (Reason::Banned, _) => Self::Knock,
            (_, Blame::Link) => Self::Lie,
            (_, Blame::Author) if proven => Self::Lie,
            (_, Blame::Author | Blame::Nobody) => Self::Refusal,
        }
    }

    /// The name in logs, rows and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::Refusal => "refusal",
            Self::Copy => "copy",
            Self::Knock => "knock",
        }
    }

    /// The variant with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether these are counted apart from other rejections.
    pub fn is_apart(self) -> bool {
        matches!(self, Self::Copy | Self::Knock)
    }
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::NonCanonical,
        Self::Oversize,
        Self::WrongVersion,
        Self::WrongNetwork,
        Self::UnknownAuthor,
        Self::ContentMismatch,
        Self::BadSignature,
        Self::CreditOverrun,
        Self::AuthorRate,
        Self::TooFarAhead,
        Self::Replayed,
        Self::Pruned,
        Self::Equivocation,
        Self::Banned,
    ];

    /// The name in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NonCanonical => "non_canonical",
            Self::Oversize => "oversize",
            Self::WrongVersion => "wrong_version",
            Self::WrongNetwork => "wrong_network",
            Self::UnknownAuthor => "unknown_author",
            Self::ContentMismatch => "content_mismatch",
            Self::BadSignature => "bad_signature",
            Self::CreditOverrun => "credit_overrun",
            Self::AuthorRate => "author_rate",
            Self::TooFarAhead => "too_far_ahead",
            Self::Replayed => "replayed",
            Self::Pruned => "pruned",
            Self::Equivocation => "equivocation",
            Self::Banned => "banned",
        }
    }

    /// The reason with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Who is to blame for it.
    pub fn blame(self) -> Blame {
        match self {
            Self::Malformed
            | Self::NonCanonical
            | Self::Oversize
            | Self::WrongVersion
            | Self::WrongNetwork
            | Self::UnknownAuthor
            | Self::ContentMismatch
            | Self::BadSignature
            | Self::CreditOverrun => Blame::Link,
            Self::Equivocation => Blame::Author,
            Self::AuthorRate | Self::TooFarAhead | Self::Replayed | Self::Pruned | Self::Banned => {
                Blame::Nobody
            }
        }
    }
}
