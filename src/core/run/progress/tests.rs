use super::*;
use crate::model::{Digest, MigrationId};

fn v(version: u32) -> Version {
    version.to_string().parse().unwrap()
}

fn set(versions: &[u32]) -> MigrationSet {
    versions.iter().map(|version| v(*version)).collect()
}

fn id(version: u32) -> MigrationId {
    MigrationId {
        version: v(version),
        name: "m".into(),
    }
}

fn up(version: u32) -> Digest {
    Digest::of(format!("up {version}"))
}

fn scripts(direction: Direction, versions: &[u32]) -> Vec<ScriptRef> {
    let script = |version: &u32| ScriptRef {
        migration: id(*version),
        direction,
        sha256: Digest::of(format!("{direction:?} {version}")),
        up_sha256: up(*version),
    };
    versions.iter().map(script).collect()
}

fn ledger(versions: &[u32]) -> Vec<LedgerRow> {
    let row = |version: &u32| LedgerRow {
        sequence: Some(i64::from(*version)),
        migration: id(*version),
        up_sha256: Some(up(*version)),
        up_checksum: None,
        dirty: false,
        applied_at: String::new(),
    };
    versions.iter().map(row).collect()
}

/// 5, 4, 3 are undone; 1, 2 stay.
fn down(applied: &[u32]) -> Observed {
    let scripts = scripts(Direction::Down, &[5, 4, 3]);
    observe_scripts(
        Direction::Down,
        &scripts,
        &set(&[1, 2, 3, 4, 5]),
        &set(&[1, 2]),
        &ledger(applied),
    )
}

fn up_(applied: &[u32]) -> Observed {
    let scripts = scripts(Direction::Up, &[3, 4]);
    observe_scripts(
        Direction::Up,
        &scripts,
        &set(&[1, 2]),
        &set(&[1, 2, 3, 4]),
        &ledger(applied),
    )
}

fn partial(done: u32, of: u32) -> Observed {
    Observed::Partial(Progress { done, of })
}

fn is_foreign(seen: &Observed) -> bool {
    matches!(seen, Observed::Foreign(_))
}

#[test]
fn the_ledger_is_the_progress_of_downs() {
    assert_eq!(down(&[1, 2, 3, 4, 5]), Observed::Untouched);
    assert_eq!(down(&[1, 2, 3, 4]), partial(1, 3));
    assert_eq!(down(&[1, 2, 3]), partial(2, 3));
    assert!(matches!(down(&[1, 2]), Observed::Done(_)));
}

#[test]
fn the_ledger_is_the_progress_of_ups() {
    assert_eq!(up_(&[1, 2]), Observed::Untouched);
    assert_eq!(up_(&[1, 2, 3]), partial(1, 2));
    assert!(matches!(up_(&[1, 2, 3, 4]), Observed::Done(_)));
}

#[test]
fn a_ledger_that_no_prefix_made_is_somebody_elses() {
    for applied in [&[1, 2, 4][..], &[1, 2, 3, 5], &[1, 2, 5], &[1, 2, 4, 5]] {
        assert!(is_foreign(&down(applied)), "out of turn: {applied:?}");
    }
    assert!(is_foreign(&up_(&[1, 2, 4])), "out of turn");
    assert!(is_foreign(&down(&[1, 2, 3, 4, 5, 6])), "a migration that nobody knows");
    assert!(is_foreign(&up_(&[1, 2, 3, 4, 9])), "a migration that nobody knows");
    assert!(is_foreign(&down(&[1])), "one that was to stay is gone");
    assert!(is_foreign(&down(&[])), "a database that was emptied is no rollback");
    assert!(is_foreign(&up_(&[2, 3, 4])), "one that was to stay is gone");
}

#[test]
fn another_up_script_is_somebody_elses() {
    let mut rows = ledger(&[1, 2, 3]);
    rows[2].up_sha256 = Some(Digest::of("edited"));
    let (all, some) = (set(&[1, 2, 3]), set(&[1, 2]));
    let seen = observe_scripts(Direction::Down, &scripts(Direction::Down, &[3]), &all, &some, &rows);
    assert!(is_foreign(&seen));
    rows[2].up_sha256 = None;
    let seen = observe_scripts(Direction::Down, &scripts(Direction::Down, &[3]), &all, &some, &rows);
    assert_eq!(
        seen,
        Observed::Untouched,
        "a ledger without checksums cannot contradict"
    );
}

#[test]
fn a_step_that_went_down_leaves_a_later_step_its_own_scripts() {
    // Down from 3 to 1, then up to 4 on another branch: both steps of one plan.
    let (from, to) = (set(&[1, 2, 3]), set(&[1, 4]));
    let downs = scripts(Direction::Down, &[3, 2]);
    let seen = observe_scripts(Direction::Down, &downs, &from, &to, &ledger(&[1]));
    assert!(matches!(seen, Observed::Done(_)), "{seen:?}");
    let ups = scripts(Direction::Up, &[4]);
    assert_eq!(
        observe_scripts(Direction::Up, &ups, &from, &to, &ledger(&[1])),
        Observed::Untouched
    );
    assert!(matches!(
        recheck_scripts(Direction::Down, &downs, &ledger(&[1, 4])),
        Observed::Done(_)
    ));
}

#[test]
fn a_recheck_asks_only_for_its_own_rows() {
    let downs = scripts(Direction::Down, &[5, 4]);
    assert!(matches!(
        recheck_scripts(Direction::Down, &downs, &ledger(&[9])),
        Observed::Done(_)
    ));
    assert_eq!(recheck_scripts(Direction::Down, &downs, &ledger(&[4])), partial(1, 2));
    assert_eq!(
        recheck_scripts(Direction::Down, &downs, &ledger(&[4, 5])),
        Observed::Untouched
    );
    let ups = scripts(Direction::Up, &[5]);
    assert!(matches!(
        recheck_scripts(Direction::Up, &ups, &ledger(&[5])),
        Observed::Done(_)
    ));
    assert_eq!(recheck_scripts(Direction::Up, &ups, &ledger(&[])), Observed::Untouched);
}
