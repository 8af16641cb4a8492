//! A script to its statements.

use super::body::Body;
use super::lex::{Kind, LexError, Lexer, Token, lex, line_at, line_ends};
use crate::model::Engine;

/// One statement of a script: the exact text, without the comments before it and without what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Statement<'a> {
    /// The text; never empty.
    pub text: &'a str,
    /// Where it begins in the script, in bytes.
    pub offset: usize,
    /// The line it begins in, from 1.
    pub line: usize,
}

impl Statement<'_> {
    /// Where it ends in the script, in bytes.
    pub fn end(&self) -> usize {
        self.offset + self.text.len()
    }

    /// The tokens that count. A statement was read once to be split off, so it can be read again; should it hold what a
    /// `DELIMITER` hid, the rest is left out.
    pub(super) fn tokens(&self, dialect: Engine) -> Vec<Token<'_>> {
        let tokens = lex(self.text, dialect).unwrap_or_default();
        tokens.into_iter().filter(|token| !token.is_blank()).collect()
    }

    /// Its first line, cut to 60 characters, for messages.
    pub fn head(&self) -> String {
        let line = self.text.split(['\n', '\r']).next().unwrap_or_default();
        let mut head: String = line.chars().take(60).collect();
        if head.len() < self.text.len() {
            head.push('…');
        }
        head
    }
}

/// Why a script cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote or comment that is never closed.
    #[error(transparent)]
    Open(#[from] LexError),
    /// A body without its end or, on PostgreSQL, a parenthesis that is never closed: it would take the rest of the
    /// script with it.
    #[error(
        "the statement that begins in line {line} is never finished: a parenthesis is not closed or a body has no END"
    )]
    OpenBody {
        /// Its first line.
        line: usize,
    },
    /// `DELIMITER` and nothing behind it.
    #[error("line {line}: DELIMITER without a delimiter")]
    NoDelimiter {
        /// The line.
        line: usize,
    },
}

impl SplitError {
    /// The line it is about, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Open(error) => error.line,
            Self::OpenBody { line } | Self::NoDelimiter { line } => *line,
        }
    }
}

/// The statements of a script, in order. What lies between them does nothing: white space, comments, what ends
/// statements, and `DELIMITER` lines (MySQL, MariaDB), which are for clients and never sent.
///
/// # Errors
/// When a quote, comment or body is never closed: nothing after it can be trusted.
pub fn split(text: &str, dialect: Engine) -> Result<Vec<Statement<'_>>, SplitError> {
    let mut lexer = Lexer::new(text, dialect);
    let mut statements = Vec::new();
    let mut lines = Lines {
        text,
        offset: 0,
        line: 1,
    };
    let mut body = Body::new(dialect);
    // Start and end of the statement that is being read, as far as its tokens count.
    let mut current: Option<(usize, usize)> = None;
    let has_delimiter_command = matches!(dialect, Engine::Mysql | Engine::Mariadb);
    while let Some(token) = lexer.token()? {
        if token.is_blank() {
            continue;
        }
        if has_delimiter_command && current.is_none() && token.is_word("delimiter") {
            let line = lexer.skip_line();
            let delimiter = line.split_whitespace().next();
            let no_delimiter = || SplitError::NoDelimiter {
                line: line_at(text, token.start),
            };
            lexer.set_delimiter(delimiter.ok_or_else(no_delimiter)?);
            continue;
        }
        let ends = match token.kind {
            Kind::Delimiter => true,
            _ if lexer.has_delimiter() => false,
            // A semicolon without a statement is nothing; the body must not see it.
            _ if current.is_none() && token.is_symbol(';') => true,
            _ => body.ends_with(&token),
        };
        if ends {
            if let Some((start, end)) = current.take() {
                statements.push(Statement {
                    text: &text[start..end],
                    offset: start,
                    line: lines.at(start),
                });
            }
            body = Body::new(dialect);
        } else {
            let start = current.map_or(token.start, |(start, _)| start);
            current = Some((start, token.end()));
        }
    }
    if let Some((start, end)) = current {
        let line = lines.at(start);
        if !body.is_closed() {
            return Err(SplitError::OpenBody { line });
        }
        statements.push(Statement {
            text: &text[start..end],
            offset: start,
            line,
        });
    }
    Ok(statements)
}

/// Counts lines forwards, so that a script of a million statements is read once.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl Lines<'_> {
    fn at(&mut self, offset: usize) -> usize {
        self.line += line_ends(self.text, self.offset..offset);
        self.offset = offset;
        self.line
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
