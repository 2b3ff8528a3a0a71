//! The scenario that a seed runs.

use std::borrow::Cow;

use super::swarm::{long, swarm};
use crate::scenario::{Scenario, ScenarioError};

/// What kind of scenarios the seeds of a swarm draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Mostly runs of a few seconds, with up to 31 nodes.
    #[default]
    Usual,
    /// Few nodes, either for minutes at an author's quota or for hours.
    Long,
}

/// Where the scenarios of a campaign come from.
#[derive(Clone, Debug)]
pub enum ScenarioSource {
    /// The same scenario with every seed.
    Fixed(Box<Scenario>),
    /// Each seed draws its own scenario; then these overlays are applied to it.
    Swarm(Profile, Vec<String>),
}

impl ScenarioSource {
    /// The scenario of a seed.
    ///
    /// # Errors
    /// If the scenario that the seed draws is invalid with the overlays.
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

    /// The name of the scenario or swarm.
    pub fn name(&self) -> &str {
        match self {
            Self::Fixed(scenario) => &scenario.name,
            Self::Swarm(Profile::Usual, _) => "swarm",
            Self::Swarm(Profile::Long, _) => "swarm-long",
        }
    }

    /// Whether a run in which an attack reached no honest node counts as passed. A swarm may draw
    /// combinations without effect, such as a liar that stays cut off.
    pub fn lenient(&self) -> bool {
        matches!(self, Self::Swarm(..))
    }
}
