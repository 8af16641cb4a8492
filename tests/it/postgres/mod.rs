//! What only PostgreSQL can be asked for: sessions that outlive their client, settings that leak, rights, limits.

mod objects;
mod scripts;
mod server;
mod sessions;

use std::time::Duration;

use stepback::database::Database;
use stepback_core::catalog::Migration;
use stepback_core::model::{Direction, ScriptRef, Token};

use crate::contract_database::{self, PostgresPlace, acquire};
use crate::support::runner::{Case, NotPassed, case};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "postgres::d4_a_takeover_waits_for_work_that_it_may_not_end",
            sessions::unkillable,
        ),
        case(
            "postgres::d5_a_dead_clients_script_is_over_when_a_rival_has_the_lease",
            sessions::dead_client,
        ),
        case(
            "postgres::d5_a_lost_session_of_ours_is_gone_before_anything_is_read",
            sessions::lost_session,
        ),
        case(
            "postgres::d5_a_lease_that_was_given_back_names_no_session_and_ends_none",
            sessions::given_back,
        ),
        case(
            "postgres::d14_a_takeover_ends_no_session_that_works_for_somebody_else_by_now",
            sessions::handed_on,
        ),
        case(
            "postgres::d7_a_lost_reply_is_answered_by_the_ledger",
            sessions::lost_reply,
        ),
        case(
            "postgres::d8_settings_of_one_script_do_not_reach_the_next_or_our_rows",
            scripts::settings,
        ),
        case(
            "postgres::d8_what_one_script_leaves_in_its_session_the_next_does_not_find",
            scripts::leavings,
        ),
        case(
            "postgres::d8_a_script_has_the_isolation_that_it_asks_for",
            scripts::isolation,
        ),
        case(
            "postgres::d7_a_migration_that_was_applied_again_since_is_not_undone",
            scripts::redone,
        ),
        case("postgres::d7_a_batch_is_cut_at_its_size", scripts::batches),
        case("postgres::d13_a_script_cannot_weaken_our_commit", scripts::commit),
        case(
            "postgres::d13_a_new_connection_that_leads_to_another_database_is_refused",
            sessions::another_server,
        ),
        case(
            "postgres::d13_a_server_that_was_promoted_is_on_its_own_timeline_at_once",
            server::promoted,
        ),
        case(
            "postgres::d13_a_server_that_forgets_what_it_committed_is_found",
            server::forgets,
        ),
        case(
            "postgres::d16_whoever_would_be_sent_our_tables_is_found_before_they_are_made",
            server::replicated,
        ),
        case("postgres::d15_a_missing_right_is_said_plainly", server::rights),
        case(
            "postgres::d15_a_right_that_the_downs_need_is_found_in_the_plan",
            server::rights_in_the_plan,
        ),
        case(
            "postgres::d17_a_lock_that_is_not_free_can_be_tried_again_and_names_who_holds_it",
            scripts::blocked,
        ),
        case("postgres::d17_a_statement_ends_at_its_limit", scripts::statement_limit),
        case(
            "postgres::d12_a_fingerprint_covers_what_a_migration_can_change",
            objects::fingerprint,
        ),
        case(
            "postgres::d12_of_a_schema_that_holds_our_tables_too_only_they_are_left_out",
            objects::shared_schema,
        ),
        case(
            "postgres::d12_a_schema_of_our_own_is_in_no_fingerprint_until_others_use_it",
            objects::own_schema,
        ),
        case(
            "postgres::d12_the_downs_are_compared_in_a_schema_that_holds_our_tables_too",
            objects::compared_in_a_shared_schema,
        ),
        case(
            "postgres::scripts_that_cannot_run_in_a_transaction_are_refused",
            scripts::no_transaction,
        ),
        case("postgres::a_read_only_database_is_seen_and_refuses", server::read_only),
        case(
            "postgres::an_unreachable_server_is_named_without_its_password",
            server::unreachable,
        ),
        case("postgres::a_thousand_downs_take_few_round_trips", scripts::thousand),
    ]
}

const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A value with the lease, and migrations in its archive.
async fn holder(url: &str, migrations: &[Migration]) -> Result<(Box<dyn Database>, Token), NotPassed> {
    let database = PostgresPlace::open_at(url, LOCK_WAIT);
    database.prepare().await?;
    let token = acquire(&*database, "holder").await?;
    database.stage(token, migrations).await?;
    Ok((database, token))
}

fn up(migrations: &[Migration]) -> Vec<ScriptRef> {
    contract_database::scripts(Direction::Up, migrations)
}

fn down(migrations: &[Migration]) -> Vec<ScriptRef> {
    let mut downs = contract_database::scripts(Direction::Down, migrations);
    downs.reverse();
    downs
}
