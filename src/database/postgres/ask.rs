//! A probe's query.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
use stepback_core::model::Engine;

use super::PostgresDatabase;
use super::session::Session;
use crate::database::truth::{First, judge, single};
use crate::database::{DbError, Reply};

/// Codes of errors that no later try can heal: a syntax error, and a write in a read-only transaction.
const NEVER: [&str; 2] = ["42601", "25006"];

/// The position of the query among the statements of the message.
const QUERY: usize = 3;

impl PostgresDatabase {
    /// On a connection of its own: whoever stops waiting drops it, and the working session knows nothing of it.
    pub(super) async fn ask_query(&self, query: &str, limit: Duration) -> Result<Reply, DbError> {
        let query = match single(query, Engine::Postgres) {
            Ok(query) => query,
            Err(why) => return Ok(Reply::Unfit(why)),
        };
        let doing = "asking a probe's query";
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let mut session = Session::open(&self.connect, limit).await.map_err(failed)?;
        let ms = limit.as_millis().max(1);
        // A read-only transaction cannot be made a writing one, and no single statement can leave it and write.
        let message = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms};\n{query}\n; ROLLBACK"
        );
        let sent = session.send(message).await;
        let reply = match sent {
            Ok(results) => Ok(judge(results.get(QUERY).into_iter().flatten().map(first))),
            Err(failure) => match &failure.error {
                sqlx::Error::Database(error) if error.code().is_some_and(|code| NEVER.contains(&&*code)) => {
                    Ok(Reply::Unfit(error.message().to_owned()))
                }
                error => Err(self.explain(doing, error)),
            },
        };
        session.close().await;
        reply
    }
}

fn first(row: &PgRow) -> First {
    let Ok(value) = row.try_get_raw(0) else {
        return First::Nothing;
    };
    if value.is_null() {
        return First::Null;
    }
    let text = value.as_str().unwrap_or_default();
    match value.type_info().name() {
        "BOOL" => First::Bool(text == "t"),
        "INT2" | "INT4" | "INT8" | "OID" | "NUMERIC" | "FLOAT4" | "FLOAT8" => First::Number(text.to_owned()),
        _ => First::Value,
    }
}
