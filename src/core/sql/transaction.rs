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
    /// Two-phase commit, `COMMIT AND CHAIN` and the like.
    Other,
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
mod tests {
    use super::*;
    use crate::sql::split;

    fn unwrap(text: &str, engine: Engine) -> Result<(Vec<String>, bool), String> {
        let statements = split(text, engine).unwrap();
        let unwrapped = unwrap_outer(&statements, engine).map_err(|error| error.to_string())?;
        Ok((
            unwrapped
                .statements
                .iter()
                .map(|statement| statement.text.to_owned())
                .collect(),
            unwrapped.was_wrapped,
        ))
    }

    #[test]
    fn d8_one_outer_pair_is_taken_off() {
        for (begin, end) in [
            ("BEGIN", "COMMIT"),
            ("begin transaction", "end"),
            ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "COMMIT WORK"),
            ("BEGIN IMMEDIATE", "END TRANSACTION"),
            ("BEGIN", "COMMIT AND NO CHAIN"),
        ] {
            let text = format!("{begin}; SELECT 1; {end};");
            assert_eq!(
                unwrap(&text, Engine::Postgres),
                Ok((vec!["SELECT 1".to_owned()], true)),
                "{text}"
            );
        }
        assert_eq!(
            unwrap("SELECT 1", Engine::Sqlite),
            Ok((vec!["SELECT 1".to_owned()], false))
        );
        assert_eq!(unwrap("BEGIN; COMMIT", Engine::Sqlite), Ok((vec![], true)));
        let savepoints = "BEGIN; SAVEPOINT a; ROLLBACK TO a; RELEASE SAVEPOINT a; COMMIT";
        assert_eq!(unwrap(savepoints, Engine::Postgres).unwrap().0.len(), 3);
    }

    #[test]
    fn d8_any_other_control_refuses_with_its_line() {
        for (text, engine, control, line) in [
            ("BEGIN;\nSELECT 1", Engine::Postgres, Control::Begin, 1),
            ("SELECT 1;\nCOMMIT", Engine::Postgres, Control::Commit, 2),
            ("BEGIN; COMMIT;\nBEGIN; COMMIT", Engine::Postgres, Control::Commit, 1),
            ("SELECT 1;\nBEGIN; SELECT 2; COMMIT", Engine::Sqlite, Control::Begin, 2),
            ("BEGIN;\nROLLBACK;\nCOMMIT", Engine::Sqlite, Control::Rollback, 2),
            ("ABORT", Engine::Postgres, Control::Rollback, 1),
            (
                "DELETE FROM t; -- old note\rCOMMIT;\nSELECT 1/0",
                Engine::Postgres,
                Control::Commit,
                1,
            ),
            ("BEGIN; SELECT 1; COMMIT AND CHAIN", Engine::Postgres, Control::Begin, 1),
            ("SET autocommit = 0", Engine::Mysql, Control::Autocommit, 1),
            (
                "SET foreign_key_checks = 0, @@session.autocommit=1",
                Engine::Mariadb,
                Control::Autocommit,
                1,
            ),
            ("PREPARE TRANSACTION 'a'", Engine::Postgres, Control::Other, 1),
            ("XA START 'a'", Engine::Mysql, Control::Other, 1),
        ] {
            let statements = split(text, engine).unwrap();
            let error = unwrap_outer(&statements, engine).unwrap_err();
            assert_eq!((error.control, error.line), (control, line), "{text}");
        }
        let text = unwrap("SELECT 1;\n/* now */ COMMIT", Engine::Postgres).unwrap_err();
        assert!(
            text.starts_with("line 2: `COMMIT` would commit part of the script"),
            "{text}"
        );
    }

    #[test]
    fn words_elsewhere_control_nothing() {
        for text in [
            "SELECT 'COMMIT'",
            "DO $$ BEGIN COMMIT; END $$",
            "CREATE TABLE a (\"commit\" int)",
            "SET search_path = autocommit",
            "RELEASES",
        ] {
            let statements = split(text, Engine::Postgres).unwrap();
            assert_eq!(classify(&statements[0], Engine::Postgres), None, "{text}");
        }
        let trigger = "CREATE TRIGGER t UPDATE ON a BEGIN SELECT 1; END";
        assert_eq!(unwrap(trigger, Engine::Sqlite).unwrap().0.len(), 1);
    }

    #[test]
    fn what_cannot_run_in_a_transaction() {
        let needs = |text, engine| needs_no_transaction(&split(text, engine).unwrap()[0], engine).is_some();
        for text in [
            "VACUUM",
            "create unique index concurrently if not exists i on a (b)",
            "DROP INDEX CONCURRENTLY i",
            "REINDEX (CONCURRENTLY) TABLE a",
            "REINDEX INDEX CONCURRENTLY i",
            "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
            "CREATE DATABASE a",
            "ALTER SYSTEM SET a = 1",
            "CLUSTER",
        ] {
            assert!(needs(text, Engine::Postgres), "{text}");
        }
        for text in [
            "REFRESH MATERIALIZED VIEW CONCURRENTLY a",
            "ALTER TYPE a ADD VALUE 'b'",
            "CREATE INDEX i ON a (b)",
            "CLUSTER a USING i",
            "SELECT 'VACUUM'",
            "CREATE TABLE vacuum (a int)",
        ] {
            assert!(!needs(text, Engine::Postgres), "{text}");
        }
        assert!(needs("VACUUM", Engine::Sqlite));
        assert!(needs("ATTACH 'a' AS b", Engine::Sqlite));
        assert!(needs("PRAGMA main.journal_mode = WAL", Engine::Sqlite));
        assert!(!needs("PRAGMA journal_mode", Engine::Sqlite));
        assert!(!needs("CREATE INDEX i ON a (b)", Engine::Mysql));
    }

    #[test]
    fn the_marker_stands_in_the_first_comments() {
        for text in [
            "-- no-transaction\nSELECT 1",
            "-- no-transaction: it builds an index\nSELECT 1",
            "\n-- why\n--stepback: no-transaction\nSELECT 1",
        ] {
            assert!(has_no_transaction_marker(text), "{text}");
        }
        for text in [
            "SELECT 1;\n-- no-transaction",
            "--no-transactions",
            "SELECT '\n-- no-transaction\n'",
        ] {
            assert!(!has_no_transaction_marker(text), "{text}");
        }
        let text = "SELECT 1;\nVACUUM";
        let statements = split(text, Engine::Postgres).unwrap();
        let why = script_needs_no_transaction(text, &statements, Engine::Postgres).unwrap();
        assert_eq!(why.to_string(), "line 2: VACUUM cannot run in a transaction");
        assert_eq!(script_needs_no_transaction("", &[], Engine::Postgres), None);
    }
}
