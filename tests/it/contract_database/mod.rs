//! What every engine promises: one list of laws over every harness.
//!
//! A law is a function on a fresh database. It is registered in [`LAWS`] and then runs on each engine that is listed in
//! [`harnesses`]. What only one engine can be asked for stands in a module of its own (`postgres.rs`).

mod acting;
mod asking;
mod harness;
mod holding;
mod ledgers;
mod looking;
mod spelling;
mod sqlite;

use futures::future::BoxFuture;

use crate::support::runner::{Case, Outcome, case, fail, root, sync_case};

use harness::{Fresh, Harness, Kept, PostgresHarness, SqliteHarness};
pub use harness::{Place, PostgresPlace, acquire, applied, carry, migration, scripts, stamp};

/// One law. It is given a fresh database, in which nothing of ours is yet.
type Law = fn(Fresh) -> BoxFuture<'static, Outcome>;

/// Names each law once.
macro_rules! laws {
    ($($module:ident :: $law:ident),* $(,)?) => {
        &[$((stringify!($law), (|place| Box::pin($module::$law(place))) as Law)),*]
    };
}

#[rustfmt::skip]
const LAWS: &[(&str, Law)] = laws![
    looking::looking_creates_nothing,
    looking::a_call_that_is_given_up_leaves_the_next_one_whole,
    looking::preparing_is_idempotent_and_several_may_do_it_at_once,
    looking::d13_an_identity_stays_and_is_no_other_databases,
    looking::d12_a_fingerprint_is_the_same_after_a_down_and_a_difference_can_be_read,
    looking::facts_are_recorded_as_they_are_given,
    looking::d13_nothing_is_recorded_of_what_the_ledger_does_not_hold,
    looking::a_journal_line_is_written_once,
    looking::one_run_is_open_at_a_time,
    looking::d13_what_a_run_acts_on_is_remembered_by_app,
    looking::w5_a_run_is_handed_over_as_a_whole_or_not_at_all,
    holding::the_lease_is_one_holders,
    holding::a_lease_is_taken_over_after_its_life_and_not_before,
    holding::d4_a_lease_of_the_future_ends_when_nothing_beats_for_its_life,
    holding::d4_a_holder_that_was_taken_over_changes_nothing,
    holding::d4_work_in_flight_is_over_when_a_takeover_returns,
    holding::d4_nothing_changes_without_the_token,
    acting::d2_bodies_come_back_whole,
    acting::d3_staged_becomes_captured_when_it_is_applied,
    spelling::d3_a_version_that_is_spelled_anew_is_the_same_migration,
    spelling::d3_of_one_version_under_two_spellings_the_newest_counts,
    acting::a_script_is_committed_with_its_ledger_row,
    acting::d6_the_ledger_alone_says_whether_data_was_changed,
    acting::d7_a_failing_script_keeps_nothing_and_earlier_ones_stay,
    acting::d7_a_syntax_error_is_found_and_blamed,
    acting::d7_a_script_that_the_plan_does_not_name_is_not_run,
    acting::d7_a_script_that_the_archive_no_longer_holds_is_not_run,
    acting::d8_transaction_control_is_refused,
    acting::d17_a_migration_ends_at_its_limit_however_quick_its_statements_are,
    ledgers::d16_scripts_are_one_ledgers,
    ledgers::d16_facts_are_one_ledgers,
    ledgers::d16_a_run_is_open_on_one_ledger,
    ledgers::d16_a_ledger_that_was_emptied_is_not_exchanged_for_another_apps,
    asking::a_query_holds_when_every_row_begins_with_something_true,
    asking::a_query_changes_nothing,
    asking::a_query_has_a_limit_and_whoever_stops_waiting_leaves_nothing_behind,
    acting::d8_session_state_does_not_reach_the_next_script,
];

fn harnesses() -> Vec<Box<dyn Harness>> {
    vec![
        Box::new(SqliteHarness(Kept::ByUs)),
        Box::new(PostgresHarness(Kept::ByUs)),
        Box::new(SqliteHarness(Kept::BySqlx)),
        Box::new(PostgresHarness(Kept::BySqlx)),
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![sync_case(
        "contract_database::d8_our_names_are_qualified::sqlite",
        |_ctx| names_are_qualified(),
    )];
    cases.extend(sqlite::cases());
    for (name, law) in LAWS {
        for harness in harnesses() {
            let title = format!("contract_database::{name}::{}", harness.name());
            cases.push(case(title, async move |ctx| {
                let place = harness.fresh(&ctx).await?;
                law(Fresh { place, harness, ctx }).await
            }));
        }
    }
    cases
}

/// A temporary table of a script would stand before ours of the same name; `sqlite_schema` alone is always `main`'s.
fn names_are_qualified() -> Outcome {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("src/database/sqlite"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        for (number, line) in (1..).zip(text.lines()) {
            if ["FROM", "INTO", "UPDATE", "JOIN"]
                .iter()
                .any(|word| line.contains(&format!("{word} stepback_")))
            {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        fail(format!("write main. before these:\n{}", found.join("\n")))
    }
}
