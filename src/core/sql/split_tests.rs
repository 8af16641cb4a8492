use proptest::prelude::*;

use super::*;
use crate::sql::lex::is_blank;

fn texts(text: &str, dialect: Engine) -> Vec<&str> {
    split(text, dialect)
        .unwrap()
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

/// The text is one statement, and a second one after it is seen as such.
fn assert_whole(text: &str, dialect: Engine) {
    let script = format!("{text};\nSELECT 2;");
    assert_eq!(texts(&script, dialect), [text, "SELECT 2"], "{dialect}");
}

#[test]
fn statements_know_where_they_are() {
    let text = "-- first\nSELECT 1; -- one\n\n/* two */ SELECT\n 2 ;;\nSELECT 3";
    let statements = split(text, Engine::Sqlite).unwrap();
    let seen: Vec<_> = statements
        .iter()
        .map(|statement| (statement.text, statement.line))
        .collect();
    assert_eq!(seen, [("SELECT 1", 2), ("SELECT\n 2", 4), ("SELECT 3", 6)]);
    for statement in statements {
        assert_eq!(&text[statement.offset..statement.end()], statement.text);
    }
    assert_eq!(split(" ; -- nothing\n;", Engine::Postgres), Ok(vec![]));
}

#[test]
fn lines_end_as_the_editor_of_the_script_ends_them() {
    let script = "/* first */\nSELECT 1;\n\n/* two */ SELECT\n 2 ;;\nSELECT 3";
    for end in ["\n", "\r\n", "\r"] {
        let text = script.replace('\n', end);
        let statements = split(&text, Engine::Postgres).unwrap();
        let seen: Vec<_> = statements
            .iter()
            .map(|statement| (statement.line, statement.head()))
            .collect();
        let expected = [(2, "SELECT 1"), (4, "SELECT…"), (6, "SELECT 3")].map(|(line, head)| (line, head.to_owned()));
        assert_eq!(seen, expected, "{end:?}");
        let open = format!("{text};{end}SELECT 'open");
        let error = split(&open, Engine::Postgres).unwrap_err();
        assert_eq!(error.line(), 7, "{end:?}");
    }
}

#[test]
fn sqlite_triggers() {
    for text in [
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = 1; DELETE FROM d; END",
        "create temp trigger t after insert on a begin select case when 1 then 2 end; /* ; */ end",
        "CREATE TRIGGER IF NOT EXISTS t UPDATE ON a BEGIN SELECT 1; SELECT 2 AS end; END",
        "CREATE TABLE trigger_log (a)",
        "EXPLAIN CREATE TRIGGER t UPDATE ON a BEGIN SELECT 1; END",
    ] {
        assert_whole(text, Engine::Sqlite);
    }
    assert_eq!(
        texts("BEGIN; SELECT 1; END;", Engine::Sqlite),
        ["BEGIN", "SELECT 1", "END"]
    );
    let open = "SELECT 1;\nCREATE TRIGGER t UPDATE ON a BEGIN SELECT 1;";
    assert_eq!(split(open, Engine::Sqlite), Err(SplitError::OpenBody { line: 2 }));
}

#[test]
fn postgres_bodies() {
    for text in [
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN; PERFORM 1; END; $$",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END",
        "create or replace procedure p() begin atomic insert into a values (1); end",
        "CREATE RULE r AS ON INSERT TO a DO ALSO (DELETE FROM b; DELETE FROM c)",
        "DO $x$ BEGIN EXECUTE 'a;b'; END $x$",
        "SELECT E'it\\'s;', U&'\\0441;', \"a;b\"",
    ] {
        assert_whole(text, Engine::Postgres);
    }
    let two = [
        "CREATE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql",
        "BEGIN",
        "SELECT 1",
        "END",
    ];
    assert_eq!(texts(&two.join("; "), Engine::Postgres), two);
    assert!(matches!(
        split(
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;",
            Engine::Postgres
        ),
        Err(SplitError::OpenBody { line: 1 })
    ));
    assert!(matches!(
        split("SELECT 1;\nSELECT (2;\nDROP TABLE a;", Engine::Postgres),
        Err(SplitError::OpenBody { line: 2 })
    ));
}

#[test]
fn mysql_bodies_without_a_delimiter() {
    for text in [
        "CREATE PROCEDURE p() BEGIN SELECT 1; IF a THEN SELECT 2; END IF; SELECT IF(a, 1, 2); END",
        "CREATE DEFINER=`root`@`localhost` PROCEDURE p() BEGIN DECLARE x INT; BEGIN SELECT 1; END; END",
        "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN IF(1, 2, 3)",
        "CREATE FUNCTION f(a INT) RETURNS INT BEGIN CASE a WHEN 1 THEN RETURN 1; ELSE RETURN 2; END CASE; END",
        "CREATE FUNCTION f(a INT) RETURNS INT BEGIN RETURN CASE a WHEN 1 THEN 1 END; END",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW IF NEW.b THEN SET NEW.b = 1; IF c THEN SET d = 1; END IF; END IF",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = IF(NEW.b, 1, 2)",
        "CREATE PROCEDURE p() l: LOOP SELECT 1; LEAVE l; END LOOP l",
        "CREATE PROCEDURE IF NOT EXISTS p() WHILE a DO SELECT REPEAT('a', 2); END WHILE",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN DELETE FROM a; END",
        "CREATE TABLE event (begin INT, end INT)",
        "SELECT CASE WHEN a THEN b END",
    ] {
        assert_whole(text, Engine::Mysql);
        assert_whole(text, Engine::Mariadb);
    }
    assert_whole("BEGIN NOT ATOMIC SELECT 1; SELECT 2; END", Engine::Mariadb);
    assert_eq!(
        texts("BEGIN; SELECT 1; COMMIT", Engine::Mysql),
        ["BEGIN", "SELECT 1", "COMMIT"]
    );
}

#[test]
fn mysql_delimiters() {
    let text = "SELECT 1;\nDELIMITER $$\nCREATE PROCEDURE p()\nBEGIN SELECT ';$$'; END$$\n\
                delimiter //\nSELECT 2; // -- x\nDELIMITER ;\nSELECT 3; SELECT 4";
    let expected = [
        "SELECT 1",
        "CREATE PROCEDURE p()\nBEGIN SELECT ';$$'; END",
        "SELECT 2;",
        "SELECT 3",
        "SELECT 4",
    ];
    assert_eq!(texts(text, Engine::Mysql), expected);
    assert_eq!(
        split("a;\nDELIMITER \nb", Engine::Mysql),
        Err(SplitError::NoDelimiter { line: 2 })
    );
    assert_eq!(
        texts("SELECT delimiter FROM a", Engine::Mysql),
        ["SELECT delimiter FROM a"]
    );
    assert_eq!(
        texts("/*!40101 SET a = ';' */; SELECT 1", Engine::Mysql),
        ["/*!40101 SET a = ';' */", "SELECT 1"]
    );
}

#[test]
fn heads_are_short() {
    let statements = split("SELECT\n1; SELECT 2", Engine::Sqlite).unwrap();
    assert_eq!(statements[0].head(), "SELECT…");
    assert_eq!(statements[1].head(), "SELECT 2");
}

/// Things that hide a semicolon, by engine.
fn opaque(dialect: Engine) -> Vec<&'static str> {
    let common = [
        "'a;b'",
        "'it''s;'",
        "\"n;\"",
        "/* c; ' */",
        "-- d; '\n",
        "'--'",
        "'/*'",
        "(1)",
        "é",
    ];
    let own: &[&str] = match dialect {
        Engine::Postgres => &["$$a;'$$", "$t$;$$;$t$", "E'\\';'", "/* /* ; */ ; */", "(a; b)", "[1]"],
        Engine::Sqlite => &["`n;`", "[n;']", "\"n\"\";\""],
        Engine::Mysql | Engine::Mariadb => &["`n;`", "'\\';'", "\"\\\";\"", "# e; '\n", "/*! ; */"],
    };
    common.iter().chain(own).copied().collect()
}

