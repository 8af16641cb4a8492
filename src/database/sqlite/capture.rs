//! The archive's rows: storing migrations, and binding them to the ledger row that they belong to (LAWS D3). Fenced.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{Digest, Engine, Token, Version};

use super::lease::check_fence;
use super::{SqliteDatabase, in_transaction, look, now_text};
use crate::database::DbError;
use crate::database::archive::{self, Binding};
use crate::database::capture::{Revision, applied_since, keep, replacement};
use crate::database::ledger::Ledger;

impl SqliteDatabase {
    pub(super) async fn store_migrations(&self, token: Token, migrations: &[Migration]) -> Result<(), DbError> {
        let doing = "storing scripts in the archive";
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, doing, async |connection| {
            let from = self.ledger.get();
            check_fence(connection, &from.table, token).await?;
            let failed = |error| self.explain(doing, error);
            let archived = look::archive(connection, &from).await.map_err(failed)?;
            let ledger = look::ledger(connection, &from).await.map_err(failed)?;
            for migration in migrations {
                if let Some(row) = keep(migration, &archived, &ledger, from.tool) {
                    self.append(connection, migration, &row).await.map_err(failed)?;
                }
            }
            self.bind_staged(connection, &from).await
        })
        .await
    }

    /// Binds what was staged to the ledger rows that show it by now.
    async fn bind_staged(&self, connection: &mut SqliteConnection, from: &Ledger) -> Result<(), DbError> {
        let failed = |error| self.explain("binding scripts to the ledger", error);
        let archived = look::archive(connection, from).await.map_err(failed)?;
        let ledger = look::ledger(connection, from).await.map_err(failed)?;
        for (row, applied) in applied_since(&archived, &ledger) {
            let mut up = Vec::new();
            if from.needs_up_text() {
                up = self.read_bodies(connection, &[row.up_sha256]).await?.concat();
            }
            if applied.names_up(&row.up_sha256, &up) == Some(true) {
                bind(connection, from, &row.migration.version, applied.sequence)
                    .await
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(super) async fn append_replacement(
        &self,
        token: Token,
        migration: &Migration,
        reason: &str,
    ) -> Result<(), DbError> {
        let doing = "replacing scripts in the archive";
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, doing, async |connection| {
            let from = self.ledger.get();
            check_fence(connection, &from.table, token).await?;
            let failed = |error| self.explain(doing, error);
            let archived = look::archive(connection, &from).await.map_err(failed)?;
            let ledger = look::ledger(connection, &from).await.map_err(failed)?;
            let row = replacement(migration, &archived, &ledger)?;
            self.append(connection, migration, &row).await.map_err(failed)?;
            sqlx::query(
                "INSERT INTO main.stepback_replacement (ledger, version, revision, reason, replaced_by, replaced_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&from.table)
            .bind(row.version.as_str())
            .bind(row.revision)
            .bind(reason)
            .bind(&self.options.by)
            .bind(now_text())
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }

    /// Stores a migration's scripts and a row for it.
    async fn append(
        &self,
        connection: &mut SqliteConnection,
        migration: &Migration,
        row: &Revision,
    ) -> Result<(), sqlx::Error> {
        store_scripts(connection, migration).await?;
        let ledger = self.ledger.get();
        let up = migration.up.sha256();
        let down = migration.down.as_ref().map(Script::sha256);
        let binding = Binding {
            engine: Engine::Sqlite,
            ledger: &ledger.table,
            version: &row.version,
            up: &up,
            down: down.as_ref(),
            ledger_sequence: row.ledger_sequence,
        };
        sqlx::query(
            "INSERT INTO main.stepback_archive (ledger, version, revision, name, capture, up_sha256, down_sha256, \
             down_empty, layout, ledger_sequence, binding_sha256, captured_by, captured_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&ledger.table)
        .bind(row.version.as_str())
        .bind(row.revision)
        .bind(&migration.name)
        .bind(if row.ledger_sequence.is_some() {
            "captured"
        } else {
            "staged"
        })
        .bind(up.to_string())
        .bind(down.map(|down| down.to_string()))
        .bind(
            migration
                .down
                .as_ref()
                .is_some_and(|down| down.is_empty(Engine::Sqlite)),
        )
        .bind(ledger.tool.name())
        .bind(row.ledger_sequence)
        .bind(binding.digest().to_string())
        .bind(&self.options.by)
        .bind(now_text())
        .execute(connection)
        .await
        .map(drop)
    }
}

/// Stores the bodies of a migration's scripts, compressed and in chunks. A body that is there already stays.
async fn store_scripts(connection: &mut SqliteConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    for script in std::iter::once(&migration.up).chain(&migration.down) {
        let chunks = archive::pack(script.text().as_bytes());
        let count = i64::try_from(chunks.len()).unwrap_or(i64::MAX);
        for (index, chunk) in chunks.iter().enumerate() {
            sqlx::query("INSERT OR IGNORE INTO main.stepback_script (sha256, chunk, chunks, body) VALUES (?, ?, ?, ?)")
                .bind(script.sha256().to_string())
                .bind(i64::try_from(index).unwrap_or(i64::MAX))
                .bind(count)
                .bind(chunk)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// The ledger row that the newest revision of a migration's archive row is bound to.
pub(super) async fn bound_to(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
    version: &Version,
) -> Result<Option<i64>, sqlx::Error> {
    let newest = "SELECT ledger_sequence FROM main.stepback_archive WHERE ledger = ? AND version = ? \
        ORDER BY revision DESC LIMIT 1";
    let row = sqlx::query(newest)
        .bind(&ledger.table)
        .bind(version.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
}

/// Binds the archive row of a migration to a ledger row: from staged to captured. With no ledger row, which was deleted
/// with the migration's effects, it is staged again: whoever applies that script next, it is not stale.
pub(super) async fn bind(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
    version: &Version,
    ledger_sequence: Option<i64>,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "SELECT revision, up_sha256, down_sha256 FROM main.stepback_archive WHERE ledger = ? AND version = ? \
         ORDER BY revision DESC LIMIT 1",
    )
    .bind(&ledger.table)
    .bind(version.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let read = |text: &str| {
        text.parse::<Digest>()
            .map_err(|error| sqlx::Error::Decode(error.to_string().into()))
    };
    let up = read(row.try_get("up_sha256")?)?;
    let down = row.try_get::<Option<&str>, _>("down_sha256")?.map(read).transpose()?;
    let binding = Binding {
        engine: Engine::Sqlite,
        ledger: &ledger.table,
        version,
        up: &up,
        down: down.as_ref(),
        ledger_sequence,
    };
    sqlx::query(
        "UPDATE main.stepback_archive SET capture = ?, ledger_sequence = ?, binding_sha256 = ? \
         WHERE ledger = ? AND version = ? AND revision = ?",
    )
    .bind(if ledger_sequence.is_some() {
        "captured"
    } else {
        "staged"
    })
    .bind(ledger_sequence)
    .bind(binding.digest().to_string())
    .bind(&ledger.table)
    .bind(version.as_str())
    .bind(row.try_get::<i64, _>("revision")?)
    .execute(&mut *connection)
    .await
    .map(drop)
}
