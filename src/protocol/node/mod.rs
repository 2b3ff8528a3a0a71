//! The node itself: carries facts between the components, which do not know one another.

mod asking;
mod batches;
mod comparing;
mod fetching;
mod frames;
mod lacking;
mod linking;
mod pending;
mod plan;
mod probing;
mod publishing;
mod recovering;
mod rejecting;
mod relaying;
mod serving;
mod state;
mod visiting;

pub use state::Node;

#[cfg(test)]
mod attacks;
