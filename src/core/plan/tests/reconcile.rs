//! Which way a `reconcile` goes.

use super::*;
use crate::model::MigrationSet;

/// The shop with only these migrations applied.
fn with_applied(versions: &[&str]) -> Seen {
    let mut world = seen();
    world.database.ledger.retain(|row| {
        versions
            .iter()
            .any(|version| row.migration.version.to_string() == *version)
    });
    world
}

fn recorded(world: &mut Seen, release: &str, versions: &[&str]) {
    world.database.releases.push(ReleaseRow {
        release: release.parse().unwrap(),
        schema: versions.iter().map(|text| version(text)).collect(),
        recorded_at: String::new(),
    });
}

const ALL: [&str; 4] = ["20240101090000", "20240115120000", "20240220103000", "20240301090000"];

fn goal(world: &Seen, catalog: &Catalog, release: &str) -> Goal {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    goal_of(Some(&app), catalog, &world.database, &release.parse().unwrap())
}

fn planned(world: &Seen, catalog: &Catalog, release: &str) -> Result<Plan, Refusals> {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    plan(&ask(goal(world, catalog, release), Some(&app), catalog), world)
}

#[test]
fn behind_is_up_ahead_is_back_and_there_is_nothing() {
    let (filed, empty) = (catalog(), Catalog::default());
    let up = |release: &str| Goal::UpTo(release.parse().unwrap());
    let back = |release: &str| Goal::Release(release.parse().unwrap());
    assert_eq!(goal(&with_applied(&[]), &filed, "1.3.0"), up("1.3.0"));
    assert_eq!(goal(&with_applied(&ALL[..2]), &filed, "1.3.0"), up("1.3.0"));
    assert_eq!(goal(&with_applied(&ALL[..2]), &filed, "1.1.0"), back("1.1.0"));
    assert_eq!(goal(&with_applied(&ALL), &empty, "1.2.0"), back("1.2.0"));
    assert_eq!(goal(&with_applied(&ALL), &filed, "1.3.0"), up("1.3.0"));
    // Something is missing and something is too much: the way back says what.
    assert_eq!(goal(&with_applied(&[ALL[0], ALL[2]]), &filed, "1.2.0"), back("1.2.0"));
    // Nobody knows it: so does that plan.
    assert_eq!(goal(&with_applied(&ALL), &filed, "9.9.9"), back("9.9.9"));

    // Not prepared by us: what is there stays, and nothing is recorded.
    let mut there = with_applied(&ALL);
    there.database.prepared = false;
    let there = planned(&there, &empty, "1.3.0").unwrap();
    assert_eq!(
        (steps(&there), there.to.to_string()),
        (vec![], "1.3.0 (schema 20240301090000)".to_owned())
    );
}

#[test]
fn up_stops_at_the_release_and_records_it() {
    let plan = planned(&with_applied(&ALL[..1]), &catalog(), "1.2.0").unwrap();
    assert_eq!(plan.title, "migrate up 20240101090000 -> 20240115120000");
    assert_eq!(
        steps(&plan),
        [
            "apply 20240115120000_add_customer",
            "record the schema's fingerprint",
            "record the pairing of release 1.2.0",
        ]
    );
    assert_eq!(plan.to.release, Some("1.2.0".parse().unwrap()));
}

#[test]
fn d1_up_goes_to_the_set_that_was_recorded_from_the_archive_where_no_file_is() {
    let mut world = with_applied(&ALL[..2]);
    recorded(&mut world, "1.3.0", &[ALL[0], ALL[1], ALL[3]]);
    let up = planned(&world, &Catalog::default(), "1.3.0").unwrap();
    assert_eq!(steps(&up)[0], "apply 20240301090000_payments");
    assert!(!up.findings.iter().any(|finding| finding.code == "pairing-differs"));
    // The folder has one more: said, and left out, or the next reconcile would undo it.
    let up = planned(&world, &catalog(), "1.3.0").unwrap();
    assert_eq!(
        up.to.schema,
        [ALL[0], ALL[1], ALL[3]]
            .iter()
            .map(|text| version(text))
            .collect::<MigrationSet>()
    );
    let said = up
        .findings
        .iter()
        .find(|finding| finding.code == "pairing-differs")
        .unwrap();
    assert!(said.message.contains(ALL[2]), "{said:?}");
    // File and record name different schemas: refused, in no direction.
    recorded(&mut world, "1.3.0", &ALL[..3]);
    assert_eq!(
        goal(&world, &catalog(), "1.3.0"),
        Goal::Release("1.3.0".parse().unwrap())
    );
}

