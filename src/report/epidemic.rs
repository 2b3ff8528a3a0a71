//! An epidemic model of push alone, for comparison with what was measured.

use serde::{Deserialize, Serialize};

/// Maximum number of hops computed; push ends long before.
const MOST_HOPS: usize = 64;

/// Push alone among honest nodes only, in rounds of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpidemicModel {
    /// Mean number of links that a node pushes on.
    pub fan_out: f64,
    /// Rounds until all nodes have it, if every node that has it pushes to `k` random nodes in
    /// every round: `log_{k+1} n + ln n / k` (Pittel, "On spreading a rumor", 1987, generalised to
    /// `k`).
    pub rounds: f64,
    /// The share of nodes that have it after 0, 1, 2, … hops, if each pushes once, when it gets it:
    /// `u' = u·exp(-k·new)`, with `u` the share without it and `new` the share that got it last
    /// (mean field, as in Demers et al., "Epidemic algorithms", 1987). Pull has to reach the rest.
    pub reached: Vec<f64>,
}

impl EpidemicModel {
    /// Computes the model for this many nodes and chosen links in all; `None` if nothing is pushed.
    pub fn of(nodes: usize, links: usize) -> Option<Self> {
        if nodes < 2 || links == 0 {
            return None;
        }
        let n = nodes as f64;
        let k = links as f64 / n;
        let (mut without, mut new) = (1.0 - 1.0 / n, 1.0 / n);
        let mut reached = vec![round(1.0 - without)];
        while reached.len() < MOST_HOPS && new * n > 0.5 {
            let after = without * (-k * new).exp();
            (new, without) = (without - after, after);
            reached.push(round(1.0 - without));
        }
        let rounds = n.ln() / (k + 1.0).ln() + n.ln() / k;
        Some(Self { fan_out: round(k), rounds: (rounds * 100.0).round() / 100.0, reached })
    }

    /// Returns the share of nodes, without the author, that get it after exactly `hops` hops; 0 for
    /// 0 hops and beyond the computed range.
    pub fn at(&self, hops: usize) -> f64 {
        let reached = |hops: usize| self.reached.get(hops).copied();
        let author = reached(0).unwrap_or(0.0);
        match (reached(hops), hops.checked_sub(1).and_then(reached)) {
            (Some(now), Some(before)) if author < 1.0 => (now - before) / (1.0 - author),
            _ => 0.0,
        }
    }
}

/// Rounds to six decimals, beyond which the model means nothing.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_nodes_at_fan_out_eight() {
        // Median 5 hops, 99 % by 6, nearly the last by 7.
        let theory = EpidemicModel::of(10_000, 80_000).expect("pushes");
        assert_eq!(theory.fan_out, 8.0);
        assert_eq!(theory.rounds, 5.34);
        let by = |hops: usize| theory.reached[hops];
        assert!(by(4) < 0.5 && by(5) > 0.5, "{:?}", theory.reached);
        assert!(by(5) < 0.99 && by(6) > 0.99, "{:?}", theory.reached);
        assert!((0.9995..1.0).contains(&by(7)), "{:?}", theory.reached);
        let all: f64 = (0..70).map(|hops| theory.at(hops)).sum();
        assert!((0.999..=1.0).contains(&all), "{all}");
    }

    #[test]
    fn nothing_is_said_where_nothing_is_pushed() {
        assert_eq!(EpidemicModel::of(1, 5), None);
        assert_eq!(EpidemicModel::of(5, 0), None);
        assert!(EpidemicModel::of(1_000_000, 1).expect("slow").reached.len() <= MOST_HOPS);
    }
}
