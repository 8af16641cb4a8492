use super::*;
use crate::sql::Rows;

fn of(text: &str, engine: Engine) -> Effects {
    let statements = split(text, engine).unwrap();
    assert_eq!(statements.len(), 1, "{text}");
    effects(&statements[0], engine)
}

/// What is destroyed, one phrase each; `?` for unknown.
fn destroys(text: &str, engine: Engine) -> String {
    match of(text, engine) {
        Effects::Known { destroys, .. } => destroys.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        Effects::Unknown { why } => format!("? {why}"),
    }
}

fn named(text: &str, engine: Engine) -> Vec<String> {
    match named_tables(text, engine) {
        NamedTables::Known(names) => names.iter().map(ToString::to_string).collect(),
        NamedTables::Unknown => vec!["?".to_owned()],
    }
}

#[test]
fn what_a_statement_may_take_rows_from() {
    use Engine::*;
    for (text, expected) in [
        ("CREATE INDEX i ON a (b)", ""),
        ("CREATE TABLE a (b REFERENCES c (d))", ""),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END", ""),
        ("CREATE VIRTUAL TABLE a USING fts5(b, content='c')", ""),
        ("ALTER TABLE a ADD COLUMN b", ""),
        ("INSERT INTO a SELECT * FROM b", ""),
        ("UPDATE a SET b = 1 WHERE c IN (SELECT d FROM e)", ""),
        ("DELETE FROM A WHERE b IN (SELECT c FROM d)", "a"),
        ("DROP TABLE a", "a"),
        ("REPLACE INTO a VALUES (1)", "a"),
        ("UPDATE OR REPLACE a SET b = 1", "a"),
        ("ALTER TABLE a RENAME TO b", "a b"),
        ("REINDEX a", "a reindex"),
    ] {
        let statements = split(text, Sqlite).unwrap();
        let NamedTables::Known(names) = emptied_tables(&statements[0], Sqlite) else {
            panic!("{text}");
        };
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(names.join(" "), expected, "{text}");
    }
    let call = split("CALL a()", Postgres).unwrap();
    assert_eq!(emptied_tables(&call[0], Postgres), NamedTables::Unknown);
}

#[test]
fn what_is_destroyed() {
    use Engine::*;
    for (engine, text, expected) in [
        (Sqlite, "DROP TABLE Orders", "table orders"),
        (
            Postgres,
            "DROP TABLE IF EXISTS a.Orders, \"B\" CASCADE",
            "table a.orders and what depends on it; table B and what depends on it",
        ),
        (
            Postgres,
            "ALTER TABLE a DROP COLUMN b, DROP c CASCADE",
            "column a.b; column a.c and what depends on it",
        ),
        (Sqlite, "ALTER TABLE a DROP COLUMN b", "column a.b"),
        (Mysql, "ALTER TABLE a DROP COLUMN b, ADD COLUMN c INT", "column a.b"),
        (
            Postgres,
            "ALTER TABLE a ALTER COLUMN b TYPE smallint USING b::smallint",
            "values of a.b that SMALLINT cannot hold",
        ),
        (
            Mysql,
            "ALTER TABLE a MODIFY COLUMN b VARCHAR(10)",
            "values of a.b that VARCHAR(10) cannot hold",
        ),
        (
            Mariadb,
            "ALTER TABLE a CHANGE b c INT",
            "values of a.b that INT cannot hold",
        ),
        (Postgres, "DELETE FROM a WHERE b = 'x'", "rows of a where b = 'x'"),
        (Sqlite, "DELETE FROM a", "all rows of a"),
        (Postgres, "DELETE FROM a USING b WHERE a.c = b.c", "rows of a"),
        (
            Sqlite,
            "UPDATE price SET cents = cents * 100, \"unit\" = 1",
            "former values of cents, unit in price",
        ),
        (
            Postgres,
            "TRUNCATE a, b CASCADE",
            "all rows of a and what depends on it; all rows of b and what depends on it",
        ),
        (Mysql, "UPDATE a JOIN b ON a.c = b.c SET b.d = 1", "former values of d"),
        (Mysql, "REPLACE INTO a VALUES (1)", "rows of a that are replaced"),
        (
            Sqlite,
            "INSERT OR REPLACE INTO a VALUES (1)",
            "rows of a that are replaced",
        ),
        (
            Postgres,
            "INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET b = 2",
            "rows of a that are replaced",
        ),
        (Postgres, "DROP SCHEMA shop CASCADE", "schema shop and all in it"),
        (Mysql, "DROP DATABASE shop", "schema shop and all in it"),
        (Postgres, "DROP TYPE mood CASCADE", "what depends on type mood"),
        (
            Postgres,
            "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
            "all rows of a",
        ),
        (Mariadb, "CREATE OR REPLACE TABLE a (b INT)", "table a"),
    ] {
        assert_eq!(destroys(text, engine), expected, "{text}");
        assert!(of(text, engine).may_destroy());
    }
    let Effects::Known { destroys, .. } = of("UPDATE a SET b = 1 WHERE c > 2", Postgres) else {
        panic!()
    };
    let [Loss::Update { rows, .. }] = &destroys[..] else {
        panic!()
    };
    assert_eq!(*rows, Rows::Where("c > 2".to_owned()));
}

