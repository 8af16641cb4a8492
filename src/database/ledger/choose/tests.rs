use super::*;

fn own(has_rows: bool) -> Candidate {
    let ledger = Ledger::own("stepback.ledger".to_owned(), "\"stepback\".\"ledger\"".to_owned());
    Candidate {
        has_rows,
        ..Candidate::own(ledger)
    }
}

/// An app has gone by it.
fn with_history(candidate: Candidate) -> Candidate {
    Candidate {
        has_history: true,
        ..candidate
    }
}

fn sqlx(table: &str, in_path: bool, has_rows: bool) -> Candidate {
    let names = table.rsplit_once('.').map(|(_, name)| name.to_owned());
    let quoted = format!("\"{table}\"");
    Candidate {
        has_rows,
        ..Candidate::sqlx(table.to_owned(), quoted, names.into_iter().collect(), in_path)
    }
}

fn chosen(choice: &str, own_rows: bool, foreign: &[Candidate]) -> String {
    chosen_by(&LedgerChoice::parse(choice).unwrap(), own(own_rows), foreign)
}

fn chosen_by(choice: &LedgerChoice, own: Candidate, foreign: &[Candidate]) -> String {
    let found = Found {
        own,
        foreign: foreign.to_vec(),
        sqlx_default: ("public._sqlx_migrations".to_owned(), String::new()),
    };
    match choose(choice, found) {
        Ok(ledger) => ledger.table,
        Err(DbError::LedgerUnclear { message, hint }) if hint.contains("is this the database") => message,
        Err(DbError::LedgerUnclear { hint, .. }) => hint,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_ledger_that_holds_something_is_the_ledger() {
    let public = "public._sqlx_migrations";
    assert_eq!(chosen("auto", false, &[]), "stepback.ledger");
    assert_eq!(chosen("auto", true, &[]), "stepback.ledger");
    // A table of sqlx's that is empty: sqlx went back to nothing, or is about to begin.
    assert_eq!(chosen("auto", false, &[sqlx(public, true, false)]), public);
    assert_eq!(chosen("auto", false, &[sqlx(public, true, true)]), public);
    assert_eq!(chosen("auto", true, &[sqlx(public, true, false)]), "stepback.ledger");
    // What sqlx would find by the role's search path goes before what lies elsewhere.
    let elsewhere = [sqlx("tenant._sqlx_migrations", false, true), sqlx(public, true, true)];
    assert_eq!(chosen("auto", false, &elsewhere), public);
    assert_eq!(chosen("auto", false, &elsewhere[..1]), "tenant._sqlx_migrations");
}

#[test]
fn where_several_can_be_it_the_choices_are_named() {
    let public = sqlx("public._sqlx_migrations", true, true);
    assert_eq!(
        chosen("auto", true, std::slice::from_ref(&public)),
        "say which one the app goes by: --ledger stepback, or --ledger sqlx"
    );
    let tenants = [sqlx("a._sqlx_migrations", false, true), sqlx("b.done", false, true)];
    let both = "say which one the app goes by: --ledger sqlx:a._sqlx_migrations, or --ledger sqlx:b.done";
    assert_eq!(chosen("auto", false, &tenants), both);
    assert_eq!(chosen("sqlx", false, &tenants), both);
    assert_eq!(chosen("sqlx:b.done", false, &tenants), "b.done");
    assert_eq!(chosen("sqlx:done", false, &tenants), "b.done");
    assert!(chosen("sqlx:c", false, &tenants).contains("a._sqlx_migrations, b.done"));
}

#[test]
fn d16_a_ledger_that_an_app_has_emptied_is_still_its_ledger() {
    let auto = |own: Candidate, foreign: &[Candidate]| chosen_by(&LedgerChoice::Auto, own, foreign);
    let both = "say which one the app goes by: --ledger stepback, or --ledger sqlx";
    let public = |has_rows| sqlx("public._sqlx_migrations", true, has_rows);
    assert_eq!(auto(with_history(own(false)), &[]), "stepback.ledger");
    for theirs in [public(false), public(true), with_history(public(false))] {
        assert_eq!(auto(with_history(own(false)), &[theirs]), both);
    }
    // So is another tool's.
    for ours in [own(true), with_history(own(true))] {
        assert_eq!(auto(ours.clone(), &[with_history(public(false))]), both);
        assert_eq!(auto(ours, &[public(false)]), "stepback.ledger");
    }
    assert_eq!(
        auto(own(false), &[with_history(public(false))]),
        "public._sqlx_migrations"
    );
    assert_eq!(
        chosen_by(
            &LedgerChoice::Of(LedgerTool::Sqlx),
            with_history(own(false)),
            &[public(false)]
        ),
        "public._sqlx_migrations"
    );
}

#[test]
fn a_choice_is_obeyed() {
    let foreign = [sqlx("public._sqlx_migrations", true, true)];
    assert_eq!(chosen("stepback", false, &foreign), "stepback.ledger");
    assert_eq!(chosen("sqlx", true, &foreign), "public._sqlx_migrations");
    assert_eq!(chosen("sqlx", true, &[]), "public._sqlx_migrations");
    assert!(LedgerChoice::parse("flyway").is_err() && LedgerChoice::parse("sqlx:").is_err());
}

#[test]
fn d16_a_plan_names_its_ledger() {
    let exactly =
        |table: &str, foreign: &[Candidate]| chosen_by(&LedgerChoice::Exactly(table.to_owned()), own(true), foreign);
    let tenants = [sqlx("a._sqlx_migrations", false, true), sqlx("b.done", false, true)];
    for table in ["b.done", "stepback.ledger"] {
        assert_eq!(exactly(table, &tenants), table);
    }
    assert_eq!(exactly("done", &tenants), "the ledger done is not there");
    // Planned before sqlx's table was made.
    let public = "public._sqlx_migrations";
    assert_eq!(exactly(public, &tenants), public);
}