#[test]
fn a_release_without_any_script_is_refused() {
    let refused = planned(&with_applied(&ALL[..2]), &Catalog::default(), "1.3.0");
    // The archive of `seen` has it; one that has not must say so.
    assert!(refused.is_ok());
    let mut world = with_applied(&ALL[..2]);
    world.database.archive.clear();
    let refused = planned(&world, &Catalog::default(), "1.3.0").unwrap_err();
    assert_eq!(refused.findings()[0].code, "up-missing");
}

/// The archive holds the scripts of every branch that was ever applied here: it does not say what belongs together.
#[test]
fn a_version_that_the_archive_alone_has_is_reached_by_a_release() {
    let mut world = with_applied(&ALL[..1]);
    let none = Catalog::default();
    for goal in [Goal::Schema(Some(version(ALL[2]))), Goal::Up(Some(version(ALL[2])))] {
        let said = |world: &Seen| {
            let refused = plan(&ask(goal.clone(), None, &none), world).unwrap_err();
            let missing = refused.findings().iter().find(|finding| finding.code == "up-missing");
            missing.expect("it is refused").clone()
        };
        world.database.releases.clear();
        let finding = said(&world);
        assert!(finding.message.contains("the archive has its script"), "{finding:?}");
        assert!(!finding.remedy.contains("reconcile"), "{finding:?}");
        recorded(&mut world, "1.2.0", &ALL[..3]);
        let finding = said(&world);
        assert!(finding.remedy.contains("stepback reconcile --to 1.2.0"), "{finding:?}");
    }
}

#[test]
fn d3_a_script_is_spelled_as_the_archive_spells_it() {
    let mut world = with_applied(&ALL[..2]);
    for row in &mut world.database.archive {
        row.migration.version = version(&format!("00{}", row.migration.version));
    }
    let first = |plan: Plan| plan.scripts()[0].migration.version.as_str().to_owned();
    let up = planned(&world, &catalog(), "1.3.0").unwrap();
    assert_eq!(first(up), "0020240220103000");
    let filed = catalog();
    let down = ask(Goal::Down(1), None, &filed);
    assert_eq!(first(plan(&down, &world).unwrap()), "0020240115120000");
    // What lies there is not what was applied, so the folder's is captured before it runs.
    world.database.archive[1].capture = Capture::Staged;
    world.database.archive[1].up_sha256 = Digest::of("other");
    assert_eq!(first(plan(&down, &world).unwrap()), "0020240115120000");
    // An earlier version of stepback made a row for each spelling: only the newest revision counts.
    let mut older = world.database.archive[3].clone();
    world.database.archive[3].revision = 2;
    older.migration.version = version(ALL[3]);
    world.database.archive.insert(3, older);
    let up = planned(&world, &Catalog::default(), "1.3.0").unwrap();
    assert_eq!(first(up), "0020240301090000");
}

#[test]
fn what_an_interrupted_up_left_out_is_recorded_once() {
    let mut world = with_applied(&ALL);
    let plan = planned(&world, &catalog(), "1.3.0").unwrap();
    assert_eq!(
        steps(&plan),
        ["record the schema's fingerprint", "record the pairing of release 1.3.0"]
    );
    recorded(&mut world, "1.3.0", &ALL);
    let schema = world.database.applied().digest();
    world.database.fingerprints.push((schema, Digest::of("any")));
    assert_eq!(
        steps(&planned(&world, &catalog(), "1.3.0").unwrap()),
        Vec::<String>::new()
    );
    // An edited file of what is applied is no reason to refuse what is there.
    let edited = vec![(
        "20240101090000_create_orders.up.sql".to_owned(),
        b"CREATE TABLE other (id integer)".to_vec(),
    )];
    let edited = Catalog::read(&edited, Engine::Sqlite).unwrap();
    assert_eq!(steps(&planned(&world, &edited, "1.3.0").unwrap()), Vec::<String>::new());
}

#[test]
fn a_comparison_that_did_not_hold_is_made_again() {
    let mut world = with_applied(&ALL[..2]);
    recorded(&mut world, "1.2.0", &ALL[..2]);
    world.unverified = Some(Action::Verify {
        schema: world.database.applied(),
        expected: Digest::of("other"),
        drifted: Default::default(),
        inherited: Default::default(),
        before: None,
    });
    let schema = world.database.applied().digest();
    world.database.fingerprints.push((schema, Digest::of("other")));
    assert_eq!(
        steps(&planned(&world, &catalog(), "1.2.0").unwrap()),
        ["compare the schema with its recorded fingerprint"]
    );
}
