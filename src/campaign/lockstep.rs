//! Runs the same seed twice in lockstep and compares the run digests.

use std::fmt;

use crate::crypto::Digest;

/// A run that can be advanced event by event.
pub trait Steps {
    /// Processes one event; returns `false` once the run is over.
    fn step(&mut self) -> bool;
    /// The run digest over every event so far.
    fn digest(&self) -> Digest;
    /// The last event, in words.
    fn event(&self) -> String;
}

/// The first event at which two runs of one seed differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Number of the event, from 1.
    pub event: u64,
    /// The event in the first run; `None` if that run was over.
    pub first: Option<String>,
    /// The event in the second run; `None` if that run was over.
    pub second: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |event: &Option<String>| event.clone().unwrap_or_else(|| "ended".into());
        let (first, second) = (words(&self.first), words(&self.second));
        write!(f, "event {} differs:\n  first run   {first}\n  second run  {second}", self.event)?;
        if first == second {
            write!(f, "\n  both look alike here: they differ in bytes that are not shown")?;
        }
        Ok(())
    }
}

/// Runs both to their ends and compares their digests after every event. Calls `watch` with the
/// number of events so far, which stops both runs by returning `false`. Returns the number of
/// events.
///
/// # Errors
/// The first event that differs.
pub fn lockstep<S: Steps>(
    first: &mut S,
    second: &mut S,
    mut watch: impl FnMut(&S, u64) -> bool,
) -> Result<u64, Difference> {
    let mut events = 0;
    loop {
        let going = (first.step(), second.step());
        if going == (false, false) && first.digest() == second.digest() {
            return Ok(events);
        }
        events += 1;
        if going != (true, true) || first.digest() != second.digest() {
            // If neither run goes on, the digests differ before the first event or at the end.
            let words = |going: bool, run: &S| going.then(|| run.event());
            let (one, two) = (words(going.0, first), words(going.1, second));
            return Err(Difference { event: events, first: one, second: two });
        }
        if !watch(first, events) {
            return Ok(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::sim::Sim;

    /// Counts to its length; at `odd`, it does something else.
    struct Count {
        done: u64,
        length: u64,
        odd: Option<u64>,
        digest: Digest,
    }

    impl Count {
        fn new(length: u64, odd: Option<u64>) -> Self {
            Self { done: 0, length, odd, digest: Digest::ZERO }
        }
    }

    impl Steps for Count {
        fn step(&mut self) -> bool {
            if self.done == self.length {
                return false;
            }
            self.done += 1;
            self.digest = Digest::of(&[&self.digest.0, self.event().as_bytes()]);
            true
        }

        fn digest(&self) -> Digest {
            self.digest
        }

        fn event(&self) -> String {
            let odd = if self.odd == Some(self.done) { " oddly" } else { "" };
            format!("event {}{odd}", self.done)
        }
    }

    fn compare(mut first: Count, mut second: Count) -> Result<u64, Difference> {
        lockstep(&mut first, &mut second, |_, _| true)
    }

    #[test]
    fn equal_runs_are_equal_to_their_end() {
        assert_eq!(compare(Count::new(9, None), Count::new(9, None)), Ok(9));
        assert_eq!(compare(Count::new(0, None), Count::new(0, None)), Ok(0));
    }

    #[test]
    fn the_first_difference_is_told_in_words() {
        let difference = compare(Count::new(9, None), Count::new(9, Some(4))).expect_err("differs");
        let first = Some("event 4".into());
        let second = Some("event 4 oddly".into());
        assert_eq!(difference, Difference { event: 4, first, second });
        let text = difference.to_string();
        assert!(text.contains("event 4 differs") && text.contains("oddly"), "{text}");
    }

    #[test]
    fn two_simulated_runs_that_part_in_one_byte_are_told_apart_where_they_part() {
        let sim = |size: u32| {
            let text = format!(
                "name = 'x'\n[mesh]\nnodes = 4\n[[load]]\nrate = 10\ncount = 3\nsize = {size}\n"
            );
            Sim::new(&Scenario::parse(&text, &[]).expect("a scenario"), 1)
        };
        assert!(lockstep(&mut sim(9), &mut sim(9), |_, _| true).expect("the same") > 200);
        let difference = lockstep(&mut sim(9), &mut sim(10), |_, _| true).expect_err("differs");
        // Linking is the same; what differs first is a frame that carries or names the message.
        assert!(difference.event > 20, "{difference}");
        let words = |event: &Option<String>| {
            event.as_ref().is_some_and(|e| e.contains(" push ") || e.contains(" announce "))
        };
        assert!(words(&difference.first) && words(&difference.second), "{difference}");
    }

    #[test]
    fn a_run_that_ends_early_differs() {
        let difference = compare(Count::new(3, None), Count::new(2, None)).expect_err("differs");
        assert_eq!((difference.event, difference.second), (3, None));
        let difference = compare(Count::new(2, None), Count::new(3, None)).expect_err("differs");
        assert_eq!((difference.event, difference.first), (3, None));
    }

    #[test]
    fn a_watcher_can_end_it() {
        let (mut first, mut second) = (Count::new(9, None), Count::new(9, Some(7)));
        assert_eq!(lockstep(&mut first, &mut second, |_, events| events < 5), Ok(5));
    }
}
