//! Makes text from peers or users safe inside XML and HTML.

/// Escapes markup as entities and replaces control characters, which XML does not allow, and those
/// that reorder text. The result is safe between tags and inside quoted attributes.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // Control characters, noncharacters, and characters that change the direction of text.
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                    | '\u{fffe}' | '\u{ffff}') =>
            {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// Escapes at most `most` characters of the text.
pub(super) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => xml(&text[..end]) + "…",
        None => xml(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_markup_gets_through() {
        assert_eq!(xml("<a href='x'>\"&\u{1b}\u{202e}é\n"), {
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}\u{fffd}é\n"
        });
        assert_eq!((short("abc", 3), short("<bc", 2)), ("abc".into(), "&lt;b…".into()));
    }
}
