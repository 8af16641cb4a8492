//! A script made ready to run in one transaction, or the reason why it cannot.

use super::lex::{LexError, is_blank, line_at};
use super::pragma::{PragmaElsewhere, leading_foreign_keys_pragma};
use super::split::{SplitError, Statement, split};
use super::transaction::{
    Isolation, NoTransaction, TransactionControl, classify, script_needs_no_transaction, unwrap_outer,
};
use crate::model::Engine;

/// A script that runs in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactional<'a> {
    /// SQLite: what `PRAGMA foreign_keys` is set to before the transaction begins (LAWS D10); `None`: not asked for.
    pub foreign_keys: Option<bool>,
    /// Whether an outer `BEGIN … COMMIT` was taken off.
    pub was_wrapped: bool,
    /// PostgreSQL: the isolation level that its outer `BEGIN` asked for.
    pub isolation: Option<Isolation>,
    /// The statements, without an outer `BEGIN … COMMIT` and without that pragma.
    pub statements: Vec<Statement<'a>>,
}

/// Why a script cannot run in one transaction together with its ledger row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptProblem {
    /// It is not UTF-8.
    #[error("the script is not UTF-8")]
    Encoding,
    /// PostgreSQL's protocol ends a message at a NUL: the rest of the script, and our own statements after it, would not
    /// run. SQLite's interface ends a statement there.
    #[error("line {line}: the script holds a NUL character")]
    Nul {
        /// Where, from 1.
        line: usize,
    },
    /// It asks its client for rows.
    #[error("line {line}: COPY from or to the client cannot be carried out from a script; write INSERT instead")]
    CopyThroughClient {
        /// Where, from 1.
        line: usize,
    },
    /// A quote or comment is never closed.
    #[error(transparent)]
    Lex(#[from] LexError),
    /// It cannot be cut into statements.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// It holds transaction control (LAWS D8).
    #[error(transparent)]
    Control(#[from] TransactionControl),
    /// It holds a pragma that does nothing in a transaction (LAWS D10).
    #[error(transparent)]
    Pragma(#[from] PragmaElsewhere),
    /// The engine refuses a statement of it inside a transaction, or it says so itself.
    #[error("{0}; scripts outside a transaction are not carried out by this version")]
    NoTransaction(NoTransaction),
}

/// Makes a script ready. Used by the plan, which refuses what cannot run, and again by the engine that runs it.
///
/// # Errors
/// Why it cannot run in one transaction.
pub fn transactional(body: &[u8], engine: Engine) -> Result<Transactional<'_>, ScriptProblem> {
    let text = std::str::from_utf8(body).map_err(|_| ScriptProblem::Encoding)?;
    if let Some(at) = text.find('\0') {
        let line = line_at(text, at);
        return Err(ScriptProblem::Nul { line });
    }
    // What is never closed would swallow the statements that come after the script in the same message.
    let statements = split(text, engine)?;
    if engine == Engine::Postgres
        && let Some(copy) = statements
            .iter()
            .find(|statement| copies_through_client(statement.text))
    {
        return Err(ScriptProblem::CopyThroughClient { line: copy.line });
    }
    let (foreign_keys, statements) = match engine {
        Engine::Sqlite => {
            let hoisted = leading_foreign_keys_pragma(&statements)?;
            (hoisted.value, hoisted.rest)
        }
        _ => (None, statements),
    };
    let unwrapped = unwrap_outer(&statements, engine)?;
    if let Some(why) = script_needs_no_transaction(text, &unwrapped.statements, engine) {
        return Err(ScriptProblem::NoTransaction(why));
    }
    Ok(Transactional {
        foreign_keys,
        was_wrapped: unwrapped.was_wrapped,
        isolation: unwrapped.isolation,
        statements: unwrapped.statements,
    })
}

/// Whether carrying a script out would do nothing: it holds no statement but those that control its own transaction, and on
/// SQLite the `PRAGMA foreign_keys` that is hoisted out of it. What cannot be carried out at all is not empty, unless there
/// is only white space, comments and semicolons in it.
pub fn is_empty(text: &str, engine: Engine) -> bool {
    // A savepoint ends nothing, so it is left in.
    is_blank(text, engine)
        || transactional(text.as_bytes(), engine)
            .is_ok_and(|ready| ready.statements.iter().all(|one| classify(one, engine).is_some()))
}

fn copies_through_client(statement: &str) -> bool {
    let mut words = statement
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("copy"))
        && words.any(|word| word.eq_ignore_ascii_case("stdin") || word.eq_ignore_ascii_case("stdout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str, engine: Engine) -> Result<(Option<bool>, Vec<String>), ScriptProblem> {
        let ready = transactional(body.as_bytes(), engine)?;
        Ok((
            ready.foreign_keys,
            ready.statements.iter().map(|s| s.text.trim().to_owned()).collect(),
        ))
    }

    #[test]
    fn d10_the_pragma_is_hoisted_out_of_the_transaction() {
        let body = "PRAGMA foreign_keys=OFF;\nBEGIN;\nDROP TABLE a;\nCOMMIT;\nPRAGMA foreign_keys=ON;";
        let (foreign_keys, statements) = texts(body, Engine::Sqlite).unwrap();
        assert_eq!(foreign_keys, Some(false));
        assert_eq!(statements.len(), 1);
        assert!(statements[0].starts_with("DROP TABLE a"));
        assert!(matches!(
            texts("DROP TABLE a; PRAGMA foreign_keys=OFF; DROP TABLE b;", Engine::Sqlite),
            Err(ScriptProblem::Pragma(_))
        ));
    }

    #[test]
    fn empty_is_what_runs_no_statement_of_its_own() {
        for empty in [
            "",
            "-- nothing\n;",
            "BEGIN; -- stub\nCOMMIT;",
            "begin transaction; savepoint a; release savepoint a; end;",
            "-- no-transaction\n",
        ] {
            for engine in [Engine::Postgres, Engine::Sqlite] {
                assert!(is_empty(empty, engine), "{empty} {engine:?}");
            }
        }
        for empty in [
            "PRAGMA foreign_keys = OFF;",
            "PRAGMA foreign_keys=OFF; BEGIN; COMMIT; PRAGMA foreign_keys=ON;",
        ] {
            assert!(is_empty(empty, Engine::Sqlite), "{empty}");
            assert!(!is_empty(empty, Engine::Postgres), "{empty}");
        }
        for other in [
            "BEGIN; SELECT 1; COMMIT;",
            "BEGIN; COMMIT; BEGIN; COMMIT;",
            "PRAGMA user_version = 1",
            "'",
            "COMMIT",
        ] {
            assert!(!is_empty(other, Engine::Sqlite), "{other}");
        }
        assert!(!is_empty("/*! DROP TABLE a */", Engine::Mysql));
    }

    #[test]
    fn d8_transaction_control_is_refused() {
        for body in ["DROP TABLE a; COMMIT; DROP TABLE b;", "ROLLBACK; DROP TABLE a"] {
            assert!(
                matches!(texts(body, Engine::Postgres), Err(ScriptProblem::Control(_))),
                "{body}"
            );
        }
        assert!(matches!(
            texts("VACUUM;", Engine::Postgres),
            Err(ScriptProblem::NoTransaction(_))
        ));
        assert!(matches!(
            transactional(b"SELECT 1;\nCOPY a (i) FROM STDIN;", Engine::Postgres),
            Err(ScriptProblem::CopyThroughClient { line: 2 })
        ));
        assert!(
            transactional(
                b"COPY a FROM '/srv/stdin.csv'; SELECT 'copy from stdin'",
                Engine::Sqlite
            )
            .is_ok()
        );
        for engine in [Engine::Postgres, Engine::Sqlite] {
            assert!(matches!(
                transactional(b"SELECT 1;\nSELECT '\0'; DROP TABLE a", engine),
                Err(ScriptProblem::Nul { line: 2 })
            ));
        }
        assert!(matches!(
            transactional(b"\xff", Engine::Sqlite),
            Err(ScriptProblem::Encoding)
        ));
    }
}
