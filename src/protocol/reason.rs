//! Why something is refused, and whose fault that is.

/// Every exit of the pipeline has one of these reasons. The names are the ones in logs, rows,
/// metrics.
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

/// Whose fault a rejection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The link proves it with a complete frame: it is closed and its peer banned.
    Link,
    /// The author's signature proves it; the link that carried it is innocent.
    Author,
    /// Nobody's: it happens between honest nodes too.
    Nobody,
}

/// How a rejection counts, worst first: what proves a lie comes before all else wherever
/// rejections are shown, and knocks and copies, of which there are most, are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountsAs {
    /// The link's frame proves that its peer broke the rules, or an author's own signature that the
    /// author did.
    Lie,
    /// Refused, and nobody is proven to have lied.
    Refusal,
    /// A plain copy: a batch by the id that is held already.
    Copy,
    /// A link by a peer under a ban.
    Knock,
}

impl CountsAs {
    /// All of them, worst first.
    pub const ALL: [Self; 4] = [Self::Lie, Self::Refusal, Self::Copy, Self::Knock];

    /// What a rejection for that reason counts as; `proven` if the author's own signature over what
    /// is refused is good. Of `replayed` only the node knows which are plain copies.
    pub fn of(reason: Reason, proven: bool) -> Self {
        match (reason, reason.blame()) {
            (Reason::Banned, _) => Self::Knock,
            (_, Blame::Link) => Self::Lie,
            (_, Blame::Author) if proven => Self::Lie,
            (_, Blame::Author | Blame::Nobody) => Self::Refusal,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::Refusal => "refusal",
            Self::Copy => "copy",
            Self::Knock => "knock",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether it is counted apart from rejections.
    pub fn is_apart(self) -> bool {
        matches!(self, Self::Copy | Self::Knock)
    }
}

impl Reason {
    /// Every reason.
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

    /// Its name in snake case.
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

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whose fault it is.
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
