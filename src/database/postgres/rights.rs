//! Which rights the role that connects lacks (LAWS D15): asked of the catalog, nothing is tried.

use sqlx::Row as _;
use stepback_core::model::{MissingRights, OwnedTable};

use super::PostgresDatabase;
use super::look::own_table;
use crate::database::DbError;

/// A membership counts also where it is not inherited: a script can `SET ROLE`. What a run does with each of our tables
/// stands in `store.rs`, `advance.rs` and `lease.rs`; the ledger is left out, as it may be another tool's.
const MISSING: &str = concat!(
    "SELECT current_user::text AS role; \
    SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') \
        AND c.relname IN ('archive', 'script', 'fingerprint', 'release', 'lease', 'run', 'plan', 'journal') \
        AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
            AND (c.relname NOT IN ('archive', 'fingerprint', 'lease', 'run') OR has_table_privilege(c.oid, 'UPDATE'))) \
    ORDER BY 1; \
    SELECT n.nspname::text AS schema, c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS owner, \
        (SELECT t.relname::text FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid WHERE x.indexrelid = c.oid) AS index_of \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'i', 'I') AND c.relpersistence <> 't' AND NOT ",
    own_table!("n.nspname", "c.relname"),
    " AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid WHERE x.indexrelid = c.oid AND ",
    own_table!("n.nspname", "t.relname"),
    ") AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%' \
        AND NOT pg_has_role(c.relowner, 'MEMBER') \
        AND NOT EXISTS (SELECT FROM pg_class o WHERE o.relname = c.relname AND o.relkind IN ('r', 'p', 'i', 'I') \
            AND pg_has_role(o.relowner, 'MEMBER')) \
    ORDER BY 1, 2"
);

impl PostgresDatabase {
    pub(super) async fn missing_rights(&self) -> Result<MissingRights, DbError> {
        let doing = "looking at the rights of this role";
        let results = self
            .read(doing, &self.fill(MISSING, &[(&self.options.state_schema).into()]))
            .await?;
        let read = || {
            let role = results[0].first().ok_or(sqlx::Error::RowNotFound)?.try_get("role")?;
            let own_tables = results[1].iter().map(|row| row.try_get("name"));
            let others = results[2].iter().map(|row| {
                Ok(OwnedTable {
                    schema: row.try_get("schema")?,
                    name: row.try_get("name")?,
                    owner: row.try_get("owner")?,
                    index_of: row.try_get("index_of")?,
                })
            });
            Ok(MissingRights {
                role,
                own_tables: own_tables.collect::<Result<_, sqlx::Error>>()?,
                owned_by_others: others.collect::<Result<_, sqlx::Error>>()?,
            })
        };
        read().map_err(|error: sqlx::Error| self.explain(doing, &error))
    }
}
