//! The words of the file format that stand for a value.

use super::{Among, Cryptography, Start, Verdict};

/// A value that a word stands for.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every word and its meaning.
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, meaning)| *meaning == self).map_or("", |(word, _)| word)
    }
}

/// All words for a type.
pub(super) fn words<T: Word>() -> Vec<String> {
    T::WORDS.iter().map(|(word, _)| (*word).to_owned()).collect()
}

impl Word for Verdict {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("pass", Self::Pass),
        ("liveness", Self::Liveness),
        ("safety", Self::Safety),
        ("not_exercised", Self::NotExercised),
    ];
}

impl Word for Cryptography {
    const WORDS: &'static [(&'static str, Self)] =
        &[("real", Self::Real), ("modelled", Self::Modelled)];
}

impl Word for Start {
    const WORDS: &'static [(&'static str, Self)] =
        &[("linked", Self::Linked), ("cold", Self::Cold)];
}

impl Word for Among {
    const WORDS: &'static [(&'static str, Self)] =
        &[("all", Self::All), ("honest", Self::Honest), ("malicious", Self::Malicious)];
}
