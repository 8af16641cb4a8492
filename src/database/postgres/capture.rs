//! The archive's rows: storing migrations, and binding them to the ledger row that they belong to (LAWS D3). Fenced.

use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{ArchiveRow, Engine, LedgerRow, Token};

use super::quote::Value;
use super::store::MESSAGE;
use super::{PostgresDatabase, rows};
use crate::database::DbError;
use crate::database::archive::{self, Binding};
use crate::database::capture::{Revision, applied_since, keep, newest_of_each, replacement};

const SCRIPT: &str =
    "INSERT INTO {s}.script (sha256, chunk, chunks, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const ARCHIVE: &str = "INSERT INTO {s}.archive (ledger, version, revision, name, capture, up_sha256, down_sha256, \
    down_empty, layout, ledger_sequence, binding_sha256, captured_by, captured_at) \
    VALUES ({k}, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, {now})";
const REPLACEMENT: &str = "INSERT INTO {s}.replacement (ledger, version, revision, reason, replaced_by, replaced_at) \
    VALUES ({k}, $1, $2, $3, $4, {now})";

/// Sets what an archive row is bound to. The digest is that of [`Binding`], made by the server, because only it knows
/// the ledger row that it has just written.
macro_rules! bind {
    ($capture:literal, $sequence:literal) => {
        concat!(
            "UPDATE {s}.archive AS a SET capture = '",
            $capture,
            "', ledger_sequence = ",
            $sequence,
            ", binding_sha256 = pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat('postgres', \
             pg_catalog.chr(10), a.ledger, pg_catalog.chr(10), a.version, pg_catalog.chr(10), a.up_sha256, pg_catalog.chr(10), a.down_sha256, \
             pg_catalog.chr(10), ",
            $sequence,
            ", pg_catalog.chr(10)), 'UTF8')), 'hex')"
        )
    };
}

/// The newest revision of version `$1`.
macro_rules! newest {
    () => {
        " WHERE a.ledger = {k} AND a.version = $1 \
         AND a.revision = (SELECT max(b.revision) FROM {s}.archive b WHERE b.ledger = {k} AND b.version = $1)"
    };
}

/// To the ledger row whose sequence is `$2`.
const BIND: &str = concat!(bind!("captured", "$2"), newest!());

/// To the ledger row that a query between these two returns.
pub(super) const BIND_TO: (&str, &str) = (
    concat!(bind!("captured", "l.sequence"), " FROM ("),
    concat!(") AS l", newest!()),
);

/// To none: the ledger row was deleted with the migration's effects. Whoever applies the script next, it is not stale.
pub(super) const UNBIND: &str = concat!(bind!("staged", "NULL::bigint"), newest!());

impl PostgresDatabase {
    pub(super) async fn store_migrations(&self, token: Token, migrations: &[Migration]) -> Result<(), DbError> {
        let doing = "storing scripts in the archive";
        let (archived, ledger) = self.read_archive_and_ledger(doing).await?;
        let tool = self.ledger.get().tool;
        let mut message = Vec::new();
        let mut size = 0;
        for migration in migrations {
            let Some(row) = keep(migration, &archived, &ledger, tool) else {
                continue;
            };
            let statements = self.archive_statements(migration, &row);
            // One migration's scripts and its row are never apart; several migrations may be.
            if size > 0 && size + statements.len() > MESSAGE {
                self.change(doing, token, &message.join("; ")).await?;
                message.clear();
                size = 0;
            }
            size += statements.len();
            message.push(statements);
        }
        // Also with nothing to store: whoever is not the holder must hear of it.
        if message.is_empty() {
            message.push("SELECT".to_owned());
        }
        self.change(doing, token, &message.join("; ")).await?;
        self.bind_staged(token).await
    }

