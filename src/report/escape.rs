//! Makes text from peers or users safe for a terminal, and inside XML and HTML.

/// Cuts the text to `most` characters, and escapes everything that could move a terminal's cursor,
/// change a colour or reorder a line.
pub fn escape(text: &str, most: usize) -> String {
    let mut safe = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            safe.push('…');
            break;
        }
        if c.is_control() || is_hidden(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a character is invisible or changes the direction of text.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Escapes markup as entities and replaces control characters, which XML does not allow, and hidden
/// ones. The result is safe between tags and inside quoted attributes.
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
            // XML does not allow the last two either.
            c if c.is_control() || is_hidden(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// Untrusted text for a page, cut to `most` characters, without markup and without URLs of other
/// hosts.
pub(super) fn cut(text: &str, most: usize) -> String {
    let escaped = match text.char_indices().nth(most) {
        Some((end, _)) => xml(&text[..end]) + "…",
        None => xml(text),
    };
    escaped.replace("://", ":&#47;&#47;")
}

/// Escapes short untrusted text for a page.
pub(super) fn safe(text: &str) -> String {
    cut(text, 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_terminal_gets_through() {
        let hostile = "a\x1b[2Jb\nc\u{202e}d\u{9b}e\u{200b}";
        let safe = escape(hostile, 100);
        assert_eq!(safe, r"a\u{1b}[2Jb\nc\u{202e}d\u{9b}e\u{200b}");
        assert_eq!(escape("héllo", 3), "hél…");
        assert_eq!(escape("hél", 3), "hél");
    }

    #[test]
    fn no_markup_gets_through() {
        assert_eq!(xml("<a href='x'>\"&\u{1b}\u{202e}é\n"), {
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}\u{fffd}é\n"
        });
        assert_eq!((cut("abc", 3), cut("<bc", 2)), ("abc".into(), "&lt;b…".into()));
        assert_eq!(safe("<a href=https://x>"), "&lt;a href=https:&#47;&#47;x&gt;");
    }
}
