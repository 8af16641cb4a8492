//! Texts that may hold anything, as YAML that holds them.

/// A scalar: plain where nothing else could be meant by it, else in double quotes, which YAML reads as JSON does.
pub(super) fn scalar(text: &str) -> String {
    let is_word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
    };
    let means_else = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_release = text.parse::<semver::Version>().is_ok() && !text.contains('+');
    if is_release || (is_word(text) && !means_else.contains(&text.to_ascii_lowercase().as_str())) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Also what YAML takes for a line break or does not print.
            c if c.is_control() || ('\u{2028}'..='\u{2029}').contains(&c) || c == '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A comment of as many lines as it takes.
pub(super) fn comment(indent: usize, text: &str) -> String {
    let plain = |c: char| !(c.is_control() || ('\u{2028}'..='\u{2029}').contains(&c) || c == '\u{feff}');
    let text: String = text.chars().map(|c| if plain(c) { c } else { ' ' }).collect();
    let mut lines = String::new();
    for line in crate::report::wrap(&text, 100) {
        lines.push_str(format!("{}# {line}", " ".repeat(indent)).trim_end());
        lines.push('\n');
    }
    lines
}

/// The text as a name that Kubernetes takes (RFC 1123 label), as near as it gets; `app` where nothing is left.
pub(super) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            label.push(c);
        } else if !label.ends_with('-') && !label.is_empty() {
            label.push('-');
        }
    }
    label.truncate(63);
    let label = label.trim_end_matches('-');
    if label.is_empty() {
        return "app".to_owned();
    }
    // YAML would read some of these as something else than a text; the parser of the app file would not, editors do.
    scalar(label)
}
