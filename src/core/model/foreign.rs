//! Text that others wrote, made fit to be shown on a terminal and kept in a journal.

/// The text, line by line without what a terminal would obey or a URL's password would give away, and of this many bytes
/// at most. Its beginning is kept, without blank lines, and how much is left out is said.
pub fn presentable(text: &str, bytes: usize) -> String {
    let lines = text.lines().map(|line| hide_passwords(&plain(line)));
    let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
    let text = lines.join("\n");
    if text.len() <= bytes {
        return text;
    }
    let kept = cut(&text, bytes);
    format!("{kept} ({} more bytes)", text.len() - bytes)
}

/// The text as a terminal may show it: no escape sequences, no control characters, nothing that turns its direction.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                // Parameters, up to a letter or its like.
                Some('[') => drop(chars.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c))),
                // A title or a link, up to a bell or the next escape.
                Some(']') => drop(chars.by_ref().find(|c| matches!(c, '\u{7}' | '\u{1b}'))),
                _ => {}
            },
            '\t' | '\n' => plain.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain
}

/// Takes the password out of every URL that has one.
pub fn hide_passwords(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "\"'`<>".contains(c));
        let (url, behind) = after.split_at(end.unwrap_or(after.len()));
        match (url.find(':'), url.rfind('@')) {
            (Some(colon), Some(at)) if colon < at => {
                shown.push_str(&url[..=colon]);
                shown.push_str("(hidden)");
                shown.push_str(&url[at..]);
            }
            _ => shown.push_str(url),
        }
        rest = behind;
    }
    shown + rest
}

/// The beginning of a text of more than this many bytes, or all of it.
pub fn cut(text: &str, bytes: usize) -> String {
    let text = text.trim_end();
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_stay_lines_and_secrets_go() {
        let text = "first \u{1b}[31mred\u{1b}[0m\n  amqp://shop:hunter2@mq/a\u{1b}]0;title\u{7}";
        assert_eq!(presentable(text, 100), "first red\n  amqp://shop:(hidden)@mq/a");
        assert_eq!(presentable("one two", 3), "one… (4 more bytes)");
    }

    proptest! {
        #[test]
        fn nothing_is_longer_than_it_may_be(text in "\\PC{0,400}", bytes in 0_usize..300) {
            prop_assert!(presentable(&text, bytes).len() <= bytes + 30);
        }
    }
}
