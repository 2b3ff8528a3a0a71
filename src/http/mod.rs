//! What HTTP servers and clients of this project share: the shapes of bodies, problem details, and
//! the guard against web pages that reach for a local server.

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
