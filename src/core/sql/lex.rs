//! Cuts SQL into tokens that together are the whole text: every difference between the engines' quotes and comments is
//! known here and nowhere else.
//!
//! Sources: PostgreSQL `src/backend/parser/scan.l`; SQLite `src/tokenize.c`; MySQL manual 9.1.1 and 9.7. MySQL and MariaDB
//! are read in their default `sql_mode` (backslash escapes, `"` quotes a string).

use std::ops::Range;

use crate::model::Engine;

/// What a token is, as far as splitting cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Space,
    Comment,
    /// A comment whose content the server executes (`/*! … */`, MariaDB's `/*M! … */`).
    Conditional,
    /// A string constant, dollar-quoted ones included.
    Text,
    /// A quoted name.
    Name,
    /// A keyword, bare name or number.
    Word,
    /// One character of anything else.
    Symbol,
    /// What a `DELIMITER` line has put in the place of the semicolon.
    Delimiter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Byte offset in the script.
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(crate) fn is_symbol(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol && self.text.starts_with(symbol)
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether the server would do nothing about it.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self.kind, Kind::Space | Kind::Comment)
    }
}

/// What was opened and never closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// `'…'`, or `"…"` where it quotes a string.
    Text,
    /// `"…"`, `` `…` `` or `[…]`.
    Name,
    /// `$tag$ … $tag$`.
    Dollar,
    /// `/* … */`.
    Comment,
}

impl std::fmt::Display for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "string",
            Self::Name => "quoted name",
            Self::Dollar => "dollar-quoted string",
            Self::Comment => "comment",
        })
    }
}

/// A quote or comment runs to the end of the script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {opened} that begins in line {line} is never closed")]
pub struct LexError {
    /// What was opened.
    pub opened: Opened,
    /// Its line, from 1.
    pub line: usize,
    /// Its byte offset.
    pub offset: usize,
}

/// Whether a text is only white space, comments and semicolons. One that cannot be read is not blank.
pub(super) fn is_blank(text: &str, dialect: Engine) -> bool {
    lex(text, dialect).is_ok_and(|tokens| tokens.iter().all(|token| token.is_blank() || token.is_symbol(';')))
}

/// The line of a byte offset, from 1.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    line_ends(text, 0..offset) + 1
}