#[test]
fn what_destroys_nothing() {
    use Engine::*;
    for (engine, text) in [
        (
            Sqlite,
            "CREATE TABLE a (b INTEGER PRIMARY KEY, c TEXT REFERENCES d (e) ON DELETE CASCADE)",
        ),
        (Sqlite, "ALTER TABLE a RENAME TO b"),
        (Sqlite, "INSERT INTO a (b) SELECT lower(c) FROM d"),
        (Sqlite, "DROP INDEX i"),
        (Sqlite, "DROP VIEW v"),
        (Sqlite, "PRAGMA foreign_key_check"),
        (Sqlite, "PRAGMA foreign_keys=OFF"),
        (Postgres, "CREATE TABLE a (b int DEFAULT tidy())"),
        (Sqlite, "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END"),
        (Postgres, "CREATE INDEX CONCURRENTLY i ON a (b)"),
        (Postgres, "INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING"),
        (
            Postgres,
            "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 0, ALTER COLUMN c SET NOT NULL",
        ),
        (
            Postgres,
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM a'",
        ),
        (Postgres, "SELECT setval('s', 1)"),
        (Postgres, "COMMENT ON TABLE a IS 'b'"),
        (Mysql, "CREATE INDEX i ON a (b)"),
    ] {
        assert_eq!(destroys(text, engine), "", "{text}");
        assert!(!of(text, engine).may_destroy());
    }
}

#[test]
fn what_cannot_be_known_may_destroy() {
    use Engine::*;
    for (engine, text) in [
        (Postgres, "DO $$ BEGIN DELETE FROM a; END $$"),
        (Postgres, "CALL tidy()"),
        (Postgres, "SELECT tidy()"),
        (Postgres, "UPDATE a SET b = tidy(b)"),
        (Postgres, "EXECUTE tidy"),
        (Postgres, "DROP EXTENSION postgis"),
        (Postgres, "FROBNICATE a"),
        (Postgres, "CREATE TABLE a AS SELECT tidy()"),
        (Sqlite, "PRAGMA writable_schema = 1"),
        (Mysql, "/*!50003 DROP TABLE a */"),
        (Mysql, "DELETE a, b FROM a JOIN b ON a.c = b.c"),
    ] {
        assert!(
            matches!(of(text, engine), Effects::Unknown { .. }),
            "{text}: {}",
            destroys(text, engine)
        );
        assert!(of(text, engine).may_destroy());
    }
}

#[test]
fn d10_which_tables_a_script_names() {
    let rebuild = "PRAGMA foreign_keys=OFF; CREATE TABLE new_Orders (id INTEGER PRIMARY KEY, customer REFERENCES customers (id));
        INSERT INTO new_orders SELECT id, customer FROM [Orders]; DROP TABLE orders; ALTER TABLE new_orders RENAME TO orders;";
    assert_eq!(named(rebuild, Engine::Sqlite), ["customers", "new_orders", "orders"]);
    let tables = named_tables(rebuild, Engine::Sqlite);
    assert!(tables.may_name(None, "ORDERS") && !tables.may_name(None, "lines"));

    assert_eq!(
        named("DELETE FROM shop.a WHERE b IN (SELECT c FROM d)", Engine::Postgres),
        ["d", "shop.a"]
    );
    assert_eq!(named("", Engine::Postgres), [""; 0]);
    assert_eq!(named("SELECT 1; CALL tidy()", Engine::Postgres), ["?"]);
    assert!(named_tables("CALL tidy()", Engine::Postgres).may_name(None, "anything"));
    assert!(named_tables("DELETE FROM shop.a", Engine::Postgres).may_name(Some("shop"), "a"));
    assert!(!named_tables("DELETE FROM shop.a", Engine::Postgres).may_name(Some("other"), "a"));
    assert_eq!(named("'", Engine::Sqlite), ["?"]);
}

#[test]
fn d10_what_cannot_be_parsed_on_sqlite_still_names_its_words() {
    let odd = "FROBNICATE \"Line Items\" INTO [b]";
    assert!(of(odd, Engine::Sqlite).may_destroy());
    let tables = named_tables(odd, Engine::Sqlite);
    assert!(tables.may_name(None, "line items") && tables.may_name(None, "b") && !tables.may_name(None, "c"));
}