    /// Binds what was staged to the ledger rows that show it by now.
    async fn bind_staged(&self, token: Token) -> Result<(), DbError> {
        let doing = "binding scripts to the ledger";
        let (archived, ledger) = self.read_archive_and_ledger(doing).await?;
        let waiting = applied_since(&archived, &ledger);
        let ups: Vec<_> = waiting.iter().map(|(row, _)| row.up_sha256).collect();
        let mut bodies = vec![Vec::new(); ups.len()];
        if self.ledger.get().needs_up_text() {
            bodies = self.read_bodies(&ups).await?;
        }
        let shown = waiting
            .iter()
            .zip(&bodies)
            .filter(|((row, applied), up)| applied.names_up(&row.up_sha256, up) == Some(true));
        let bindings: Vec<String> = shown
            .map(|((row, applied), _)| {
                let values = [row.migration.version.as_str().into(), applied.sequence.into()];
                self.fill(BIND, &values)
            })
            .collect();
        if bindings.is_empty() {
            return Ok(());
        }
        self.change(doing, token, &bindings.join("; ")).await.map(drop)
    }

    pub(super) async fn append_replacement(
        &self,
        token: Token,
        migration: &Migration,
        reason: &str,
    ) -> Result<(), DbError> {
        let doing = "replacing scripts in the archive";
        let (archived, ledger) = self.read_archive_and_ledger(doing).await?;
        let row = replacement(migration, &archived, &ledger)?;
        let append = self.archive_statements(migration, &row);
        let values = [
            row.version.as_str().into(),
            row.revision.into(),
            reason.into(),
            (&self.options.by).into(),
        ];
        let note = self.fill(REPLACEMENT, &values);
        self.change(doing, token, &format!("{append}; {note}")).await.map(drop)
    }

    async fn read_archive_and_ledger(&self, doing: &'static str) -> Result<(Vec<ArchiveRow>, Vec<LedgerRow>), DbError> {
        let from = self.ledger.get();
        let select = self.fill(from.statements(Engine::Postgres).select, &[]);
        let queries = [self.fill(rows::ARCHIVE, &[]), select].join("; ");
        let results = self.read(doing, &queries).await?;
        let archived = results[0].iter().map(|row| rows::archive(row, &from));
        let archived = archived.collect::<Result<_, _>>().map(newest_of_each)?;
        let ledger = results[1].iter().map(|row| rows::ledger(row, &from));
        Ok((archived, ledger.collect::<Result<_, _>>()?))
    }

    fn archive_statements(&self, migration: &Migration, row: &Revision) -> String {
        let mut statements = Vec::new();
        for script in std::iter::once(&migration.up).chain(&migration.down) {
            let chunks = archive::pack(script.text().as_bytes());
            let count = i64::try_from(chunks.len()).unwrap_or(i64::MAX);
            let sha256 = script.sha256().to_string();
            for (index, chunk) in (0..).zip(&chunks) {
                let values = [(&sha256).into(), Value::Int(index), count.into(), Value::Bytes(chunk)];
                statements.push(self.fill(SCRIPT, &values));
            }
        }
        let ledger = self.ledger.get();
        let up = migration.up.sha256();
        let down = migration.down.as_ref().map(Script::sha256);
        let binding = Binding {
            engine: Engine::Postgres,
            ledger: &ledger.table,
            version: &row.version,
            up: &up,
            down: down.as_ref(),
            ledger_sequence: row.ledger_sequence,
        };
        let (up, binding, down_text) = (
            up.to_string(),
            binding.digest().to_string(),
            down.map(|down| down.to_string()),
        );
        let capture = if row.ledger_sequence.is_some() {
            "captured"
        } else {
            "staged"
        };
        let down_empty = migration.down.as_ref();
        let down_empty = down_empty.is_some_and(|down| down.is_empty(Engine::Postgres));
        let values = [
            row.version.as_str().into(),
            row.revision.into(),
            (&migration.name).into(),
            capture.into(),
            (&up).into(),
            down_text.as_deref().into(),
            Value::Bool(down_empty),
            ledger.tool.name().into(),
            row.ledger_sequence.into(),
            (&binding).into(),
            (&self.options.by).into(),
        ];
        statements.push(self.fill(ARCHIVE, &values));
        statements.join("; ")
    }
}