/// How many lines end within a range of bytes: with `\n`, with `\r\n`, or with a `\r` alone, as old Macs wrote them. Counted
/// piece by piece it is the same.
pub fn line_ends(text: &str, range: Range<usize>) -> usize {
    let bytes = text.as_bytes();
    let ends = |at: &usize| match bytes[*at] {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    range.filter(ends).count()
}

/// All tokens of a text. They are contiguous and cover it.
pub(crate) fn lex(text: &str, dialect: Engine) -> Result<Vec<Token<'_>>, LexError> {
    let mut lexer = Lexer::new(text, dialect);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

/// Reads one token after the other.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    dialect: Engine,
    at: usize,
    /// The next string continues an `E'…'` string of PostgreSQL, or follows its `E`.
    escaping: bool,
    /// Ends statements instead of the semicolon. It cuts words too: `END$$` is `END` and `$$`.
    delimiter: Option<&'a str>,
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str, dialect: Engine) -> Self {
        Self {
            text,
            dialect,
            at: 0,
            escaping: false,
            delimiter: None,
        }
    }

    /// Sets what ends statements; `;` is the usual way.
    pub(crate) fn set_delimiter(&mut self, delimiter: &'a str) {
        self.delimiter = (delimiter != ";").then_some(delimiter);
    }

    /// Whether something else than the semicolon ends statements.
    pub(crate) fn has_delimiter(&self) -> bool {
        self.delimiter.is_some()
    }

    /// The rest of the line that is being read, which is passed over.
    pub(crate) fn skip_line(&mut self) -> &'a str {
        let rest = self.rest();
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        self.at += line.len();
        line
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn is_mysql(&self) -> bool {
        matches!(self.dialect, Engine::Mysql | Engine::Mariadb)
    }

    fn error(&self, opened: Opened) -> LexError {
        LexError {
            opened,
            line: line_at(self.text, self.at),
            offset: self.at,
        }
    }

    pub(crate) fn token(&mut self) -> Result<Option<Token<'a>>, LexError> {
        if self.at >= self.text.len() {
            return Ok(None);
        }
        let (kind, len) = self.measure()?;
        let token = Token {
            kind,
            text: &self.rest()[..len],
            start: self.at,
        };
        self.at += len;
        Ok(Some(token))
    }

    /// Kind and length in bytes of the token that begins here. The length is never 0.
    fn measure(&mut self) -> Result<(Kind, usize), LexError> {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or('\0');
        let is_postgres = self.dialect == Engine::Postgres;
        if first.is_ascii_whitespace() || first == '\u{b}' {
            let is_space = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
            return Ok((Kind::Space, rest.len() - rest.trim_start_matches(is_space).len()));
        }
        if let Some(delimiter) = self.delimiter.filter(|delimiter| rest.starts_with(*delimiter)) {
            return Ok((Kind::Delimiter, delimiter.len()));
        }
        if self.begins_line_comment(rest) {
            return Ok((Kind::Comment, line_end(rest, is_postgres)));
        }
        if rest.starts_with("/*") {
            return self.block_comment(rest);
        }
        match first {
            '\'' => return self.string(rest),
            '"' if self.is_mysql() => {
                let len = quoted(rest, '"', true).ok_or_else(|| self.error(Opened::Text))?;
                return Ok((Kind::Text, len));
            }
            '"' => return self.name(rest, '"'),
            '`' if !is_postgres => return self.name(rest, '`'),
            '[' if self.dialect == Engine::Sqlite => {
                let len = rest.find(']').ok_or_else(|| self.error(Opened::Name))? + 1;
                return Ok((Kind::Name, len));
            }
            '$' if is_postgres => {
                let Some(tag) = dollar_tag(rest) else {
                    return Ok((Kind::Symbol, 1));
                };
                let body = &rest[tag.len()..];
                let len = body.find(tag).ok_or_else(|| self.error(Opened::Dollar))? + 2 * tag.len();
                return Ok((Kind::Text, len));
            }
            _ => {}
        }
        if is_word_char(first) {
            let len = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
            let len = self
                .delimiter
                .and_then(|delimiter| rest[..len].find(delimiter))
                .unwrap_or(len);
            self.escaping = is_postgres && rest[..len].eq_ignore_ascii_case("e") && rest[len..].starts_with('\'');
            return Ok((Kind::Word, len));
        }
        Ok((Kind::Symbol, first.len_utf8()))
    }

    fn begins_line_comment(&self, rest: &str) -> bool {
        if self.is_mysql() {
            // MySQL wants white space, a control character or the end after the dashes: `5--1` is 6.
            let dashes = rest.strip_prefix("--");
            return rest.starts_with('#')
                || dashes.is_some_and(|after| {
                    after
                        .chars()
                        .next()
                        .is_none_or(|c| c.is_ascii_whitespace() || c.is_control())
                });
        }
        rest.starts_with("--")
    }

    fn block_comment(&self, rest: &str) -> Result<(Kind, usize), LexError> {
        let conditional =
            self.is_mysql() && rest.starts_with("/*!") || self.dialect == Engine::Mariadb && rest.starts_with("/*M!");
        let kind = if conditional { Kind::Conditional } else { Kind::Comment };
        if self.dialect != Engine::Postgres {
            return match rest[2..].find("*/") {
                Some(close) => Ok((kind, close + 4)),
                // SQLite takes the end of the text for the end of the comment.
                None if self.dialect == Engine::Sqlite => Ok((kind, rest.len())),
                None => Err(self.error(Opened::Comment)),
            };
        }
        let (mut depth, mut at) = (1, 2);
        while depth > 0 {
            let next = rest[at..].find(['/', '*']).ok_or_else(|| self.error(Opened::Comment))?;
            at += next;
            match rest.as_bytes().get(at..at + 2) {
                Some(b"/*") => (depth, at) = (depth + 1, at + 2),
                Some(b"*/") => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        Ok((kind, at))
    }

    fn string(&mut self, rest: &str) -> Result<(Kind, usize), LexError> {
        let escapes = self.is_mysql() || self.escaping;
        let len = quoted(rest, '\'', escapes).ok_or_else(|| self.error(Opened::Text))?;
        self.escaping = self.escaping && continues(&rest[len..]);
        Ok((Kind::Text, len))
    }

    fn name(&self, rest: &str, quote: char) -> Result<(Kind, usize), LexError> {
        let len = quoted(rest, quote, false).ok_or_else(|| self.error(Opened::Name))?;
        Ok((Kind::Name, len))
    }
}

/// Where a comment that runs to the end of its line ends. PostgreSQL ends it at a carriage return too (`scan.l`:
/// `non_newline [^\n\r]`); SQLite (`tokenize.c`), MySQL and MariaDB (`sql_lex.cc`) know the line feed alone.
fn line_end(rest: &str, is_postgres: bool) -> usize {
    let is_end = |c| c == '\n' || is_postgres && c == '\r';
    rest.find(is_end).unwrap_or(rest.len())
}

/// The length of what is quoted at the start of `rest`, quotes included; a doubled quote is one quote inside.
fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            if chars.peek().is_none_or(|(_, next)| *next != quote) {
                return Some(at + quote.len_utf8());
            }
            chars.next();
        }
    }
    None
}

/// The opening `$tag$` at the start of `rest`.
fn dollar_tag(rest: &str) -> Option<&str> {
    let close = rest[1..].find('$')? + 1;
    let tag = &rest[1..close];
    let is_tag = tag.chars().all(is_word_char) && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then(|| &rest[..=close])
}

/// Whether a PostgreSQL string goes on after its closing quote: white space with a line break in it, then a quote.
fn continues(after: &str) -> bool {
    let mut rest = after;
    let mut broken = false;
    loop {
        let trimmed = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
        broken |= rest[..rest.len() - trimmed.len()].contains(['\n', '\r']);
        if !trimmed.starts_with("--") {
            return broken && trimmed.starts_with('\'');
        }
        rest = &trimmed[line_end(trimmed, true)..];
    }
}

#[cfg(test)]
#[path = "lex_tests.rs"]
mod tests;
