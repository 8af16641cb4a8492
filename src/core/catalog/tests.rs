use super::*;
use crate::model::Digest;

fn files(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    list.iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

fn read(list: &[(&str, &str)], engine: Engine) -> Catalog {
    Catalog::read(&files(list), engine).unwrap()
}

fn errors(list: &[(&str, &str)]) -> Vec<String> {
    let errors = Catalog::read(&files(list), Engine::Sqlite).unwrap_err();
    errors.errors().iter().map(ToString::to_string).collect()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn orders_by_number_and_keeps_the_bytes() {
    let catalog = read(
        &[
            ("10_ten.up.sql", "CREATE TABLE ten (a);\r\n"),
            ("0009_split name.up.sql", "-- é\nCREATE TABLE nine (a);"),
            ("0009_split name.down.sql", "DROP TABLE nine;"),
            ("README.md", "not ours"),
        ],
        Engine::Sqlite,
    );
    let labels: Vec<_> = catalog.migrations().iter().map(Migration::label).collect();
    assert_eq!(labels, ["0009_split name", "10_ten"]);
    let ten = catalog.find(&v("0010")).unwrap();
    assert_eq!(ten.up.text(), "CREATE TABLE ten (a);\r\n");
    assert_eq!(ten.up.sha256(), Digest::of("CREATE TABLE ten (a);\r\n"));
    assert!(ten.down.is_none());
    assert_eq!(catalog.up_to(&v("9")).len(), 1);
    assert_eq!(catalog.up_to(&v("0")).len(), 0);
    assert_eq!(catalog.newest(), Some(ten));
    assert_eq!(catalog.find(&v("11")), None);
}

#[test]
fn an_empty_folder_is_an_empty_catalog() {
    assert!(read(&[], Engine::Sqlite).is_empty());
    assert!(read(&[(".gitkeep", "")], Engine::Sqlite).is_empty());
}

#[test]
fn the_engines_own_file_goes_first() {
    let list = [
        ("1_a.up.sql", "CREATE TABLE a (plain int)"),
        ("1_a.postgres.up.sql", "CREATE TABLE a (postgres int)"),
        ("1_a.mysql.up.sql", "CREATE TABLE a (mysql int)"),
        ("1_a.postgres.down.sql", "DROP TABLE a"),
        ("2_b.mysql.up.sql", "CREATE TABLE b (mysql int)"),
    ];
    let up = |engine| read(&list, engine).migrations()[0].up.file().to_owned();
    assert_eq!(up(Engine::Sqlite), "1_a.up.sql");
    assert_eq!(up(Engine::Postgres), "1_a.postgres.up.sql");
    assert_eq!(up(Engine::Mariadb), "1_a.mysql.up.sql");
    let count = |engine| read(&list, engine).migrations().len();
    assert_eq!((count(Engine::Sqlite), count(Engine::Mysql)), (1, 2));
    assert!(read(&list, Engine::Sqlite).migrations()[0].down.is_none());
    assert!(read(&list, Engine::Postgres).migrations()[0].down.is_some());
}

#[test]
fn an_empty_down_is_legal_and_recognised() {
    let catalog = read(
        &[("1_a.up.sql", "SELECT 1"), ("1_a.down.sql", "-- nothing\n;")],
        Engine::Sqlite,
    );
    assert!(catalog.migrations()[0].down.as_ref().unwrap().is_empty(Engine::Sqlite));
    assert!(!catalog.migrations()[0].up.is_empty(Engine::Sqlite));
    let list = [("1_a.up.sql", "SELECT 1"), ("1_a.down.sql", "BEGIN; -- stub\nCOMMIT;")];
    let catalog = read(&list, Engine::Postgres);
    assert!(
        catalog.migrations()[0]
            .down
            .as_ref()
            .unwrap()
            .is_empty(Engine::Postgres)
    );
    let pragma = Script::new("1_a.down.sql", "PRAGMA foreign_keys = OFF;");
    assert!(pragma.is_empty(Engine::Sqlite));
}

#[test]
fn says_everything_that_is_wrong_at_once() {
    insta::assert_snapshot!(
        errors(&[
            ("0_zero.up.sql", "SELECT 1"),
            ("1_a.up.sql", "SELECT 1"),
            ("001_a.up.sql", "SELECT 1"),
            ("001_a.down.sql", "SELECT 1"),
            ("2_b.up.sql", "SELECT 1"),
            ("2_c.up.sql", "SELECT 1"),
            ("3_d.up.sql", "SELECT 1"),
            ("3_e.down.sql", "SELECT 1"),
            ("4_f.down.sql", "SELECT 1"),
            ("5_g.up.sql", "-- todo\n"),
            ("6_h.oracle.up.sql", "SELECT 1"),
            ("7_i.sql", "SELECT 1"),
            ("8_j.UP.SQL", "SELECT 1"),
            ("9-k.up.sql", "SELECT 1"),
            ("schema.sql", "SELECT 1"),
            ("V1__flyway.up.sql", "SELECT 1"),
            ("11_bom.up.sql", "\u{feff}SELECT 1"),
            ("12_nul.up.sql", "SELECT '\0'"),
        ])
        .join("\n")
    );
}

#[test]
fn says_where_a_file_is_not_utf8() {
    let files = [
        ("1_a.up.sql".to_owned(), b"SELECT 1".to_vec()),
        ("1_a.down.sql".to_owned(), b"-- caf\xe9".to_vec()),
    ];
    let errors = Catalog::read(&files, Engine::Sqlite).unwrap_err();
    assert_eq!(
        errors.errors(),
        [CatalogError::NotUtf8 {
            file: "1_a.down.sql".to_owned(),
            offset: 6
        }]
    );
}
