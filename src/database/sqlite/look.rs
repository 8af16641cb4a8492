//! Reading everything for one decision, in one read transaction.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use stepback_core::model::{
    ArchiveRow, Bound, Capture, DatabaseIdentity, DatabaseRef, Digest, Engine, LeaseSeen, LedgerRef, LedgerRow,
    LedgerSeen, MigrationId, MigrationSet, ReleaseRow, RunId, RunRow, RunStatus, SeenDatabase, Token, Version,
};

use super::{Connected, OWN_LEDGER, SqliteDatabase, find, has_table, now_ms};
use crate::database::DbError;
use crate::database::archive::Binding;
use crate::database::capture::newest_of_each;
use crate::database::ledger::{Columns, Ledger, choose};

fn own(error: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(error.to_string().into())
}

fn version(row: &SqliteRow, column: &str) -> Result<Version, sqlx::Error> {
    Version::parse(row.try_get::<&str, _>(column)?).map_err(own)
}

fn digest(text: &str) -> Result<Digest, sqlx::Error> {
    text.parse().map_err(own)
}

/// The ledger in order of application; empty where the table does not exist.
pub(super) async fn ledger(connection: &mut SqliteConnection, ledger: &Ledger) -> Result<Vec<LedgerRow>, sqlx::Error> {
    if ledger.is_own() && !has_table(connection, OWN_LEDGER).await? || !ledger.is_own() && !ledger.exists {
        return Ok(Vec::new());
    }
    let select = ledger.statements(Engine::Sqlite).select.replace("{l}", &ledger.quoted);
    let rows = sqlx::query(sqlx::AssertSqlSafe(select)).fetch_all(connection).await?;
    rows.iter().map(|row| ledger_row(row, ledger)).collect()
}

/// The row of a version in the ledger.
pub(super) async fn ledger_row_of(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
    version: &str,
) -> Result<Option<LedgerRow>, sqlx::Error> {
    let find = ledger.statements(Engine::Sqlite).find.replace("{l}", &ledger.quoted);
    let row = sqlx::query(sqlx::AssertSqlSafe(find))
        .bind(version)
        .fetch_optional(connection)
        .await?;
    row.map(|row| ledger_row(&row, ledger)).transpose()
}

fn ledger_row(row: &SqliteRow, ledger: &Ledger) -> Result<LedgerRow, sqlx::Error> {
    let columns = Columns {
        sequence: row.try_get("sequence")?,
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        checksum: row.try_get("checksum")?,
        applied_at: row.try_get("applied_at")?,
        dirty: row.try_get::<i64, _>("dirty")? != 0,
    };
    ledger.read(columns).map_err(own)
}

/// The newest revision of each migration that is archived for this ledger.
pub(super) async fn archive(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
) -> Result<Vec<ArchiveRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT version, revision, name, capture, up_sha256, down_sha256, down_empty, ledger_sequence, binding_sha256 \
         FROM main.stepback_archive AS a WHERE ledger = ?1 AND revision = (SELECT max(revision) \
         FROM main.stepback_archive AS b WHERE b.ledger = a.ledger AND b.version = a.version)",
    )
    .bind(&ledger.table)
    .fetch_all(connection)
    .await?;
    let rows = rows.iter().map(|row| archive_row(row, ledger));
    rows.collect::<Result<_, _>>().map(newest_of_each)
}

fn archive_row(row: &SqliteRow, ledger: &Ledger) -> Result<ArchiveRow, sqlx::Error> {
    let version = version(row, "version")?;
    let up_sha256 = digest(row.try_get("up_sha256")?)?;
    let down_sha256 = row.try_get::<Option<&str>, _>("down_sha256")?.map(digest).transpose()?;
    let ledger_sequence = row.try_get("ledger_sequence")?;
    let binding = Binding {
        engine: Engine::Sqlite,
        ledger: &ledger.table,
        version: &version,
        up: &up_sha256,
        down: down_sha256.as_ref(),
        ledger_sequence,
    };
    Ok(ArchiveRow {
        intact: binding.digest().to_string() == row.try_get::<&str, _>("binding_sha256")?,
        migration: MigrationId {
            version,
            name: row.try_get("name")?,
        },
        revision: row.try_get("revision")?,
        capture: match row.try_get::<&str, _>("capture")? {
            "captured" => Capture::Captured,
            _ => Capture::Staged,
        },
        up_sha256,
        down_sha256,
        down_empty: row.try_get("down_empty")?,
        ledger_sequence,
    })
}

