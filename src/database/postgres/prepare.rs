//! Making our own tables.

use super::OWN_TABLES;
use super::{PostgresDatabase, quote};
use crate::database::DbError;

/// The statement of [`OWN_TABLES`] that needs a right on the whole database, which is wanted only when it does something.
const CREATE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS {schema};";

/// `IF NOT EXISTS` of two sessions at once can fail, so they take turns. The number is "stepback" in ASCII; the lock is the
/// transaction's own and `lock_timeout` limits the wait for it.
const TAKE_TURNS: &str = "SELECT pg_catalog.pg_advisory_xact_lock(8319385945021440875)";

const IDENTITY: &str = "INSERT INTO {s}.identity (one, id, made_at) VALUES (1, $1, {now}) ON CONFLICT DO NOTHING";

/// The SQL for a DBA: the schema, the tables, and the id, which the database itself draws: the same text on two databases
/// must not give them one id.
pub(in crate::database) fn own_tables(state_schema: &str) -> String {
    let schema = quote::name(state_schema);
    let names = quote::Names {
        schema: &schema,
        ..quote::Names::default()
    };
    let id = "pg_catalog.md5(pg_catalog.random()::text || pg_catalog.clock_timestamp()::text \
              || pg_catalog.pg_backend_pid()::text)";
    let identity = quote::fill(IDENTITY, names, &["{id}".into()]).replace("'{id}'::text", id);
    let tables = OWN_TABLES.replace("{schema}", &schema);
    format!("{tables}{identity};\n")
}

impl PostgresDatabase {
    pub(super) async fn make_tables(&self) -> Result<(), DbError> {
        let doing = "making stepback's tables";
        // Refuses where the ledger is unclear, before anything is made.
        self.find_ledger().await?;
        let there = self.look_what_is_there().await?;
        if there.is_complete()
            && !self
                .read_rows("identity", doing, &self.fill("SELECT id FROM {s}.identity", &[]))
                .await?
                .is_empty()
        {
            return self.make_ledger().await;
        }
        let tables = if there.has_schema {
            OWN_TABLES.replace(CREATE_SCHEMA, "")
        } else {
            OWN_TABLES.to_owned()
        };
        let tables = tables.replace("{schema}", &self.schema);
        let id = ulid::Ulid::generate().to_string();
        let identity = self.fill(IDENTITY, &[(&id).into()]);
        let settings = self.settings();
        let message =
            format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}; {TAKE_TURNS}; {tables}\n; {identity}; COMMIT");
        self.ask(doing, message).await?;
        self.make_ledger().await
    }
}
