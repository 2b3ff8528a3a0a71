//! Why a scenario is refused, and at which position.

use thiserror::Error;

use crate::adversary::nearest;

/// Why a scenario is refused. Displayed as `line 3, column 1: unknown key …`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{why}", place(*line, *column))]
pub struct ScenarioError {
    /// Line of the file, from 1; 0 if the error is not at a line, such as one in an overlay.
    pub line: usize,
    /// Column of that line in characters, from 1; 0 if `line` is 0.
    pub column: usize,
    /// What is wrong and what would be right, with the nearest name for a misspelt one.
    pub why: String,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// The file, at this byte offset.
    Text(usize),
    /// The overlay with this index.
    Overlay(usize),
}

/// An error in the value at a position.
#[derive(Debug)]
pub(super) struct Wrong {
    pub at: At,
    pub why: String,
}

impl Wrong {
    pub(super) fn new(at: At, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }

    /// Adds the line and column, or the overlay, that the error comes from.
    pub(super) fn locate(self, text: &str, overlays: &[String]) -> ScenarioError {
        match self.at {
            At::Text(offset) => {
                let before = text.get(..offset).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                let start = before.rfind('\n').map_or(0, |end| end + 1);
                let column = before[start..].chars().count() + 1;
                ScenarioError { line, column, why: self.why }
            }
            At::Overlay(number) => {
                let overlay = overlays.get(number).map(|text| shown(text)).unwrap_or_default();
                let why = format!("--set {overlay}: {}", self.why);
                ScenarioError { line: 0, column: 0, why }
            }
        }
    }
}

pub(super) fn wrong<T>(at: At, why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::new(at, why))
}

/// Formats a user's text for a message: cut to 80 characters, unprintable ones escaped.
pub(super) fn shown(text: &str) -> String {
    let plain = |c: char| match c {
        '"' | '\'' => c.to_string(),
        _ => c.escape_debug().to_string(),
    };
    text.chars().take(80).map(plain).collect()
}

/// Returns `; did you mean …?` if one of the candidates is near, else an empty string.
pub(super) fn meant<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a = 1\nähm = 2\n";
        let error = |offset| Wrong::new(At::Text(offset), "x").locate(text, &[]);
        assert_eq!((error(0).line, error(0).column), (1, 1));
        assert_eq!((error(6).line, error(6).column), (2, 1));
        assert_eq!((error(11).line, error(11).column), (2, 5));
        assert_eq!(error(7), error(999), "outside, or inside of a character: the end");
        assert_eq!(error(6).to_string(), "line 2, column 1: x");
        let error = Wrong::new(At::Overlay(0), "x").locate(text, &["a\n=1".to_owned()]);
        assert_eq!(error.to_string(), "--set a\\n=1: x");
    }
}
