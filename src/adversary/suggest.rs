//! Suggests the nearest word for a misspelled one.

use strsim::osa_distance;

/// The candidate nearest to `word`, if at most a third of its length (or two edits) away.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: String = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let near = |candidate: &str| {
        let candidate: String = candidate.chars().take(64).collect();
        let (edits, length) = (osa_distance(&word, &candidate), candidate.chars().count());
        let shared = edits < length.max(word.chars().count());
        (shared && edits <= (length / 3).max(2)).then_some(edits)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((near(candidate)?, candidate)))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_nothing_far_away() {
        let words = ["forge", "tamper", "drop", "flood", "delay"];
        assert_eq!(nearest("forg", words), Some("forge"));
        assert_eq!(nearest("Forge", words), Some("forge"));
        assert_eq!(nearest("dorp", words), Some("drop"));
        assert_eq!(nearest("flod", words), Some("flood"));
        assert_eq!(nearest("elephant", words), None);
        assert_eq!(nearest("", words), None);
        assert_eq!((osa_distance("kitten", "sitting"), osa_distance("ab", "ba")), (3, 1));
    }
}
