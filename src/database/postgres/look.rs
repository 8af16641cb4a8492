//! Reading everything for one decision: which of our tables are there, then all of them in one snapshot.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use stepback_core::model::{DatabaseIdentity, DatabaseRef, Engine, LedgerRow, RunRow, RunStatus, SeenDatabase};

use super::server::{MAY_READ, MayRead};
use super::session::written_timeline;
use super::{OWN_TABLES, PostgresDatabase, rows};
use crate::database::DbError;
use crate::database::capture::newest_of_each;

/// Our tables, and whether this role may ask for the cluster's identity. The catalog is read instead of `to_regclass`,
/// which is an error where the schema may not be used.
const THERE: &str = "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
    WHERE nspname = $1 AND relkind IN ('r', 'p'); \
    SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
    AND has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE') \
    AND has_function_privilege('pg_catalog.pg_current_wal_lsn()', 'EXECUTE') \
    AND has_function_privilege('pg_catalog.pg_walfile_name(pg_lsn)', 'EXECUTE'), \
    EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";

const SERVER: &str = "SELECT current_setting('server_version') AS version, \
    pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS read_only, \
    (SELECT oid::text FROM pg_database WHERE datname = current_database()) AS database";

/// A function that may not be called is an error even where it is not reached, so this is asked only where it may be. Only
/// a standby's timeline is that of the control file: a run that was opened right after a failover would otherwise be
/// refused minutes later, and one from before it would not be (LAWS D13).
const CONTROL: &str = concat!(
    "SELECT system_identifier::text AS system, CASE WHEN pg_is_in_recovery() THEN timeline_id::bigint ELSE ('x' || ",
    written_timeline!(),
    ")::bit(32)::bigint END AS timeline FROM pg_control_system(), pg_control_checkpoint()"
);
const NO_CONTROL: &str = "SELECT ''::text AS system, 0::bigint AS timeline";

const IDENTITY: &str = "SELECT id FROM {s}.identity";

/// What is there before anything is read.
pub(super) struct There {
    tables: BTreeSet<String>,
    may_ask_identity: bool,
    of_server: MayRead,
    /// Whether the state schema exists.
    pub(super) has_schema: bool,
}

impl There {
    pub(super) fn has(&self, table: &str) -> bool {
        self.tables.contains(table)
    }

    /// Whether none of our tables is missing.
    pub(super) fn is_complete(&self) -> bool {
        own_tables().all(|table| self.has(table))
    }
}

/// Whether a table with this name in this schema is ours; `$1` is the state schema, which may be the app's too.
macro_rules! own_table {
    ($schema:literal, $name:literal) => {
        concat!(
            "(",
            $schema,
            " = $1 AND ",
            $name,
            " IN ('identity', 'ledger', 'archive', 'replacement', 'script', 'fingerprint', 'release', 'lease', 'run', \
             'binding', 'plan', 'journal'))"
        )
    };
}
pub(super) use own_table;

/// The names of our tables, from their DDL.
fn own_tables() -> impl Iterator<Item = &'static str> {
    OWN_TABLES
        .split("CREATE TABLE IF NOT EXISTS {schema}.")
        .skip(1)
        .filter_map(|rest| rest.split([' ', '(']).next())
}

fn all<T>(rows: &[PgRow], read: impl Fn(&PgRow) -> Result<T, DbError>) -> Result<Vec<T>, DbError> {
    rows.iter().map(read).collect()
}

/// Schemas that hold tables of ours, by what no other tool's hold together.
const STATE_SCHEMAS: &str = "SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE (SELECT count(*) FROM pg_catalog.pg_class c \
    WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') \
    AND c.relname IN ('identity', 'archive', 'script', 'lease', 'run', 'journal')) = 6 ORDER BY n.nspname";

impl PostgresDatabase {
    pub(in crate::database) async fn state_schemas(&self) -> Result<Vec<String>, DbError> {
        let doing = "looking for stepback's tables";
        let results = self.read(doing, STATE_SCHEMAS).await?;
        let names = results.iter().flatten().map(|row| row.try_get(0));
        names
            .collect::<Result<_, _>>()
            .map_err(|error| self.explain(doing, &error))
    }

    pub(super) async fn look_what_is_there(&self) -> Result<There, DbError> {
        let doing = "looking for stepback's tables";
        let there = self.fill(THERE, &[(&self.options.state_schema).into()]);
        let results = self.read(doing, &format!("{there}; {MAY_READ}")).await?;
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let tables = results[0]
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let one = |at: usize| results[at].first().ok_or(sqlx::Error::RowNotFound).map_err(failed);
        let rights = one(1)?;
        Ok(There {
            tables,
            may_ask_identity: rights.try_get(0).map_err(failed)?,
            of_server: MayRead::read(one(2)?).map_err(failed)?,
            has_schema: rights.try_get(1).map_err(failed)?,
        })
    }

    /// Reads rows of one of our tables; none where the table does not exist.
    pub(super) async fn read_rows(&self, table: &str, doing: &'static str, query: &str) -> Result<Vec<PgRow>, DbError> {
        if !self.look_what_is_there().await?.has(table) {
            return Ok(Vec::new());
        }
        Ok(self.read(doing, query).await?.pop().unwrap_or_default())
    }

