use proptest::prelude::*;

use super::*;

fn of_kind(text: &str, dialect: Engine, kind: Kind) -> Vec<&str> {
    lex(text, dialect)
        .unwrap()
        .into_iter()
        .filter(|token| token.kind == kind)
        .map(|token| token.text)
        .collect()
}

#[test]
fn strings_by_engine() {
    use Engine::*;
    assert_eq!(of_kind("'it''s;' x", Sqlite, Kind::Text), ["'it''s;'"]);
    // A backslash ends nothing in standard SQL, and does in MySQL and in E strings.
    assert_eq!(of_kind(r"'\' ; '\'", Postgres, Kind::Text), [r"'\'", r"'\'"]);
    assert_eq!(of_kind(r"'\' ; '", Mysql, Kind::Text), [r"'\' ; '"]);
    assert_eq!(of_kind(r"E'\' ; ' e'\\'", Postgres, Kind::Text), [r"'\' ; '", r"'\\'"]);
    assert_eq!(of_kind(r"type'\'", Postgres, Kind::Text), [r"'\'"]);
    assert_eq!(of_kind("E'a' -- b\n '\\';'", Postgres, Kind::Text), ["'a'", "'\\';'"]);
    assert_eq!(of_kind("E'a' '\\'", Postgres, Kind::Text), ["'a'", "'\\'"]);
    assert_eq!(of_kind("\"a;\"", Mysql, Kind::Text), ["\"a;\""]);
    assert_eq!(
        of_kind("\"a;\" `b;` [c;]", Sqlite, Kind::Name),
        ["\"a;\"", "`b;`", "[c;]"]
    );
    assert_eq!(of_kind("a[1];", Postgres, Kind::Name), [""; 0]);
}

#[test]
fn dollar_quotes() {
    let one = "$f$ a; $$ ; $g$ $f$";
    assert_eq!(of_kind(one, Engine::Postgres, Kind::Text), [one]);
    assert_eq!(of_kind("$$ $f$ $$", Engine::Postgres, Kind::Text), ["$$ $f$ $$"]);
    assert_eq!(of_kind("a$b$c $1 $2", Engine::Postgres, Kind::Text), [""; 0]);
    assert_eq!(of_kind("$1$2$", Engine::Postgres, Kind::Text), [""; 0]);
}

#[test]
fn d8_a_carriage_return_ends_a_line_comment_where_the_server_says_so() {
    use Engine::*;
    let text = "-- old note\rCOMMIT;\nSELECT 1";
    assert_eq!(of_kind(text, Postgres, Kind::Comment), ["-- old note"]);
    for dialect in [Sqlite, Mysql, Mariadb] {
        assert_eq!(of_kind(text, dialect, Kind::Comment), ["-- old note\rCOMMIT;"]);
    }
    // It ends the comment between the two halves of a string too.
    assert_eq!(of_kind("E'a' -- b\r'\\';'", Postgres, Kind::Text), ["'a'", "'\\';'"]);
    assert!(!is_blank("-- why\rDROP TABLE a;\r", Postgres));
    assert!(is_blank("-- why\rDROP TABLE a;\r", Sqlite));
}

#[test]
fn comments_by_engine() {
    use Engine::*;
    assert_eq!(of_kind("a -- ; '\nb", Sqlite, Kind::Comment), ["-- ; '"]);
    assert_eq!(
        of_kind("/* a /* b */ ; */ c", Postgres, Kind::Comment),
        ["/* a /* b */ ; */"]
    );
    assert_eq!(of_kind("/* a /* b */ c", Mysql, Kind::Comment), ["/* a /* b */"]);
    assert_eq!(of_kind("/**/a/*/*/", Sqlite, Kind::Comment), ["/**/", "/*/*/"]);
    assert_eq!(of_kind("5--1 -- x\n# y", Mysql, Kind::Comment), ["-- x", "# y"]);
    assert_eq!(of_kind("5--1", Postgres, Kind::Comment), ["--1"]);
    assert_eq!(of_kind("1 # 2", Postgres, Kind::Comment), [""; 0]);
    assert_eq!(of_kind("/*!50003 DROP TABLE a; */", Mysql, Kind::Conditional).len(), 1);
    assert_eq!(of_kind("/*M! DROP TABLE a */", Mysql, Kind::Comment).len(), 1);
    assert_eq!(of_kind("/*M! DROP TABLE a */", Mariadb, Kind::Conditional).len(), 1);
}

#[test]
fn says_what_is_never_closed_and_where() {
    let cases = [
        ("a\n 'b", Engine::Postgres, Opened::Text),
        ("a\n \"b", Engine::Postgres, Opened::Name),
        ("a\n [b", Engine::Sqlite, Opened::Name),
        ("a\n $x$ $y$", Engine::Postgres, Opened::Dollar),
        ("a\n /* /* */", Engine::Postgres, Opened::Comment),
        ("a\n /* ", Engine::Mysql, Opened::Comment),
    ];
    for (text, dialect, opened) in cases {
        assert_eq!(
            lex(text, dialect).unwrap_err(),
            LexError {
                opened,
                line: 2,
                offset: 3
            },
            "{text}"
        );
    }
    assert!(lex("/* open", Engine::Sqlite).is_ok());
}

#[test]
fn blank_is_what_does_nothing() {
    for text in ["", " \n\t", "-- nothing", "/* a */ ;; -- b\n"] {
        assert!(is_blank(text, Engine::Postgres), "{text}");
    }
    assert!(!is_blank("SELECT 1", Engine::Postgres));
    assert!(!is_blank("'", Engine::Postgres));
    assert!(!is_blank("/*! DROP TABLE a */", Engine::Mysql));
}

proptest! {
    #[test]
    fn tokens_are_the_whole_text(text in "[-a-eE0-9'\"`$#*/;\\[\\]\\\\ \n\u{e9}]{0,40}", engine in 0usize..4) {
        if let Ok(tokens) = lex(&text, Engine::ALL[engine]) {
            let mut at = 0;
            for token in tokens {
                prop_assert_eq!(token.start, at);
                prop_assert!(!token.text.is_empty());
                at = token.end();
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
