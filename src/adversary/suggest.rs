//! Suggests the nearest word for a misspelled one.

/// The candidate nearest to `word`, if at most a third of its length (or two edits) away.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let near = |candidate: &str| {
        let candidate: Vec<char> = candidate.chars().take(64).collect();
        let edits = distance(&word, &candidate);
        let shared = edits < candidate.len().max(word.len());
        (shared && edits <= (candidate.len() / 3).max(2)).then_some(edits)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((near(candidate)?, candidate)))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Number of edits (insert, delete, replace, swap of adjacent characters) that turn `a` into `b`:
/// optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
    }
}
