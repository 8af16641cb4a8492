use super::*;

fn own(has_rows: bool) -> Candidate {
    let ledger = Ledger::own("stepback.ledger".to_owned(), "\"stepback\".\"ledger\"".to_owned());
    Candidate::own(ledger, has_rows)
}

fn sqlx(table: &str, in_path: bool, has_rows: bool) -> Candidate {
    Candidate::sqlx(table.to_owned(), format!("\"{table}\""), in_path, has_rows)
}

fn chosen(choice: &str, own_rows: bool, foreign: &[Candidate], of_open_run: Option<&str>) -> String {
    let found = Found {
        own: own(own_rows),
        foreign: foreign.to_vec(),
        sqlx_default: ("public._sqlx_migrations".to_owned(), String::new()),
        of_open_run: of_open_run.map(str::to_owned),
    };
    match choose(&LedgerChoice::parse(choice).unwrap(), found) {
        Ok(ledger) => ledger.table,
        Err(DbError::LedgerUnclear { hint, .. }) => hint,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_ledger_that_holds_something_is_the_ledger() {
    let (public, none) = ("public._sqlx_migrations", None);
    assert_eq!(chosen("auto", false, &[], none), "stepback.ledger");
    assert_eq!(chosen("auto", true, &[], none), "stepback.ledger");
    // A table of sqlx's that is empty: sqlx went back to nothing, or is about to begin.
    assert_eq!(chosen("auto", false, &[sqlx(public, true, false)], none), public);
    assert_eq!(chosen("auto", false, &[sqlx(public, true, true)], none), public);
    assert_eq!(
        chosen("auto", true, &[sqlx(public, true, false)], none),
        "stepback.ledger"
    );
    // What sqlx would find by the role's search path goes before what lies elsewhere.
    let elsewhere = [sqlx("tenant._sqlx_migrations", false, true), sqlx(public, true, true)];
    assert_eq!(chosen("auto", false, &elsewhere, none), public);
    assert_eq!(chosen("auto", false, &elsewhere[..1], none), "tenant._sqlx_migrations");
}

#[test]
fn where_several_can_be_it_the_choices_are_named() {
    let public = sqlx("public._sqlx_migrations", true, true);
    assert_eq!(
        chosen("auto", true, std::slice::from_ref(&public), None),
        "say which one the app goes by: --ledger stepback, or --ledger sqlx"
    );
    let tenants = [sqlx("a._sqlx_migrations", false, true), sqlx("b.done", false, true)];
    let both = "say which one the app goes by: --ledger sqlx:a._sqlx_migrations, or --ledger sqlx:b.done";
    assert_eq!(chosen("auto", false, &tenants, None), both);
    assert_eq!(chosen("sqlx", false, &tenants, None), both);
    assert_eq!(chosen("sqlx:b.done", false, &tenants, None), "b.done");
    assert_eq!(chosen("sqlx:done", false, &tenants, None), "b.done");
    assert!(chosen("sqlx:c", false, &tenants, None).contains("a._sqlx_migrations, b.done"));
    // What was chosen for a run holds until the run is closed.
    let foreign = [public];
    assert_eq!(
        chosen("auto", true, &foreign, Some("stepback.ledger")),
        "stepback.ledger"
    );
    assert_eq!(
        chosen("auto", true, &foreign, Some("public._sqlx_migrations")),
        "public._sqlx_migrations"
    );
}

#[test]
fn a_choice_is_obeyed() {
    let foreign = [sqlx("public._sqlx_migrations", true, true)];
    assert_eq!(chosen("stepback", false, &foreign, None), "stepback.ledger");
    assert_eq!(chosen("sqlx", true, &foreign, None), "public._sqlx_migrations");
    assert_eq!(chosen("sqlx", true, &[], None), "public._sqlx_migrations");
    assert!(LedgerChoice::parse("flyway").is_err() && LedgerChoice::parse("sqlx:").is_err());
}
