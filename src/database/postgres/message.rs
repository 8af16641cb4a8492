//! The messages that every part is made of: a transaction with its settings and its fence.

use std::time::Duration;

use stepback_core::model::Token;

use super::quote::string;
use super::session::Results;
use super::{PostgresDatabase, error};
use crate::database::DbError;

/// Settings of every transaction of ours (LAWS D13, D17), all local to it (LAWS D14).
const SETTINGS: &str = "SELECT pg_catalog.set_config('lock_timeout', $1, true), \
    pg_catalog.set_config('statement_timeout', $2, true), \
    pg_catalog.set_config('synchronous_commit', 'on', true), \
    pg_catalog.set_config('application_name', $3, true), \
    pg_catalog.set_config('search_path', 'pg_catalog', true)";

/// Holds the token until the transaction ends, or raises (LAWS D4).
const FENCE: &str = "\
    PERFORM 1 FROM {s}.lease WHERE ledger = $1 AND token = $2 AND nonce = $3 AND NOT released FOR KEY SHARE; \
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = $4, MESSAGE = 'the lease is not held under this token'; END IF; ";

/// A time limit as the server takes it, in milliseconds; never 0, which means no limit.
pub(super) fn milliseconds(limit: Duration) -> String {
    limit.as_millis().clamp(1, i32::MAX as u128).to_string()
}

/// A token's number as the lease row has it.
pub(super) fn number(token: Token) -> i64 {
    i64::try_from(token.number).unwrap_or(i64::MAX)
}

impl PostgresDatabase {
    pub(super) fn settings(&self) -> String {
        self.settings_with(self.options.lock_wait)
    }

    pub(super) fn settings_with(&self, lock_wait: Duration) -> String {
        let (lock, statement) = (milliseconds(lock_wait), milliseconds(self.options.statement));
        self.fill(SETTINGS, &[(&lock).into(), (&statement).into(), (&self.name).into()])
    }

    /// The fence as statements of a `DO` body.
    pub(super) fn fence(&self, token: Token) -> String {
        let ledger = self.ledger.get();
        let values = [
            (&ledger.table).into(),
            number(token).into(),
            i64::from(token.nonce).into(),
            error::FENCED.into(),
        ];
        self.fill(FENCE, &values)
    }

    /// Reads in one transaction that can change nothing.
    pub(super) async fn read(&self, doing: &'static str, body: &str) -> Result<Results, DbError> {
        let settings = self.settings();
        let message = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}; {body}; COMMIT");
        let mut results = self.ask(doing, message).await?;
        results.pop();
        results.drain(..2);
        Ok(results)
    }

    /// Changes something under a token, in one transaction.
    pub(super) async fn change(&self, doing: &'static str, token: Token, body: &str) -> Result<Results, DbError> {
        let settings = self.settings();
        let fence = do_block(&self.fence(token));
        let message = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}; {fence}; {body}; COMMIT");
        let mut results = self.ask(doing, message).await?;
        results.pop();
        results.drain(..3);
        Ok(results)
    }
}

/// Statements of PL/pgSQL as one statement of SQL. The body is quoted as a whole, so nothing inside can end it.
pub(super) fn do_block(statements: &str) -> String {
    format!("DO {}", string(&format!("BEGIN {statements}END")))
}