fn script() -> impl Strategy<Value = (Engine, Vec<Vec<usize>>)> {
    (
        0usize..4,
        prop::collection::vec(prop::collection::vec(0usize..100, 0..6), 0..6),
    )
        .prop_map(|(engine, parts)| (Engine::ALL[engine], parts))
}

proptest! {
    #[test]
    fn never_splits_inside_a_quote_or_comment((dialect, parts) in script()) {
        let pieces = opaque(dialect);
        let statements: Vec<String> = parts
            .iter()
            .map(|part| {
                let inside: Vec<_> = part.iter().map(|n| pieces[n % pieces.len()]).collect();
                format!("SELECT {} x", inside.join(" "))
            })
            .collect();
        let script = statements.join("\n; /* ; */ ");
        prop_assert_eq!(texts(&script, dialect), statements);
    }

    #[test]
    fn statements_and_gaps_are_the_script(text in "[a-cEBG'\"`$*/;\\[\\]()# \n-]{0,60}", engine in 0usize..4) {
        let dialect = Engine::ALL[engine];
        if let Ok(statements) = split(&text, dialect) {
            let mut rebuilt = String::new();
            let mut at = 0;
            for statement in &statements {
                let gap = &text[at..statement.offset];
                prop_assert!(is_blank(gap, dialect), "gap {:?}", gap);
                rebuilt.push_str(gap);
                rebuilt.push_str(statement.text);
                at = statement.end();
                prop_assert_eq!(statement.line, text[..statement.offset].matches('\n').count() + 1);
            }
            rebuilt.push_str(&text[at..]);
            prop_assert!(is_blank(&text[at..], dialect));
            prop_assert_eq!(rebuilt, text);
        }
    }
}
