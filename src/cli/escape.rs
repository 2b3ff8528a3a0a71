//! Makes text from peers safe for a terminal.

/// Cuts the text to `most` characters, and escapes everything that could move the cursor, change a
/// colour or reorder a line.
pub(super) fn escape(text: &str, most: usize) -> String {
    let mut safe = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            safe.push('…');
            break;
        }
        if c.is_control() || reorders(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Shows a payload as text if it is UTF-8, else as hex.
pub(super) fn payload(bytes: &[u8], most: usize) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => escape(text, most),
        Err(_) => {
            let cut = bytes.get(..most / 2).unwrap_or(bytes);
            let more = if cut.len() < bytes.len() { "…" } else { "" };
            format!("0x{}{more}", crate::crypto::hex(cut))
        }
    }
}

/// Whether a character is invisible or changes the direction of text.
fn reorders(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Quotes text for a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=+@%,^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
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
        assert_eq!(payload(&[0xff, 0x00], 10), "0xff00");
        assert_eq!(payload(&[0xff; 9], 4), "0xffff…");
    }

    #[test]
    fn a_shell_reads_back_what_is_quoted() {
        assert_eq!(quoted("net.loss=0.1"), "net.loss=0.1");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        let nasty = "load.0.publishers={count=1} # it's \"$HOME\" `x`";
        let script = format!("printf %s {}", quoted(nasty));
        let printed =
            std::process::Command::new("sh").args(["-c", &script]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&printed.stdout), nasty);
    }
}
