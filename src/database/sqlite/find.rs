//! Which table of a SQLite file is the ledger.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::model::Engine;

use super::work::quote;
use super::{OWN_LEDGER, SqliteDatabase, has_table};
use crate::database::DbError;
use crate::database::ledger::{Candidate, Found, Ledger, SQLX_COLUMNS, SQLX_TABLE, choose};

/// Our own ledger, wherever it is.
pub(super) fn own_ledger() -> Ledger {
    Ledger::own(OWN_LEDGER.to_owned(), full_name(OWN_LEDGER))
}

fn full_name(table: &str) -> String {
    format!("main.{}", quote(table))
}

/// What a file that is not there yet offers.
pub(super) fn nothing() -> Found {
    Found {
        own: Candidate::own(own_ledger()),
        foreign: Vec::new(),
        sqlx_default: (SQLX_TABLE.to_owned(), full_name(SQLX_TABLE)),
    }
}

impl SqliteDatabase {
    /// The ledger, looked for unless it is settled.
    pub(super) async fn find_ledger(&self, connection: &mut SqliteConnection) -> Result<Arc<Ledger>, DbError> {
        if self.ledger.is_settled() {
            return Ok(self.ledger.get());
        }
        let found = search(connection)
            .await
            .map_err(|error| self.explain("looking for the ledger", error))?;
        choose(&self.options.ledger, found).map(|ledger| self.ledger.set(ledger))
    }

    /// Makes another tool's ledger where that was asked for and it is not there.
    pub(super) async fn make_ledger(&self, connection: &mut SqliteConnection) -> Result<(), DbError> {
        let ledger = self.find_ledger(connection).await?;
        let create = ledger.statements(Engine::Sqlite).create;
        if ledger.exists || create.is_empty() {
            return Ok(());
        }
        let create = create.replace("{l}", &ledger.quoted);
        sqlx::raw_sql(sqlx::AssertSqlSafe(create))
            .execute(&mut *connection)
            .await
            .map_err(|error| self.explain("making the ledger", error))?;
        self.find_ledger(connection).await.map(drop)
    }
}

async fn search(connection: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let mut found = nothing();
    let candidates = sqlx::query(
        "SELECT m.name FROM main.sqlite_schema AS m WHERE m.type = 'table' AND (SELECT group_concat(c.name, ',') FROM \
         (SELECT lower(name) AS name FROM pragma_table_info(m.name) ORDER BY 1) AS c) = ? ORDER BY m.name",
    )
    .bind(SQLX_COLUMNS)
    .fetch_all(&mut *connection)
    .await?;
    for row in candidates {
        let name: String = row.try_get(0)?;
        let quoted = full_name(&name);
        let in_path = name.eq_ignore_ascii_case(SQLX_TABLE);
        let mut one = Candidate::sqlx(name, quoted, Vec::new(), in_path);
        one.has_rows = has_rows(connection, &one.ledger.quoted).await?;
        found.foreign.push(one);
    }
    found.own.ledger.exists = has_table(connection, OWN_LEDGER).await?;
    // With nothing else in sight our own is the ledger, whatever it holds. The tables are made in one transaction, so one of
    // them stands for all.
    if !found.own.ledger.exists || found.foreign.is_empty() {
        return Ok(found);
    }
    found.own.has_rows = has_rows(connection, &found.own.ledger.quoted).await?;
    for one in std::iter::once(&mut found.own).chain(&mut found.foreign) {
        one.has_history = sqlx::query(HISTORY)
            .bind(&one.ledger.table)
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?;
    }
    Ok(found)
}

/// Whether an app has gone by a ledger. What is only staged says nothing: that was before anything was applied.
const HISTORY: &str = "SELECT EXISTS (SELECT 1 FROM main.stepback_archive WHERE ledger = ?1 AND capture = 'captured') \
    OR EXISTS (SELECT 1 FROM main.stepback_release WHERE ledger = ?1) \
    OR EXISTS (SELECT 1 FROM main.stepback_run WHERE ledger = ?1)";

async fn has_rows(connection: &mut SqliteConnection, quoted: &str) -> Result<bool, sqlx::Error> {
    let query = format!("SELECT EXISTS (SELECT 1 FROM {quoted})");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .fetch_one(connection)
        .await?
        .try_get(0)
}
