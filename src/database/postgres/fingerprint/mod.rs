//! The fingerprint of a PostgreSQL database: every object's definition as the server prints it (LAWS D12).
//!
//! Read in one snapshot and one round trip, with `pg_catalog` alone on the search path, so that every other name is printed
//! with its schema. Left out: what belongs to the server, to extensions or to us; what a partition has from its parent;
//! column numbers, which a dropped column leaves a gap in; comments. Not looked at: operators, casts, collations, text
//! search, foreign servers, publications.

mod queries;

use std::collections::BTreeMap;

use sqlx::Row as _;
use stepback_core::model::{Drift, Fingerprint};

use super::PostgresDatabase;
use crate::database::DbError;

/// The version of the form. It changes whenever a definition is written in another way, or other objects are covered: 2 has
/// what others have in the schema of our tables.
const FORMAT: u32 = 2;

impl PostgresDatabase {
    pub(super) async fn take_fingerprint(&self) -> Result<Fingerprint, DbError> {
        let doing = "reading the schema";
        let mut queries = vec!["SELECT 'PostgreSQL ' || current_setting('server_version')".to_owned()];
        let ledger = self.find_ledger().await?;
        let foreign = (!ledger.is_own() && ledger.exists).then_some(ledger.quoted.as_str());
        let own = [(&self.options.state_schema).into(), foreign.into()];
        queries.extend(queries::ALL.iter().map(|query| self.fill(query, &own)));
        let results = self.read(doing, &queries.join("; ")).await?;
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let server = results[0]
            .first()
            .ok_or(sqlx::Error::RowNotFound)
            .and_then(|row| row.try_get(0))
            .map_err(failed)?;
        let mut objects = BTreeMap::new();
        for row in results[1..].iter().flatten() {
            objects.insert(row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        }
        Ok(Fingerprint {
            format: FORMAT,
            server,
            objects,
            drifted: Drift::new(),
        })
    }
}
