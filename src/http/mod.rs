//! What HTTP servers and clients of this project share: the shapes of bodies.

mod dto;

pub use dto::{
    AttemptDto, AttemptKind, AttemptsDto, GapDto, LinkDto, MessageDto, PeerDto, PostMessage,
    Posted, Problem, RejectionDto, SignedDto, StatusDto, SummaryRow,
};
