//! Text for people: on standard output, wrapped, without what a terminal would obey.

use std::io::{ErrorKind, Write};

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// How many characters fit on a line: `COLUMNS`, else 100.
pub(super) fn columns() -> usize {
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(100);
    columns.clamp(40, 160)
}

/// `text` in lines of at most `width` characters, each after `indent`; longer words stand alone. White space becomes
/// single spaces, and control characters are replaced, since a stored text must not steer the terminal.
pub(super) fn wrap(text: &str, indent: &str, width: usize) -> String {
    let width = width.saturating_sub(indent.chars().count()).max(1);
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let word = plain(word);
        let length = word.chars().count();
        if used > 0 && used + 1 + length <= width {
            lines.push(' ');
            used += 1 + length;
        } else {
            if used > 0 {
                lines.push('\n');
            }
            lines.push_str(indent);
            used = length;
        }
        lines.push_str(&word);
    }
    lines
}

/// `text` with control characters replaced.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_the_width_and_words_stay_whole() {
        let wrapped = wrap("one two  three\nfour unbreakable-word x", "  ", 11);
        assert_eq!(wrapped, "  one two\n  three\n  four\n  unbreakable-word\n  x");
        assert_eq!(wrap("", "  ", 11), "");
        assert_eq!(wrap("äö üß", "", 5), "äö üß", "characters count, not bytes");
    }

    #[test]
    fn a_stored_text_cannot_steer_the_terminal() {
        assert_eq!(wrap("a\u{1b}[2Jb \u{7}", "", 80), "a\u{fffd}[2Jb \u{fffd}");
    }
}
