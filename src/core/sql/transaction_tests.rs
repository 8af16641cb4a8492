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
fn d8_the_outer_pairs_isolation_is_kept() {
    for (begin, isolation) in [
        ("BEGIN", None),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", None),
        (
            "begin isolation level serializable, read write",
            Some(Isolation::Serializable),
        ),
        (
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            Some(Isolation::RepeatableRead),
        ),
    ] {
        let text = format!("{begin}; SELECT 1; COMMIT");
        let statements = split(&text, Engine::Postgres).unwrap();
        assert_eq!(
            unwrap_outer(&statements, Engine::Postgres).unwrap().isolation,
            isolation,
            "{begin}"
        );
    }
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
            2,
        ),
        ("BEGIN; SELECT 1; COMMIT AND CHAIN", Engine::Postgres, Control::Begin, 1),
        ("SET autocommit = 0", Engine::Mysql, Control::Autocommit, 1),
        (
            "SET foreign_key_checks = 0, @@session.autocommit=1",
            Engine::Mariadb,
            Control::Autocommit,
            1,
        ),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT 1; COMMIT",
            Engine::Postgres,
            Control::ReadOnly,
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
