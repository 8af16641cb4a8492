//! Making our own tables.

use sqlx::Row as _;

use super::OWN_TABLES;
use super::look::There;
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

/// Whether anybody has taken a lease for this ledger.
const TAKEN: &str = "SELECT EXISTS (SELECT FROM {s}.lease WHERE ledger = {k})";

impl PostgresDatabase {
    /// Fails where our tables are in another schema and would be made here too, or where those there are kept for this very
    /// ledger and those here are not yet: two leases would fence nothing from each other (LAWS D16).
    async fn expect_only_set(&self, there: &There) -> Result<(), DbError> {
        let state = &self.options.state_schema;
        let mut others = self.state_schemas().await?;
        others.retain(|other| other != state);
        let refused = |schema: &str, what: String, hint: String| {
            Err(DbError::LedgerUnclear {
                message: format!("stepback's own tables are in schema {schema}, {what}"),
                hint: format!(
                    "go by those: --state-schema {schema}, or `stateSchema: {schema}` in the app file; {hint}"
                ),
            })
        };
        let ledger = self.ledger.get();
        if !there.has("lease") {
            return match others.as_slice() {
                [] => Ok(()),
                others => refused(
                    &others.join(", "),
                    format!("and not in {state}, where they would be made a second time"),
                    format!(
                        "for another app with a ledger of its own, let `stepback init --sql --state-schema {state}` \
                         print them, and make them"
                    ),
                ),
            };
        }
        if ledger.is_own() || others.is_empty() {
            return Ok(());
        }
        let doing = "looking for the lease";
        for other in &others {
            let taken = |schema: &str| {
                let names = quote::Names {
                    schema: &quote::name(schema),
                    ledger: &ledger.quoted,
                    key: &quote::literal((&ledger.table).into()),
                };
                quote::fill(TAKEN, names, &[])
            };
            let found = self.read(doing, &format!("{}; {}", taken(state), taken(other))).await?;
            let is_taken = |at: usize| -> Result<bool, DbError> {
                let row = found[at].first().ok_or(sqlx::Error::RowNotFound);
                let taken = row.and_then(|row: &sqlx::postgres::PgRow| row.try_get(0));
                taken.map_err(|error| self.explain(doing, &error))
            };
            if !is_taken(0)? && is_taken(1)? {
                let table = &ledger.table;
                let hint = format!("or, where nothing is done from there any more, delete its rows of {table}");
                return refused(other, format!("and those are kept for the ledger {table}"), hint);
            }
        }
        Ok(())
    }

    pub(super) async fn make_tables(&self) -> Result<(), DbError> {
        let doing = "making stepback's tables";
        // Refuses where the ledger is unclear, before anything is made.
        self.find_ledger().await?;
        let there = self.look_what_is_there().await?;
        self.expect_only_set(&there).await?;
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
