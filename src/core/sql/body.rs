//! Statements that hold statements: whether a semicolon is inside of a body.
//!
//! Sources: PostgreSQL `src/fe_utils/psqlscan.l` (the words it counts), SQLite `src/complete.c` (its automaton), MySQL
//! manual 15.6 (compound statements). None of this is a parser: it follows the words that open and close bodies.

use super::lex::{Kind, Token};
use crate::model::Engine;

/// Follows the tokens of one statement.
pub(super) enum Body {
    Postgres(Postgres),
    Sqlite(Sqlite),
    Mysql(Mysql),
}

impl Body {
    pub(super) fn new(dialect: Engine) -> Self {
        match dialect {
            Engine::Postgres => Self::Postgres(Postgres::default()),
            Engine::Sqlite => Self::Sqlite(Sqlite::Start),
            Engine::Mysql | Engine::Mariadb => Self::Mysql(Mysql::default()),
        }
    }

    /// Takes the next token, which is neither white space nor a comment. The answer is whether it ends the statement:
    /// only a semicolon does.
    pub(super) fn ends_with(&mut self, token: &Token<'_>) -> bool {
        match self {
            Self::Postgres(body) => body.ends_with(token),
            Self::Sqlite(body) => body.ends_with(token),
            Self::Mysql(body) => body.ends_with(token),
        }
    }

    /// Whether the text may end here.
    pub(super) fn is_closed(&mut self) -> bool {
        match self {
            Self::Postgres(body) => body.depth == 0 && body.parens == 0,
            Self::Sqlite(body) => !matches!(body, Sqlite::Trigger | Sqlite::TriggerSemicolon),
            Self::Mysql(body) => {
                body.resolve_end(None);
                body.depth == 0
            }
        }
    }
}

/// psql counts parentheses (rules hold statements in them) and, in `CREATE FUNCTION` and `CREATE PROCEDURE`, the words
/// `BEGIN`, `CASE` and `END`.
#[derive(Default)]
pub(super) struct Postgres {
    /// The first four words.
    first: Vec<String>,
    parens: usize,
    depth: usize,
}

impl Postgres {
    fn ends_with(&mut self, token: &Token<'_>) -> bool {
        match token.text {
            "(" => self.parens += 1,
            ")" => self.parens = self.parens.saturating_sub(1),
            ";" if token.kind == Kind::Symbol => return self.parens == 0 && self.depth == 0,
            _ if token.kind == Kind::Word => {
                if self.first.len() < 4 {
                    self.first.push(token.text.to_ascii_lowercase());
                }
                if self.parens == 0 && self.is_routine() {
                    self.count(token);
                }
            }
            _ => {}
        }
        false
    }

    fn is_routine(&self) -> bool {
        let first: Vec<_> = self.first.iter().map(String::as_str).collect();
        matches!(
            first[..],
            ["create", "function" | "procedure", ..] | ["create", "or", "replace", "function" | "procedure", ..]
        )
    }

    fn count(&mut self, token: &Token<'_>) {
        if token.is_word("begin") || token.is_word("case") && self.depth > 0 {
            self.depth += 1;
        } else if token.is_word("end") {
            self.depth = self.depth.saturating_sub(1);
        }
    }
}

/// A trigger ends with `; END ;`, everything else with `;`.
pub(super) enum Sqlite {
    Start,
    Explain,
    Create,
    Plain,
    Trigger,
    /// A semicolon in a trigger.
    TriggerSemicolon,
    /// The `END` after it.
    TriggerEnd,
}

impl Sqlite {
    fn ends_with(&mut self, token: &Token<'_>) -> bool {
        let is_semicolon = token.is_symbol(';');
        let is = |word| token.is_word(word);
        *self = match self {
            Self::Trigger | Self::TriggerSemicolon if is_semicolon => Self::TriggerSemicolon,
            Self::TriggerSemicolon if is("end") => Self::TriggerEnd,
            Self::Trigger | Self::TriggerSemicolon => Self::Trigger,
            Self::TriggerEnd if !is_semicolon => Self::Trigger,
            _ if is_semicolon => return true,
            Self::Start if is("explain") => Self::Explain,
            Self::Explain if is("query") || is("plan") => Self::Explain,
            Self::Start | Self::Explain if is("create") => Self::Create,
            Self::Create if is("temp") || is("temporary") => Self::Create,
            Self::Create if is("trigger") => Self::Trigger,
            _ => Self::Plain,
        };
        false
    }
}

