//! A probe's query.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};
use stepback_core::model::Engine;
use tokio::time::Instant;

use super::{STEPS, SqliteDatabase};
use crate::database::truth::{First, judge, single};
use crate::database::{DbError, Reply};

impl SqliteDatabase {
    /// On a connection of its own that cannot write. SQLite has no timeout of statements: its progress is watched.
    pub(super) async fn ask_query(&self, query: &str, limit: Duration) -> Result<Reply, DbError> {
        let query = match single(query, Engine::Sqlite) {
            Ok(query) => query,
            Err(why) => return Ok(Reply::Unfit(why)),
        };
        self.expect_same_file()?;
        let deadline = Instant::now() + limit;
        let doing = "asking a probe's query";
        let failed = |error: sqlx::Error| self.explain(doing, error);
        let options = self.open_options(false).read_only(true).busy_timeout(limit);
        let mut connection = options.connect().await.map_err(failed)?;
        connection
            .lock_handle()
            .await
            .map_err(failed)?
            .set_progress_handler(STEPS, move || Instant::now() < deadline);
        let asked = rows_of(&mut connection, query).await;
        // Nothing was changed, so nothing can be lost by a connection that does not end well.
        drop(connection.close().await);
        match asked {
            Ok(rows) => Ok(judge(rows)),
            Err(sqlx::Error::Database(error)) if can_never(&*error) => Ok(Reply::Unfit(error.message().to_owned())),
            Err(error) => Err(failed(error)),
        }
    }
}

async fn rows_of(connection: &mut SqliteConnection, query: &str) -> Result<Vec<First>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch(connection);
    rows.map_ok(|row| first(&row)).try_collect().await
}

/// A write, which a read-only connection refuses (8), or text that is no SQL; a table that is missing may come back.
fn can_never(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0) & 0xff;
    let message = error.message();
    code == 8 || (code == 1 && (message.contains("syntax error") || message.contains("incomplete input")))
}

fn first(row: &SqliteRow) -> First {
    let Ok(value) = row.try_get_raw(0) else {
        return First::Nothing;
    };
    if value.is_null() {
        return First::Null;
    }
    let number = match value.type_info().name() {
        "INTEGER" | "INT4" | "INT8" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(0).map(|number| number.to_string()),
        "REAL" | "NUMERIC" => row.try_get_unchecked::<f64, _>(0).map(|number| number.to_string()),
        _ => return First::Value,
    };
    number.map_or(First::Value, First::Number)
}
