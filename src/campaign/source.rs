//! Which scenario a seed runs.

use std::borrow::Cow;

use super::swarm;
use crate::scenario::{Scenario, ScenarioError};

/// What a campaign runs.
#[derive(Clone, Debug)]
pub enum Source {
    /// The same scenario with every seed.
    Fixed(Box<Scenario>),
    /// Each seed draws its own; then these overlays are laid over it.
    Swarm(Vec<String>),
}

impl Source {
    /// The scenario of a seed.
    ///
    /// # Errors
    /// If what a seed draws makes no sense with the overlays.
    pub fn of(&self, seed: u64) -> Result<Cow<'_, Scenario>, ScenarioError> {
        match self {
            Self::Fixed(scenario) => Ok(Cow::Borrowed(scenario)),
            Self::Swarm(overlays) if overlays.is_empty() => Ok(Cow::Owned(swarm(seed))),
            Self::Swarm(overlays) => {
                Scenario::parse(&swarm(seed).to_toml(), overlays).map(Cow::Owned)
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Fixed(scenario) => &scenario.name,
            Self::Swarm(_) => "swarm",
        }
    }

    /// Whether a run in which an attack reached nobody is as good as one that passes: what a swarm
    /// draws may contradict itself, as a liar that stays cut off does.
    pub fn lenient(&self) -> bool {
        matches!(self, Self::Swarm(_))
    }
}
