//! Which table of a PostgreSQL database is the ledger.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use stepback_core::model::Engine;

use super::PostgresDatabase;
use super::quote::{self, Value};
use crate::database::DbError;
use crate::database::ledger::{Candidate, Found, Ledger, SQLX_COLUMNS, SQLX_TABLE, choose};

/// Tables with the columns and types of sqlx's ledger that this role may read; whether our own tables of interest are
/// there; and where a table without a schema would be made. By the search path that a session of this role begins with,
/// as sqlx would have it.
const TABLES: &str = "SET LOCAL search_path TO DEFAULT; \
    SELECT n.nspname::text AS schema, c.relname::text AS name, \
        c.relname = $2 AND pg_catalog.pg_table_is_visible(c.oid) AS in_path \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> $3 \
        AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
        AND (SELECT pg_catalog.string_agg(a.attname, ',' ORDER BY a.attname COLLATE \"C\") FROM pg_catalog.pg_attribute a \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) = $1 \
        AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'checksum' \
            AND a.atttypid = 'pg_catalog.bytea'::pg_catalog.regtype) \
        AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'version' \
            AND a.atttypid = 'pg_catalog.int8'::pg_catalog.regtype) \
    ORDER BY 1, 2; \
    SELECT coalesce(pg_catalog.current_schema()::text, 'public') AS default_schema, \
        EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $3 AND tablename = 'ledger') AS has_own, \
        (SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = $3 AND tablename IN ('archive', 'release', 'run')) = 3 \
            AS has_history";

/// Whether an app has gone by a ledger. What is only staged says nothing: that was before anything was applied.
const HISTORY: &str = "EXISTS (SELECT FROM {s}.archive WHERE ledger = $1 AND capture = 'captured') \
    OR EXISTS (SELECT FROM {s}.release WHERE ledger = $1) OR EXISTS (SELECT FROM {s}.run WHERE ledger = $1)";

/// Our own ledger in this state schema.
pub(super) fn own_ledger(schema: &str) -> Ledger {
    let (table, quoted) = full_name(schema, "ledger");
    Ledger::own(table, quoted)
}

/// A table's name as it is told to people and kept in our rows, where two tables never have the same, and quoted.
fn full_name(schema: &str, table: &str) -> (String, String) {
    let quoted = format!("{}.{}", quote::name(schema), quote::name(table));
    (format!("{}.{}", spell(schema), spell(table)), quoted)
}

/// A name that may hold a dot, or a letter that looks like another one's small one, is quoted.
fn spell(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.bytes().all(is_plain) {
        name.to_owned()
    } else {
        quote::name(name)
    }
}

impl PostgresDatabase {
    /// The ledger, looked for unless it is settled.
    pub(super) async fn find_ledger(&self) -> Result<Arc<Ledger>, DbError> {
        if self.ledger.is_settled() {
            return Ok(self.ledger.get());
        }
        let found = self.search().await?;
        choose(&self.options.ledger, found).map(|ledger| self.ledger.set(ledger))
    }

    /// Sees to it that the ledger is known: found once, if not by the last look.
    pub(super) async fn know_ledger(&self) -> Result<(), DbError> {
        match self.ledger.known() {
            Some(_) => Ok(()),
            None => self.find_ledger().await.map(drop),
        }
    }

    async fn search(&self) -> Result<Found, DbError> {
        let doing = "looking for the ledger";
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let state: &str = &self.options.state_schema;
        let values = [SQLX_COLUMNS.into(), SQLX_TABLE.into(), Value::Text(state)];
        let results = self.read(doing, &self.fill(TABLES, &values)).await?;
        let (tables, about) = (&results[1], &results[2]);
        let about = about.first().ok_or(sqlx::Error::RowNotFound).map_err(failed)?;
        let default_schema: String = about.try_get("default_schema").map_err(failed)?;
        let has_own: bool = about.try_get("has_own").map_err(failed)?;
        let mut foreign = Vec::new();
        for row in tables {
            let (schema, name): (String, String) = read_name(row).map_err(failed)?;
            let (table, quoted) = full_name(&schema, &name);
            let names = vec![format!("{schema}.{name}"), name];
            let in_path = row.try_get("in_path").map_err(failed)?;
            foreign.push(Candidate::sqlx(table, quoted, names, in_path));
        }
        let mut found = Found {
            own: Candidate::own(own_ledger(state)),
            foreign,
            sqlx_default: full_name(&default_schema, SQLX_TABLE),
        };
        found.own.ledger.exists = has_own;
        // With nothing else in sight our own is the ledger, whatever it holds.
        if !found.foreign.is_empty() {
            let has_history = about.try_get("has_history").map_err(failed)?;
            self.look_for_use(&mut found, has_history).await?;
        }
        Ok(found)
    }

    /// Which of the tables hold rows, and, where the tables that say so are there, which an app has gone by.
    async fn look_for_use(&self, found: &mut Found, has_history: bool) -> Result<(), DbError> {
        let doing = "looking for the ledger";
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let mut candidates: Vec<&mut Candidate> = found.foreign.iter_mut().collect();
        if found.own.ledger.exists {
            candidates.push(&mut found.own);
        }
        let queries: Vec<String> = candidates
            .iter()
            .map(|one| {
                let history = if has_history { HISTORY } else { "false" };
                let history = self.fill(history, &[(&one.ledger.table).into()]);
                format!("SELECT EXISTS (SELECT FROM {}), {history}", one.ledger.quoted)
            })
            .collect();
        let results = self.read(doing, &queries.join("; ")).await?;
        for (one, rows) in candidates.into_iter().zip(&results) {
            let row = rows.first().ok_or(sqlx::Error::RowNotFound).map_err(failed)?;
            one.has_rows = row.try_get(0).map_err(failed)?;
            one.has_history = row.try_get(1).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes another tool's ledger where that was asked for and it is not there.
    pub(super) async fn make_ledger(&self) -> Result<(), DbError> {
        let ledger = self.find_ledger().await?;
        let create = ledger.statements(Engine::Postgres).create;
        if ledger.exists || create.is_empty() {
            return Ok(());
        }
        let settings = self.settings();
        let create = self.fill(create, &[]);
        let message = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}; {create}; COMMIT");
        self.ask("making the ledger", message).await?;
        self.find_ledger().await.map(drop)
    }
}

fn read_name(row: &PgRow) -> Result<(String, String), sqlx::Error> {
    Ok((row.try_get("schema")?, row.try_get("name")?))
}
