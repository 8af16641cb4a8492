//! Scripts' own transaction control (LAWS D8), and what cannot run in a transaction.

use super::lex::{Kind, Token};
use super::split::Statement;
use crate::model::Engine;

/// How a statement controls the transaction it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`: stays inside of the transaction.
    Savepoint,
    /// `SET autocommit`.
    Autocommit,
    /// `BEGIN READ ONLY`: not even the ledger's row could be written.
    ReadOnly,
    /// Two-phase commit, `COMMIT AND CHAIN` and the like.
    Other,
}

/// How far a transaction of PostgreSQL is kept from others, where that is more than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// `REPEATABLE READ`.
    RepeatableRead,
    /// `SERIALIZABLE`.
    Serializable,
}

impl Isolation {
    /// As SQL says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

/// What a statement does to the transaction; nothing for nearly all.
pub fn classify(statement: &Statement<'_>, engine: Engine) -> Option<Control> {
    let tokens = statement.tokens(engine);
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| token.kind == Kind::Word)
        .map(|token| token.text.to_ascii_uppercase())
        .collect();
    // Quoted or not, a name must not be taken for a keyword in the first place.
    if tokens.first()?.kind != Kind::Word {
        return None;
    }
    let is_mysql = matches!(engine, Engine::Mysql | Engine::Mariadb);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["BEGIN", "NOT", ..] if is_mysql => None,
        ["BEGIN", ..] | ["START", "TRANSACTION", ..] => Some(Control::Begin),
        ["COMMIT" | "ROLLBACK", "PREPARED", ..] | ["PREPARE", "TRANSACTION", ..] => Some(Control::Other),
        ["ROLLBACK", ref rest @ ..] if rest.contains(&"TO") => Some(Control::Savepoint),
        ["COMMIT" | "ROLLBACK" | "END" | "ABORT", ref rest @ ..] if does_chain(rest) => Some(Control::Other),
        ["COMMIT", ..] => Some(Control::Commit),
        ["END", ..] if !is_mysql => Some(Control::Commit),
        ["ROLLBACK", ..] => Some(Control::Rollback),
        ["ABORT", ..] if engine == Engine::Postgres => Some(Control::Rollback),
        ["SAVEPOINT" | "RELEASE", ..] => Some(Control::Savepoint),
        ["XA", ..] if is_mysql => Some(Control::Other),
        ["SET", ref rest @ ..] if is_mysql && rest.contains(&"AUTOCOMMIT") => Some(Control::Autocommit),
        _ => None,
    }
}

/// `AND CHAIN` begins the next transaction, `RELEASE` ends the session; `AND NO CHAIN` and `NO RELEASE` are the usual way.
fn does_chain(rest: &[&str]) -> bool {
    let says = |word| {
        rest.iter()
            .position(|other| *other == word)
            .is_some_and(|at| at == 0 || rest[at - 1] != "NO")
    };
    says("CHAIN") || says("RELEASE")
}

/// A script without its outer transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwrapped<'a> {
    /// The statements that are left.
    pub statements: Vec<Statement<'a>>,
    /// Whether a `BEGIN … COMMIT` pair was taken off.
    pub was_wrapped: bool,
    /// The isolation level that the `BEGIN` asked for (PostgreSQL).
    pub isolation: Option<Isolation>,
}

/// Transaction control that a transactional script must not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: `{head}` {}; a script runs in one transaction, together with its ledger row, so take it out",
    .control.effect()
)]
pub struct TransactionControl {
    /// The line, from 1.
    pub line: usize,
    /// The beginning of the statement.
    pub head: String,
    /// What it is.
    pub control: Control,
}

impl Control {
    fn effect(self) -> &'static str {
        match self {
            Self::Begin => "begins a transaction that is not the whole script",
            Self::Commit => "would commit part of the script",
            Self::Rollback => "would undo part of the script",
            Self::Savepoint => "sets or uses a savepoint",
            Self::Autocommit => "changes how statements are committed",
            Self::ReadOnly => "begins a transaction that may write nothing",
            Self::Other => "controls transactions",
        }
    }
}

/// Takes off one outer `BEGIN … COMMIT` pair (LAWS D8). Savepoints may stay: they end nothing.
///
/// On SQLite take off the leading pragma first ([`super::leading_foreign_keys_pragma`]).
///
/// # Errors
/// The first other transaction control.
pub fn unwrap_outer<'a>(statements: &[Statement<'a>], engine: Engine) -> Result<Unwrapped<'a>, TransactionControl> {
    let control = |statement: Option<&Statement<'_>>| statement.and_then(|statement| classify(statement, engine));
    let was_wrapped = statements.len() > 1
        && control(statements.first()) == Some(Control::Begin)
        && control(statements.last()) == Some(Control::Commit);
    let rest = if was_wrapped {
        &statements[1..statements.len() - 1]
    } else {
        statements
    };
    let outer = statements.first().filter(|_| was_wrapped && engine == Engine::Postgres);
    let isolation = outer.map(|begin| modes(begin, engine)).transpose()?.flatten();
    for statement in rest {
        if let Some(control) = classify(statement, engine)
            && control != Control::Savepoint
        {
            return Err(TransactionControl {
                line: statement.line,
                head: statement.head(),
                control,
            });
        }
    }
    Ok(Unwrapped {
        statements: rest.to_vec(),
        was_wrapped,
        isolation,
    })
}

