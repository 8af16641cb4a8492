//! A migration that comes late, below what is applied already; or lies in the folder and never came.

use super::*;

#[test]
fn d1_a_migration_that_comes_late_pairs_no_release_with_what_is_above_it() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let catalog = catalog();
    let mut world = seen();
    // A hotfix of 1.2.0 arrives where 1.3.0's newest is applied already.
    world.database.ledger.remove(1);
    for goal in [Goal::Up(None), Goal::UpTo("1.3.0".parse().unwrap())] {
        let plan = plan(&ask(goal, Some(&app), &catalog), &world).unwrap();
        assert_eq!(
            steps(&plan),
            ["apply 20240115120000_add_customer", "record the schema's fingerprint"]
        );
    }
}

#[test]
fn a_down_to_a_version_is_about_what_is_applied_alone() {
    let catalog = catalog();
    let mut world = seen();
    // The second was never applied; the folder has it.
    let late = world.database.ledger.remove(1).migration.version;
    let to = |version: &Version| plan(&ask(Goal::DownTo(version.clone()), None, &catalog), &world);
    let down = to(&version("20240220103000")).unwrap();
    assert_eq!(steps(&down), ["revert 20240301090000_payments"]);
    assert_eq!(down.to.schema.0.len(), 2);
    assert_eq!(steps(&to(&version("20240301090000")).unwrap()), [""; 0]);
    assert_eq!(to(&late).unwrap_err().codes(), ["target-behind"]);
    assert_eq!(to(&version("7")).unwrap_err().codes(), ["schema-unknown"]);
}

#[test]
fn d1_a_down_by_count_follows_the_order_that_was_asked_for() {
    let mut world = seen();
    // The last but one was applied after the last.
    let last = world.database.ledger.len() - 1;
    let sequence = |world: &Seen, row: usize| world.database.ledger[row].sequence;
    let (one, other) = (sequence(&world, last - 1), sequence(&world, last));
    for (row, sequence) in [(last - 1, other), (last, one)] {
        world.database.ledger[row].sequence = sequence;
        world.database.archive[row].ledger_sequence = sequence;
    }
    let version = |row: usize| world.database.ledger[row].migration.version.clone();
    let folder = catalog();
    let undone = |order| {
        let mut request = ask(Goal::Down(1), None, &folder);
        request.order = Some(order);
        let planned = plan(&request, &world).unwrap();
        let scripts = planned.scripts();
        assert_eq!(scripts.len(), 1);
        scripts[0].migration.version.clone()
    };
    assert_eq!(undone(Order::Applied), version(last - 1));
    assert_eq!(undone(Order::Version), version(last));
}

#[test]
fn a_down_by_count_says_when_there_are_not_so_many() {
    let folder = catalog();
    let world = seen();
    let applied = u32::try_from(world.database.ledger.len()).unwrap();
    let said = |count| {
        let plan = plan(&ask(Goal::Down(count), None, &folder), &world).unwrap();
        let short = plan.findings.iter().find(|found| found.code == "down-short");
        short.map(|found| found.message.clone())
    };
    assert_eq!(said(applied), None);
    assert_eq!(
        said(applied + 5).as_deref(),
        Some("9 are to be undone, and only 4 are applied: all of them are")
    );
}
