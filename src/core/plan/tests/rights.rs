//! Rights in the database, and what else a person should know of it before the downs.

use super::*;

/// Codes with their subjects and messages.
fn found(goal: Goal, app: Option<&AppFile>, world: &Seen) -> Vec<String> {
    let folder = catalog();
    let findings = match plan(&ask(goal, app, &folder), world) {
        Ok(plan) => plan.findings,
        Err(refusals) => refusals.findings().to_vec(),
    };
    let said = findings.iter();
    said.map(|one| format!("{} {}: {}; {}", one.code, one.subject, one.message, one.remedy))
        .collect()
}

fn has(found: &[String], code: &str, words: &str) -> bool {
    found.iter().any(|one| one.starts_with(code) && one.contains(words))
}

#[test]
fn d15_a_right_on_the_ledger_refuses_the_direction_that_uses_it() {
    let mut world = seen();
    world.database.database.ledger.table = "stepback.ledger".to_owned();
    world.database.missing_rights.role = "shop".to_owned();
    world.database.missing_rights.ledger = vec!["DELETE".to_owned()];
    let down = found(Goal::Down(1), None, &world);
    assert!(has(&down, "rights-missing role shop", "may not DELETE"), "{down:?}");
    assert!(
        has(
            &down,
            "rights-missing",
            "GRANT SELECT, INSERT, DELETE ON stepback.ledger TO \"shop\""
        ),
        "{down:?}"
    );
    world.database.missing_rights.ledger = vec!["INSERT".to_owned()];
    let down = found(Goal::Down(1), None, &world);
    assert!(!has(&down, "rights-missing", ""), "{down:?}");
    world.database.ledger.pop();
    let up = found(Goal::Up(None), None, &world);
    assert!(has(&up, "rights-missing role shop", "may not INSERT"), "{up:?}");
}

#[test]
fn d15_whoever_can_write_what_downs_are_is_named() {
    let mut world = seen();
    world.database.missing_rights.archive_writers = (1..=7).map(|n| format!("role{n}")).collect();
    let down = found(Goal::Down(1), None, &world);
    assert!(
        has(&down, "archive-writers", "role1, role2, role3, role4, role5 and 2 more"),
        "{down:?}"
    );
    world.database.ledger.pop();
    let up = found(Goal::Up(None), None, &world);
    assert!(!has(&up, "archive-writers", ""), "the folder's ups run: {up:?}");
}

#[test]
fn d12_a_fingerprint_of_another_server_or_form_is_said_not_to_be_comparable() {
    let mut world = seen();
    let folder = catalog();
    let request = ask(Goal::Down(1), None, &folder);
    assert_eq!(compared_schema(&request, &world), None, "nothing is recorded");
    let mut target = world.database.applied();
    target.0.remove(&version("20240301090000"));
    world.fingerprint.server = "PostgreSQL 18.1".to_owned();
    let recorded = Fingerprint {
        server: "PostgreSQL 15.4".to_owned(),
        ..world.fingerprint.clone()
    };
    world.database.fingerprints.push((target.digest(), recorded.digest()));
    assert_eq!(compared_schema(&request, &world), Some(target));
    // What is applied was recorded again since the server was upgraded.
    world.recorded = Some(world.fingerprint.clone());
    world.compared = Some(world.fingerprint.clone());
    let same = found(Goal::Down(1), None, &world);
    assert!(!has(&same, "fingerprint-unknown", ""), "{same:?}");
    world.compared = Some(recorded.clone());
    let other = found(Goal::Down(1), None, &world);
    assert!(
        has(
            &other,
            "fingerprint-unknown",
            "on PostgreSQL 15.4, and this is PostgreSQL 18.1"
        ),
        "{other:?}"
    );
    world.compared = Some(Fingerprint {
        format: recorded.format + 1,
        ..world.fingerprint.clone()
    });
    let other = found(Goal::Down(1), None, &world);
    assert!(has(&other, "fingerprint-unknown", "in another form"), "{other:?}");
}

#[test]
fn a_url_that_is_not_used_is_said() {
    let mut app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let said = |app: &AppFile| {
        has(
            &found(Goal::Down(1), Some(app), &seen()),
            "not-supported directUrl",
            "does not use it",
        )
    };
    assert!(!said(&app));
    app.database.direct_url = Some(crate::appfile::UrlSource::Env("DIRECT_URL".to_owned()));
    assert!(said(&app));
}
