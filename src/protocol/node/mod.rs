//! The node itself: carries facts between the parts, which know nothing of one another.

mod batches;
mod comparing;
mod fetching;
mod frames;
mod linking;
mod publishing;
mod rejecting;
mod serving;
mod state;

pub use state::Node;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throttle;