async fn releases(connection: &mut SqliteConnection, ledger: &Ledger) -> Result<Vec<ReleaseRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT release, migrations, recorded_at FROM main.stepback_release WHERE ledger = ? ORDER BY sequence",
    )
    .bind(&ledger.table)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ReleaseRow {
                release: row.try_get::<&str, _>("release")?.parse().map_err(own)?,
                schema: serde_json::from_str::<MigrationSet>(row.try_get("migrations")?).map_err(own)?,
                recorded_at: row.try_get("recorded_at")?,
            })
        })
        .collect()
}

/// A run's row.
pub(super) fn run_row(row: &SqliteRow) -> Result<RunRow, sqlx::Error> {
    let status = format!("\"{}\"", row.try_get::<&str, _>("status")?);
    Ok(RunRow {
        run: RunId(row.try_get("run")?),
        ledger: row.try_get("ledger")?,
        plan: stepback_core::model::PlanId(digest(row.try_get("plan")?)?),
        app: row.try_get("app")?,
        journal: serde_json::from_str(row.try_get("journal")?).map_err(own)?,
        status: serde_json::from_str(&status).map_err(own)?,
        title: row.try_get("title")?,
        closes_itself: row.try_get("closes_itself")?,
        token: row.try_get::<&str, _>("token")?.parse().map_err(own)?,
    })
}

/// The runs on every ledger, newest first.
pub(super) async fn runs(connection: &mut SqliteConnection) -> Result<Vec<RunRow>, sqlx::Error> {
    let rows = sqlx::query("SELECT * FROM main.stepback_run ORDER BY run DESC")
        .fetch_all(connection)
        .await?;
    rows.iter().map(run_row).collect()
}

/// What the newest run of each app acted on; nothing where an older stepback made our tables.
async fn bindings(connection: &mut SqliteConnection, ledger: &str) -> Result<Vec<Bound>, sqlx::Error> {
    if !has_table(connection, "stepback_binding").await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT body FROM main.stepback_binding AS b WHERE ledger = ? AND sequence = (SELECT max(sequence) \
         FROM main.stepback_binding AS o WHERE o.ledger = b.ledger AND o.app = b.app) ORDER BY sequence",
    )
    .bind(ledger)
    .fetch_all(connection)
    .await?;
    let bound = rows
        .iter()
        .map(|row| serde_json::from_str(row.try_get(0)?).map_err(own));
    bound.collect()
}

/// The lease for a ledger; `None` before anybody ever took it.
pub(super) async fn lease(connection: &mut SqliteConnection, ledger: &str) -> Result<Option<LeaseSeen>, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM main.stepback_lease WHERE ledger = ?")
        .bind(ledger)
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        let (age_ms, ahead_ms) = LeaseSeen::split_age(now_ms() - row.try_get::<i64, _>("heartbeat_ms")?);
        Ok(LeaseSeen {
            holder: row.try_get("holder")?,
            token: Token {
                number: u64::try_from(row.try_get::<i64, _>("token")?).map_err(own)?,
                nonce: u32::try_from(row.try_get::<i64, _>("nonce")?).map_err(own)?,
            },
            age_ms,
            ahead_ms,
            life_ms: u64::try_from(row.try_get::<i64, _>("life_ms")?).map_err(own)?,
            released: row.try_get("released")?,
        })
    })
    .transpose()
}

