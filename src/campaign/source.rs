//! Which scenario a seed runs.

use std::borrow::Cow;

use super::swarm::{long, swarm};
use crate::scenario::{Scenario, ScenarioError};

/// What seeds of a swarm draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Mostly a few seconds, up to 31 nodes.
    #[default]
    Usual,
    /// Few nodes, for minutes at an author's quota or for hours.
    Long,
}

/// What a campaign runs.
#[derive(Clone, Debug)]
pub enum Source {
    /// The same scenario with every seed.
    Fixed(Box<Scenario>),
    /// Each seed draws its own; then these overlays are laid over it.
    Swarm(Profile, Vec<String>),
}

impl Source {
    /// The scenario of a seed.
    ///
    /// # Errors
    /// If what a seed draws makes no sense with the overlays.
    pub fn of(&self, seed: u64) -> Result<Cow<'_, Scenario>, ScenarioError> {
        match self {
            Self::Fixed(scenario) => Ok(Cow::Borrowed(scenario)),
            Self::Swarm(profile, overlays) => {
                let drawn = match profile {
                    Profile::Usual => swarm(seed),
                    Profile::Long => long(seed),
                };
                if overlays.is_empty() {
                    return Ok(Cow::Owned(drawn));
                }
                Scenario::parse(&drawn.to_toml(), overlays).map(Cow::Owned)
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Fixed(scenario) => &scenario.name,
            Self::Swarm(Profile::Usual, _) => "swarm",
            Self::Swarm(Profile::Long, _) => "swarm-long",
        }
    }

    /// Whether a run in which an attack reached nobody is as good as one that passes: what a swarm
    /// draws may contradict itself, as a liar that stays cut off does.
    pub fn lenient(&self) -> bool {
        matches!(self, Self::Swarm(..))
    }
}
