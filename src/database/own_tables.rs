//! Our own tables as SQL, for a DBA who makes them by hand (LAWS D15).

use stepback_core::model::Engine;

use super::postgres;
use super::sqlite;

/// The SQL that makes our own tables on this engine, and the database's random id with them; `None` where we keep no
/// tables yet. Running it again changes nothing. `state_schema` is the app file's `stateSchema`.
pub fn own_tables(engine: Engine, state_schema: &str) -> Option<String> {
    match engine {
        Engine::Postgres => Some(postgres::own_tables(state_schema)),
        Engine::Sqlite => Some(sqlite::own_tables()),
        _ => None,
    }
}
