//! Plans on a ledger that another tool keeps.

use super::*;
use crate::model::{Checksum, LedgerTool};

/// The shop as sqlx migrated it: its ledger has checksums of its own and no names of ours.
pub(super) fn seen_by_sqlx() -> Seen {
    let mut world = seen();
    world.database.database.ledger = LedgerRef {
        tool: LedgerTool::Sqlx,
        table: "public._sqlx_migrations".to_owned(),
    };
    world.database.ledger_table.exists = true;
    for (row, (_, _, up, _)) in world.database.ledger.iter_mut().zip(SHOP) {
        row.up_sha256 = None;
        row.up_checksum = Some(Checksum::sha384(up.as_bytes()));
    }
    world
}

#[test]
fn d3_what_was_staged_counts_as_captured_once_the_ledger_names_it() {
    let empty = Catalog::default();
    let down = |world: &Seen| match plan(&ask(Goal::Down(1), None, &empty), world) {
        Ok(plan) => plan.scripts()[0].sha256.to_string(),
        Err(refusals) => refusals.codes().join(" "),
    };
    let captured = Digest::of(SHOP[3].3).to_string();
    let mut world = seen_by_sqlx();
    assert_eq!(down(&world), captured);
    world.database.archive[3].capture = Capture::Staged;
    world.database.archive[3].ledger_sequence = None;
    assert_eq!(down(&world), captured);
    // sqlx applied something else than what was staged.
    world.database.ledger[3].up_checksum = Some(Checksum::sha384(b"another"));
    assert_eq!(down(&world), "down-unknown");
    world.database.archive[3].capture = Capture::Captured;
    world.database.archive[3].ledger_sequence = world.database.ledger[3].sequence;
    assert_eq!(down(&world), "up-differs");
}

#[test]
fn d16_a_plan_for_one_ledger_is_none_for_another() {
    let empty = Catalog::default();
    let (planned, mut world) = (
        plan(&ask(Goal::Down(1), None, &empty), &seen_by_sqlx()).unwrap(),
        seen_by_sqlx(),
    );
    assert_eq!(planned.database.ledger.table, "public._sqlx_migrations");
    assert_eq!(changes(&planned, &world, &empty), []);
    world.database.database.ledger.table = "other._sqlx_migrations".to_owned();
    let said: Vec<String> = changes(&planned, &world, &empty)
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = "ledger: the plan was made for public._sqlx_migrations, and this is other._sqlx_migrations";
    assert_eq!(said, [expected]);
}

#[test]
fn another_tools_checksum_finds_an_edited_file() {
    let mut world = seen_by_sqlx();
    world.database.archive.clear();
    let folder = catalog();
    let codes = |goal, world: &Seen| match plan(&ask(goal, None, &folder), world) {
        Ok(_) => String::new(),
        Err(refusals) => refusals.codes().join(" "),
    };
    assert_eq!(codes(Goal::Down(1), &world), "");
    world.database.ledger[3].up_checksum = Some(Checksum::sha384(b"another"));
    assert_eq!(codes(Goal::Down(1), &world), "up-edited");
    assert_eq!(codes(Goal::Up(None), &world), "up-edited");
}

#[test]
fn a_dirty_ledger_and_an_unclear_one_refuse_every_way() {
    let empty = Catalog::default();
    let mut world = seen_by_sqlx();
    world.database.ledger[3].dirty = true;
    for goal in [Goal::Down(1), Goal::Up(None), Goal::Schema(None)] {
        let refusals = plan(&ask(goal, None, &empty), &world).unwrap_err();
        assert_eq!(refusals.codes(), ["ledger-dirty"]);
    }
    let simple = [("1_a.sql".to_owned(), b"SELECT 1".to_vec())];
    let folder = Catalog::read(&simple, Engine::Sqlite).unwrap();
    let mut world = seen();
    let refusals = plan(&ask(Goal::Up(None), None, &folder), &world).unwrap_err();
    assert_eq!(refusals.codes(), ["ledger-unclear"]);
    world.database.ledger_table.chosen = true;
    assert!(plan(&ask(Goal::Up(None), None, &folder), &world).is_ok());
}
