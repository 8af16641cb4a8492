//! Reads Rust source just far enough to say which names and which of our modules a file uses.
//!
//! It is a text scan, not a compiler: comments and literals are taken out, the rest becomes words, and paths are resolved
//! from `crate`, `stepback` and `super`. Where it cannot tell it says more, never less: a name counts wherever it stands.
//! What it cannot see are names that a macro puts together.

use std::collections::BTreeSet;

/// What a file uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Every identifier; a macro's with its `!`.
    pub names: BTreeSet<String>,
    /// The first segment of every path from the crate's root: `journal` of `crate::journal::Entry`; `*` for all of them,
    /// which is a glob, or the root under another name.
    pub modules: BTreeSet<String>,
}

/// What a file with this text uses. `module` is where it stands: `["database", "ledger", "goose"]`, empty for the root.
pub fn uses(text: &str, module: &[&str]) -> Uses {
    let words = words(text);
    let mut uses = Uses::default();
    // Where inline modules opened, as depths of braces: within them `super` is one level less far up.
    let mut inline: Vec<usize> = vec![];
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" => {
                if at >= 2 && words[at - 2] == "mod" {
                    inline.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "crate" | "super" | "self" | "stepback" if at == 0 || words[at - 1] != "::" => {
                let place = module.len() + inline.len();
                path(
                    &words,
                    at,
                    if word == "crate" || word == "stepback" {
                        0
                    } else {
                        place
                    },
                    &mut uses.modules,
                );
            }
            _ => {}
        }
        if word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            let macro_call =
                words.get(at + 1).is_some_and(|next| next == "!") && words.get(at + 2) != Some(&"=".into());
            uses.names
                .insert(if macro_call { format!("{word}!") } else { word.clone() });
        }
    }
    uses
}

/// Follows a path or a tree of them from its first word, `level` modules below the root, and notes what it takes from the
/// root. Returns where the path ends.
fn path(words: &[String], at: usize, level: usize, taken: &mut BTreeSet<String>) -> usize {
    let word = words.get(at).map(String::as_str).unwrap_or_default();
    let level = match word {
        "super" => level.saturating_sub(1),
        _ => level,
    };
    if words.get(at + 1).map(String::as_str) != Some("::") {
        // `use crate as root` and `use super::{self as root}` give the root another name.
        if level == 0
            && matches!(word, "crate" | "super" | "self")
            && words.get(at + 1).is_some_and(|next| next == "as")
        {
            taken.insert("*".to_owned());
        }
        return at + 1;
    }
    match words.get(at + 2).map(String::as_str) {
        Some("super" | "self") => path(words, at + 2, level, taken),
        Some("{") => {
            let mut at = at + 3;
            while let Some(word) = words.get(at) {
                at = match word.as_str() {
                    "}" => return at + 1,
                    "super" | "self" => path(words, at, level, taken),
                    "," => at + 1,
                    "as" => at + 2,
                    name => {
                        if level == 0 {
                            taken.insert(name.to_owned());
                        }
                        skip_tree(words, at)
                    }
                };
            }
            at
        }
        Some(name) => {
            if level == 0 {
                taken.insert(name.to_owned());
            }
            at + 3
        }
        None => at + 2,
    }
}

/// The end of one entry of a `use` tree, braces within it included: its comma or the closing brace of the tree.
fn skip_tree(words: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "," if depth == 0 => return at,
            "}" if depth == 0 => return at,
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The words of a source text: identifiers, `::`, and single marks; no comments, no literals.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    let mut words = vec![];
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c == '/' && is(at + 1, '/') {
            at = (at..chars.len()).find(|&at| chars[at] == '\n').unwrap_or(chars.len());
        } else if c == '/' && is(at + 1, '*') {
            at = end_of_comment(&chars, at);
        } else if c == '"' {
            at = end_of_string(&chars, at + 1);
        } else if c == '\'' {
            // A character; or a lifetime, of which only the mark is left out.
            at = match (is(at + 1, '\\'), is(at + 2, '\'')) {
                (true, _) => (at + 3..chars.len())
                    .find(|&at| chars[at] == '\'')
                    .map_or(chars.len(), |end| end + 1),
                (false, true) => at + 3,
                (false, false) => at + 1,
            };
        } else if c.is_alphanumeric() || c == '_' {
            let end = (at..chars.len()).find(|&at| !(chars[at].is_alphanumeric() || chars[at] == '_'));
            let end = end.unwrap_or(chars.len());
            let word: String = chars[at..end].iter().collect();
            let hashes = (end..chars.len()).take_while(|&at| chars[at] == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && is(end + hashes, '"') {
                at = end_of_raw_string(&chars, end + hashes + 1, hashes);
            } else if word == "r" && hashes == 1 {
                // A raw identifier is the identifier.
                at = end + 1;
            } else {
                words.push(word);
                at = end;
            }
        } else if c == ':' && is(at + 1, ':') {
            words.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
            at += 1;
        }
    }
    words
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn end_of_raw_string(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        let closing = chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
        at += 1;
        if closing {
            return at + hashes;
        }
    }
    at
}