/// Compound statements of MySQL and MariaDB where no `DELIMITER` marks them: `BEGIN` and `CASE` are counted to their
/// `END`. `IF`, `LOOP`, `WHILE` and `REPEAT` lie inside of a `BEGIN` and need no counting, except where one of them is the
/// whole body.
#[derive(Default)]
pub(super) struct Mysql {
    kind: Routine,
    depth: usize,
    /// The body is an `IF`, `LOOP`, `WHILE` or `REPEAT` itself.
    is_bare: bool,
    /// An `END` whose next word is not known yet.
    after_end: bool,
    /// The last two tokens, upper case.
    previous: [String; 2],
}

#[derive(Default, PartialEq, Eq)]
enum Routine {
    #[default]
    Start,
    /// After `CREATE` or `ALTER`.
    Undecided,
    Yes,
    No,
}

const BLOCKS: [&str; 4] = ["IF", "LOOP", "WHILE", "REPEAT"];
const OTHER_OBJECTS: [&str; 12] = [
    "TABLE",
    "VIEW",
    "INDEX",
    "DATABASE",
    "SCHEMA",
    "USER",
    "ROLE",
    "SERVER",
    "SEQUENCE",
    "TABLESPACE",
    "LOGFILE",
    "RESOURCE",
];

impl Mysql {
    fn ends_with(&mut self, token: &Token<'_>) -> bool {
        let word = match token.kind {
            Kind::Word => token.text.to_ascii_uppercase(),
            Kind::Symbol => token.text.to_owned(),
            _ => String::new(),
        };
        let is_taken = self.resolve_end(Some(&word));
        if word == ";" && self.depth == 0 {
            return true;
        }
        if !is_taken {
            self.follow(&word);
        }
        self.previous.rotate_left(1);
        self.previous[1] = word;
        false
    }

    /// Settles what an `END` closed, now that the next token is known; whether that token belonged to it.
    fn resolve_end(&mut self, next: Option<&str>) -> bool {
        if !std::mem::take(&mut self.after_end) {
            return false;
        }
        let is_block = next.is_some_and(|next| BLOCKS.contains(&next));
        if !is_block || self.is_bare {
            self.depth = self.depth.saturating_sub(1);
            self.is_bare &= self.depth > 0;
        }
        is_block || next == Some("CASE")
    }

    fn follow(&mut self, word: &str) {
        match self.kind {
            Routine::Start if matches!(word, "CREATE" | "ALTER") => self.kind = Routine::Undecided,
            // MariaDB: a compound statement of its own.
            Routine::Start if word == "BEGIN" => self.kind = Routine::Start,
            Routine::Start if word == "NOT" && self.previous[1] == "BEGIN" => {
                (self.kind, self.depth) = (Routine::Yes, 1);
            }
            Routine::Start => self.kind = Routine::No,
            Routine::Undecided if matches!(word, "PROCEDURE" | "FUNCTION" | "TRIGGER" | "EVENT") => {
                self.kind = Routine::Yes;
            }
            Routine::Undecided if OTHER_OBJECTS.contains(&word) => self.kind = Routine::No,
            Routine::Yes => self.count(word),
            Routine::Undecided | Routine::No => {}
        }
    }

    fn count(&mut self, word: &str) {
        match word {
            "BEGIN" | "CASE" => self.depth += 1,
            "END" if self.depth > 0 => self.after_end = true,
            _ if BLOCKS.contains(&word) && self.depth == 0 && self.body_begins() => {
                (self.depth, self.is_bare) = (1, true);
            }
            _ if BLOCKS.contains(&word) && self.is_bare && self.statement_begins() => self.depth += 1,
            _ => {}
        }
    }

    /// Whether the body of the routine can begin here.
    fn body_begins(&self) -> bool {
        let [before, last] = &self.previous;
        matches!(
            last.as_str(),
            "ROW" | "DO" | ")" | ":" | "DETERMINISTIC" | "SQL" | "DATA" | "DEFINER" | "INVOKER"
        ) || matches!(before.as_str(), "FOLLOWS" | "PRECEDES" | "COMMENT")
    }

    /// Whether a statement of the body can begin here.
    fn statement_begins(&self) -> bool {
        matches!(
            self.previous[1].as_str(),
            ";" | "BEGIN" | "THEN" | "ELSE" | "DO" | "LOOP" | "REPEAT" | ":"
        )
    }
}