    pub(super) async fn read_ledger(&self) -> Result<Vec<LedgerRow>, DbError> {
        let ledger = self.find_ledger().await?;
        let select = self.fill(ledger.statements(Engine::Postgres).select, &[]);
        let doing = "reading the ledger";
        let found = match (ledger.is_own(), ledger.exists) {
            (true, _) => self.read_rows("ledger", doing, &select).await?,
            (false, true) => self.read(doing, &select).await?.pop().unwrap_or_default(),
            (false, false) => Vec::new(),
        };
        all(&found, |row| rows::ledger(row, &ledger))
    }

    pub(super) async fn read_runs(&self) -> Result<Vec<RunRow>, DbError> {
        all(
            &self
                .read_rows("run", "reading the runs", &self.fill(rows::RUNS, &[]))
                .await?,
            rows::run,
        )
    }

    pub(super) async fn read_everything(&self) -> Result<SeenDatabase, DbError> {
        let from = self.find_ledger().await?;
        let there = self.look_what_is_there().await?;
        let has_ledger = if from.is_own() {
            there.has("ledger")
        } else {
            from.exists
        };
        let nothing = "SELECT WHERE false";
        let of = |table: &str, query: &'static str| {
            if there.has(table) {
                self.fill(query, &[])
            } else {
                nothing.to_owned()
            }
        };
        let asked = there.of_server.questions().into_iter();
        let of_server: Vec<String> = asked
            .map(|query| self.fill(query, &[(&self.options.state_schema).into()]))
            .collect();
        let queries = [
            SERVER.to_owned(),
            if there.may_ask_identity { CONTROL } else { NO_CONTROL }.to_owned(),
            of("identity", IDENTITY),
            if has_ledger {
                self.fill(from.statements(Engine::Postgres).select, &[])
            } else {
                nothing.to_owned()
            },
            of("archive", rows::ARCHIVE),
            of("release", rows::RELEASES),
            of("fingerprint", rows::FINGERPRINTS),
            of("run", rows::RUNS),
            of("binding", rows::BINDINGS),
            of("lease", rows::LEASE),
            of_server.join(" UNION ALL "),
        ];
        let doing = "reading stepback's tables";
        let results = self.read(doing, &queries.join("; ")).await?;
        let [
            server,
            control,
            identity,
            ledger,
            archive,
            releases,
            fingerprints,
            runs,
            bindings,
            lease,
            of_server,
        ] = results.as_slice()
        else {
            return Err(DbError::Own {
                message: "the server answered another number of queries than it was asked".to_owned(),
            });
        };
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let first = |rows: &[PgRow]| -> Result<usize, DbError> {
            if rows.is_empty() {
                Err(failed(sqlx::Error::RowNotFound))
            } else {
                Ok(0)
            }
        };
        let (server, control) = (&server[first(server)?], &control[first(control)?]);
        let timeline: i64 = control.try_get("timeline").map_err(failed)?;
        let own = identity.first().map(|row| row.try_get(0)).transpose().map_err(failed)?;
        let archive = newest_of_each(all(archive, |row| rows::archive(row, &from))?);
        let runs = all(runs, rows::run)?;
        let lease = lease.first().map(rows::lease).transpose()?;
        let in_runs = runs.iter().map(|run| run.token.number).max().unwrap_or(0);
        let missing_rights = self.missing_rights().await?;
        Ok(SeenDatabase {
            missing_rights,
            server: there.of_server.answer(of_server).map_err(failed)?,
            database: DatabaseRef {
                engine: Engine::Postgres,
                source: self.options.source.clone(),
                redacted: self.redacted.clone(),
                state_schema: self.options.state_schema.clone(),
                ledger: from.by_name(),
                identity: DatabaseIdentity {
                    system: control.try_get("system").map_err(failed)?,
                    timeline: u32::try_from(timeline).unwrap_or(0),
                    database: server.try_get("database").map_err(failed)?,
                    own: own.unwrap_or_default(),
                },
            },
            server_version: format!("PostgreSQL {}", server.try_get::<&str, _>("version").map_err(failed)?),
            // Those of an older stepback are ours as well: what is missing is made on the next change.
            prepared: there.has("run") && !identity.is_empty(),
            read_only: server.try_get("read_only").map_err(failed)?,
            ledger_table: from.seen(),
            ledger: all(ledger, |row| rows::ledger(row, &from))?,
            archive,
            releases: all(releases, rows::release)?,
            fingerprints: all(fingerprints, rows::fingerprint)?,
            bound: all(bindings, rows::binding)?,
            highest_token: lease.as_ref().map_or(0, |lease| lease.token.number).max(in_runs),
            open_run: runs
                .into_iter()
                .find(|run| run.ledger == from.table && run.status != RunStatus::Closed),
            lease,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_known_from_their_ddl() {
        let tables: Vec<_> = super::own_tables().collect();
        let names = tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>();
        let known = format!("(n = $1 AND t IN ({}))", names.join(", "));
        assert_eq!(own_table!("n", "t"), known, "what is left out of a fingerprint");
        assert_eq!(
            tables,
            [
                "identity",
                "ledger",
                "archive",
                "replacement",
                "script",
                "fingerprint",
                "release",
                "lease",
                "run",
                "binding",
                "plan",
                "journal"
            ]
        );
    }
}
