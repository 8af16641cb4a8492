//! Which rights the role that connects lacks (LAWS D15): asked of the catalog, nothing is tried.

use sqlx::Row as _;
use stepback_core::model::{MissingRights, OwnedTable};

use super::PostgresDatabase;
use super::look::own_table;
use crate::database::DbError;

/// A membership counts also where it is not inherited: a script can `SET ROLE`. What a run does with each of our tables
/// stands in `store.rs`, `advance.rs` and `lease.rs`; whoever may not read one cannot look, and no run writes `replacement`
/// and `identity`. `$2` is the ledger that was found, ours or another tool's, or null.
///
/// Of those who can write the archive, superusers and members of this role could do without.
const MISSING: &str = concat!(
    "SELECT current_user::text AS role; \
    SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') \
        AND c.relname IN ('archive', 'script', 'fingerprint', 'release', 'lease', 'run', 'binding', 'plan', 'journal') \
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
    ORDER BY 1, 2; \
    SELECT p.name FROM (VALUES ('INSERT'), ('DELETE')) AS p (name) \
    WHERE NOT has_table_privilege(to_regclass($2), p.name) ORDER BY 1; \
    SELECT r.rolname::text AS name FROM pg_roles r WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> current_user \
        AND NOT pg_has_role(r.oid, current_user::name, 'MEMBER') \
        AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 \
            AND c.relname = 'archive' AND c.relkind IN ('r', 'p') AND has_schema_privilege(r.oid, n.oid, 'USAGE') \
            AND (has_table_privilege(r.oid, c.oid, 'INSERT') OR has_any_column_privilege(r.oid, c.oid, 'UPDATE'))) \
    ORDER BY 1"
);

impl PostgresDatabase {
    pub(super) async fn missing_rights(&self) -> Result<MissingRights, DbError> {
        let doing = "looking at the rights of this role";
        let ledger = self.ledger.get();
        let found = ledger.exists.then_some(ledger.quoted.as_str());
        let values = [(&self.options.state_schema).into(), found.into()];
        let results = self.read(doing, &self.fill(MISSING, &values)).await?;
        let names = |at: usize| results[at].iter().map(|row| row.try_get("name"));
        let read = || {
            let role = results[0].first().ok_or(sqlx::Error::RowNotFound)?.try_get("role")?;
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
                own_tables: names(1).collect::<Result<_, sqlx::Error>>()?,
                owned_by_others: others.collect::<Result<_, sqlx::Error>>()?,
                ledger: names(3).collect::<Result<_, sqlx::Error>>()?,
                archive_writers: names(4).collect::<Result<_, sqlx::Error>>()?,
            })
        };
        read().map_err(|error: sqlx::Error| self.explain(doing, &error))
    }
}