impl SqliteDatabase {
    pub(super) async fn read_everything(&self) -> Result<SeenDatabase, DbError> {
        let mut seen = SeenDatabase {
            database: DatabaseRef {
                engine: Engine::Sqlite,
                source: self.source.clone(),
                redacted: self.redacted.clone(),
                state_schema: self.options.state_schema.clone(),
                ledger: LedgerRef::default(),
                identity: DatabaseIdentity::default(),
            },
            server_version: "SQLite".to_owned(),
            prepared: false,
            read_only: false,
            ledger_table: LedgerSeen::default(),
            ledger: Vec::new(),
            archive: Vec::new(),
            releases: Vec::new(),
            fingerprints: Vec::new(),
            bound: Vec::new(),
            open_run: None,
            lease: None,
            highest_token: 0,
            missing_rights: stepback_core::model::MissingRights::default(),
            server: stepback_core::model::SeenServer::default(),
        };
        let Connected::Open(mut working) = self.connected(false).await? else {
            let ledger = choose(&self.options.ledger, find::nothing())?;
            seen.ledger_table = ledger.seen();
            seen.database.ledger = ledger.by_name();
            return Ok(seen);
        };
        let connection = &mut *working;
        let ledger = self.find_ledger(connection).await?;
        let read = async {
            sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
            let read = fill(&mut seen, &ledger, connection).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
            read
        };
        read.await
            .map_err(|error| self.explain("reading stepback's tables", error))?;
        // Whoever holds the write lock cannot be heard, and is as alive as with a heartbeat (LAWS D4).
        if let Some(lease) = &mut seen.lease
            && !lease.released
            && self.is_being_written()
        {
            lease.age_ms = lease.age_ms.min(lease.life_ms.saturating_sub(1));
        }
        // A file that cannot be written is found before the first change.
        seen.read_only = std::fs::metadata(&self.path).is_ok_and(|file| file.permissions().readonly());
        Ok(seen)
    }

    /// Whether a transaction has begun to write: its journal lies beside the file. One that a dead process left was rolled
    /// back and removed by the read before this. In WAL mode it cannot be told.
    fn is_being_written(&self) -> bool {
        let mut journal = self.path.clone().into_os_string();
        journal.push("-journal");
        std::fs::metadata(journal).is_ok_and(|file| file.len() > 0)
    }

    pub(super) async fn read_runs(&self) -> Result<Vec<RunRow>, DbError> {
        let Connected::Open(mut working) = self.connected(false).await? else {
            return Ok(Vec::new());
        };
        let connection = &mut *working;
        let read = async {
            if has_table(connection, "stepback_run").await? {
                runs(connection).await
            } else {
                Ok(Vec::new())
            }
        };
        read.await.map_err(|error| self.explain("reading the runs", error))
    }
}

async fn fill(seen: &mut SeenDatabase, from: &Ledger, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query("SELECT sqlite_version()")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    seen.server_version = format!("SQLite {version}");
    seen.ledger_table = from.seen();
    seen.database.ledger = from.by_name();
    seen.ledger = ledger(connection, from).await?;
    // The tables are made in one transaction, so one of them stands for all.
    seen.prepared = has_table(connection, "stepback_run").await?;
    if !seen.prepared {
        return Ok(());
    }
    let identity = sqlx::query("SELECT id FROM main.stepback_identity")
        .fetch_optional(&mut *connection)
        .await?;
    seen.database.identity.own = identity.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
    seen.archive = archive(connection, from).await?;
    seen.releases = releases(connection, from).await?;
    let fingerprints =
        sqlx::query("SELECT schema_sha256, sha256 FROM main.stepback_fingerprint WHERE ledger = ? ORDER BY 1")
            .bind(&from.table)
            .fetch_all(&mut *connection)
            .await?;
    for row in &fingerprints {
        seen.fingerprints
            .push((digest(row.try_get(0)?)?, digest(row.try_get(1)?)?));
    }
    seen.bound = bindings(connection, &from.table).await?;
    seen.open_run = runs(connection)
        .await?
        .into_iter()
        .find(|row| row.ledger == from.table && row.status != RunStatus::Closed);
    seen.lease = lease(connection, &from.table).await?;
    seen.highest_token = seen.lease.as_ref().map_or(0, |lease| lease.token.number);
    Ok(())
}
