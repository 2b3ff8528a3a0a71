//! What the HTTP servers and clients of this project share: bodies, problem details, and the guard
//! that keeps web pages away from a local server.

mod dto;
mod guard;
mod problem;

pub use dto::{
    AttemptDto, AttemptKind, AttemptsDto, GapDto, ImpairmentDto, KeyDto, LinkDto, ListDto,
    MessageDto, NetworkDto, PeerDto, PostMessage, Posted, Problem, RejectionDto, SignedDto,
    StatusDto, SummaryRow,
};
pub use guard::Guard;
pub use problem::PROBLEM_JSON;