/// What the outer `BEGIN` asks for. `DEFERRABLE` says something of transactions alone that are `READ ONLY` too.
fn modes(begin: &Statement<'_>, engine: Engine) -> Result<Option<Isolation>, TransactionControl> {
    let tokens = begin.tokens(engine);
    let says = |word: &str| tokens.iter().any(|token| token.is_word(word));
    if says("only") {
        return Err(TransactionControl {
            line: begin.line,
            head: begin.head(),
            control: Control::ReadOnly,
        });
    }
    Ok(match () {
        () if says("serializable") => Some(Isolation::Serializable),
        () if says("repeatable") => Some(Isolation::RepeatableRead),
        () => None,
    })
}

/// Whether a script says of itself that it must not run in a transaction: one of its first comments is
/// `-- no-transaction` or `-- stepback: no-transaction`. sqlx looks at the very first bytes alone and takes whatever
/// follows them, so a script that begins so is marked too.
pub fn has_no_transaction_marker(text: &str) -> bool {
    if text.starts_with("-- no-transaction") {
        return true;
    }
    text.lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("--"))
        .filter_map(|line| line.strip_prefix("--"))
        .any(|comment| {
            let comment = comment.trim();
            let comment = comment.strip_prefix("stepback:").map_or(comment, str::trim);
            comment == "no-transaction"
        })
}

/// Why the engine refuses a statement inside of a transaction, if it does.
///
/// PostgreSQL: every `PreventInTransactionBlock` of its sources that a script can reach; `ALTER TYPE … ADD VALUE` is none
/// since 12. MySQL and MariaDB refuse nothing: their DDL commits by itself, which is another matter (LAWS D6, D9).
pub fn needs_no_transaction(statement: &Statement<'_>, engine: Engine) -> Option<&'static str> {
    let tokens = statement.tokens(engine);
    if tokens.first()?.kind != Kind::Word {
        return None;
    }
    match engine {
        Engine::Postgres => refused_by_postgres(&tokens),
        Engine::Sqlite => refused_by_sqlite(&tokens),
        Engine::Mysql | Engine::Mariadb => None,
    }
}

fn refused_by_postgres(tokens: &[Token<'_>]) -> Option<&'static str> {
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| token.kind == Kind::Word)
        .map(|token| token.text.to_ascii_uppercase())
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    // Only near the front: a column may be called so.
    let is_concurrent = words.iter().take(5).any(|word| *word == "CONCURRENTLY");
    match words[..] {
        ["VACUUM", ..] => Some("VACUUM cannot run in a transaction"),
        ["CREATE" | "DROP", "INDEX", ..] | ["CREATE", "UNIQUE", "INDEX", ..] if is_concurrent => {
            Some("CONCURRENTLY cannot run in a transaction")
        }
        ["REINDEX", ref rest @ ..]
            if is_concurrent
                || rest
                    .iter()
                    .any(|word| matches!(*word, "DATABASE" | "SYSTEM" | "SCHEMA")) =>
        {
            Some("REINDEX of this kind cannot run in a transaction")
        }
        ["ALTER", "TABLE", .., "CONCURRENTLY"] if words.contains(&"DETACH") => {
            Some("DETACH PARTITION CONCURRENTLY cannot run in a transaction")
        }
        ["CREATE" | "DROP", "DATABASE" | "TABLESPACE" | "SUBSCRIPTION", ..] | ["ALTER", "SUBSCRIPTION", ..] => {
            Some("databases, tablespaces and subscriptions cannot be made or dropped in a transaction")
        }
        ["ALTER", "DATABASE", ref rest @ ..] if rest.contains(&"TABLESPACE") => {
            Some("a database cannot change its tablespace in a transaction")
        }
        ["ALTER", "SYSTEM", ..] => Some("ALTER SYSTEM cannot run in a transaction"),
        ["CLUSTER"] | ["CLUSTER", "VERBOSE"] => Some("CLUSTER of all tables cannot run in a transaction"),
        ["DISCARD", "ALL"] => Some("DISCARD ALL cannot run in a transaction"),
        _ => None,
    }
}

fn refused_by_sqlite(tokens: &[Token<'_>]) -> Option<&'static str> {
    let is_pragma =
        |name| tokens[0].is_word("pragma") && tokens.iter().skip(1).take(3).any(|token| token.is_word(name));
    let sets = tokens.iter().any(|token| token.is_symbol('=') || token.is_symbol('('));
    match () {
        () if tokens[0].is_word("vacuum") => Some("VACUUM cannot run in a transaction"),
        () if tokens[0].is_word("attach") || tokens[0].is_word("detach") => {
            Some("databases cannot be attached or detached in a transaction")
        }
        () if sets && (is_pragma("journal_mode") || is_pragma("synchronous")) => {
            Some("this pragma cannot be changed in a transaction")
        }
        () => None,
    }
}

/// Why a script must run statement by statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTransaction {
    /// It says so.
    #[error("the script is marked no-transaction")]
    Marked,
    /// A statement of it is refused in a transaction.
    #[error("line {line}: {why}")]
    Refused {
        /// The line, from 1.
        line: usize,
        /// Why.
        why: &'static str,
    },
}

/// Whether a script cannot run in one transaction: its marker, else its first statement that would be refused there.
pub fn script_needs_no_transaction(text: &str, statements: &[Statement<'_>], engine: Engine) -> Option<NoTransaction> {
    if has_no_transaction_marker(text) {
        return Some(NoTransaction::Marked);
    }
    statements.iter().find_map(|statement| {
        let why = needs_no_transaction(statement, engine)?;
        Some(NoTransaction::Refused {
            line: statement.line,
            why,
        })
    })
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
