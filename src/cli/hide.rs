//! A URL that was typed where none belongs, taken out of what is said about it: it may hold a password.
//!
//! Not for URLs that are known to be such: they are shown by `database::redact`.

use std::ffi::OsString;
use std::io::Write as _;
use std::ops::Range;

/// Schemes of databases, which are known also where the `//` behind them is missing.
const SCHEMES: [&str; 5] = ["postgres:", "postgresql:", "sqlite:", "mysql:", "mariadb:"];

/// What is said wherever something was hidden.
pub(super) const BELONGS: &str = "a URL belongs behind --url, or into DATABASE_URL";

/// Says what clap finds wrong, or its help.
pub(super) fn print(error: &clap::Error, typed: &[OsString]) {
    let plain = error.render().to_string();
    let hidden = hide(&hide_typed(&plain, typed));
    let is_url = |word: &OsString| {
        let word = word.to_string_lossy();
        SCHEMES.iter().any(|scheme| word.starts_with(scheme)) && plain.contains(&*word)
    };
    // Help goes to standard output, and a reader that is gone is no error.
    if hidden == plain && !(error.use_stderr() && typed.iter().any(is_url)) {
        drop(error.print());
    } else {
        drop(write!(std::io::stderr(), "{hidden}\n  tip: {BELONGS}\n"));
    }
}

/// The text without the URLs in it that may hold a password.
pub(super) fn hide(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    words.map(|word| hide_one(word, word)).collect()
}

/// A word that was typed can hold blanks, which none in a text can.
fn hide_typed(text: &str, typed: &[OsString]) -> String {
    typed
        .iter()
        .filter(|word| word.to_string_lossy().contains(char::is_whitespace))
        .fold(text.to_owned(), |text, word| hide_one(&text, &word.to_string_lossy()))
}

pub(super) fn hide_one(text: &str, word: &str) -> String {
    match secret_in(word) {
        Some(secret) => text.replace(&word[secret], "//(hidden)"),
        None => text.to_owned(),
    }
}

/// Where in the word what follows a URL's scheme is, if a password may be in it.
fn secret_in(word: &str) -> Option<Range<usize>> {
    let known = SCHEMES
        .iter()
        .filter_map(|scheme| Some(word.find(scheme)? + scheme.len()));
    let start = known.min().or_else(|| Some(word.find("://")? + 1))?;
    let rest = &word[start..];
    let in_front = rest.rsplit_once('@').is_some_and(|(user, _)| {
        let written = user.strip_prefix("//").unwrap_or(user);
        written.contains([':', '?']) || written.len() == user.len()
    });
    let behind = rest
        .split_once('?')
        .is_some_and(|(_, parameters)| parameters.to_ascii_lowercase().contains("pass"));
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ',' | ';' | ')');
    (in_front || behind).then(|| start..start + rest.trim_end_matches(ends).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hidden_wherever_the_url_stands() {
        for (text, shown) in [
            (
                "error: unexpected argument 'postgres://shop:hunter2@h/db' found",
                "error: unexpected argument 'postgres://(hidden)' found",
            ),
            (
                "cannot read /a/postgres:/postgres:hunter2@127.0.0.1/t1",
                "cannot read /a/postgres://(hidden)",
            ),
            (
                "there is no run postgres:shop:hunter2@h:5432/db",
                "there is no run postgres://(hidden)",
            ),
            ("`--to=amqp://u:hunter2@h`, no", "`--to=amqp://(hidden)`, no"),
            ("postgres://h/db?sslmode=x&PASSWORD=hunter2\n", "postgres://(hidden)\n"),
            ("postgres://shop@h/db?x=hunter2@1", "postgres://(hidden)"),
        ] {
            assert_eq!(hide(text), shown);
        }
        let typed = ["--config=postgres://u:hunt er2@h".into()];
        assert_eq!(
            hide_typed("no 'postgres://u:hunt er2@h'", &typed),
            "no 'postgres://(hidden)'"
        );
    }

    #[test]
    fn what_holds_no_password_stays() {
        for text in [
            "cannot reach postgres://shop@127.0.0.1:1/shop: refused",
            "write sqlite://FILE or postgres://USER@HOST/DATABASE",
            "postgres://shop@(hidden), or\n  sqlite:shop.db; https://10.0.0.1:6443/api?timeout=30s",
            "ada@example.org: no",
        ] {
            assert_eq!(hide(text), text);
        }
    }
}
