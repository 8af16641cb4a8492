//! From rows of our own tables to the model.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use stepback_core::model::{
    ArchiveRow, Bound, Capture, Digest, Engine, LeaseSeen, LedgerRow, MigrationId, MigrationSet, PlanId, ReleaseRow,
    RunId, RunRow, Token, Version,
};

use crate::database::DbError;
use crate::database::archive::Binding;
use crate::database::ledger::{Columns, Ledger};

pub(super) const ARCHIVE: &str = "SELECT DISTINCT ON (version) version, revision, name, capture, up_sha256, down_sha256, \
    down_empty, ledger_sequence, binding_sha256 FROM {s}.archive WHERE ledger = {k} ORDER BY version, revision DESC";
pub(super) const RELEASES: &str = "SELECT release, migrations, recorded_at FROM {s}.release WHERE ledger = {k} \
    ORDER BY sequence";
pub(super) const FINGERPRINTS: &str = "SELECT schema_sha256, sha256 FROM {s}.fingerprint WHERE ledger = {k} ORDER BY 1";
pub(super) const RUNS: &str = "SELECT run, ledger, plan, app, journal, status, title, closes_itself, token FROM {s}.run \
    ORDER BY run COLLATE \"C\" DESC";
/// The newest of each app.
pub(super) const BINDINGS: &str = "SELECT body FROM {s}.binding AS b WHERE ledger = {k} AND sequence = \
    (SELECT max(sequence) FROM {s}.binding AS o WHERE o.ledger = b.ledger AND o.app = b.app) ORDER BY sequence";
pub(super) const LEASE: &str = "SELECT token, nonce, holder, session, life_ms, released, heartbeat_ms, \
    (extract(epoch FROM clock_timestamp()) * 1000)::bigint - heartbeat_ms AS age_ms FROM {s}.lease WHERE ledger = {k}";

/// What a row of ours holds that it cannot.
pub(super) fn wrong(error: &dyn std::fmt::Display) -> DbError {
    DbError::Own {
        message: error.to_string(),
    }
}

fn get<'r, T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>>(
    row: &'r PgRow,
    column: &str,
) -> Result<T, DbError> {
    row.try_get(column).map_err(|error| wrong(&error))
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(row: &PgRow, column: &str) -> Result<T, DbError> {
    get::<&str>(row, column)?.parse().map_err(|error| wrong(&error))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|error| wrong(&error))
}

fn unsigned(row: &PgRow, column: &str) -> Result<u64, DbError> {
    u64::try_from(get::<i64>(row, column)?).map_err(|error| wrong(&error))
}

pub(super) fn ledger(row: &PgRow, from: &Ledger) -> Result<LedgerRow, DbError> {
    let columns = Columns {
        sequence: get(row, "sequence")?,
        version: get(row, "version")?,
        name: get(row, "name")?,
        checksum: get(row, "checksum")?,
        applied_at: get(row, "applied_at")?,
        dirty: get(row, "dirty")?,
    };
    from.read(columns).map_err(|error| wrong(&error))
}

pub(super) fn archive(row: &PgRow, of: &Ledger) -> Result<ArchiveRow, DbError> {
    let version: Version = read(row, "version")?;
    let up_sha256: Digest = read(row, "up_sha256")?;
    let down: Option<&str> = get(row, "down_sha256")?;
    let down_sha256 = down
        .map(str::parse::<Digest>)
        .transpose()
        .map_err(|error| wrong(&error))?;
    let ledger_sequence = get(row, "ledger_sequence")?;
    let binding = Binding {
        engine: Engine::Postgres,
        ledger: &of.table,
        version: &version,
        up: &up_sha256,
        down: down_sha256.as_ref(),
        ledger_sequence,
    };
    Ok(ArchiveRow {
        intact: binding.digest().to_string() == get::<&str>(row, "binding_sha256")?,
        migration: MigrationId {
            version,
            name: get(row, "name")?,
        },
        revision: get(row, "revision")?,
        capture: match get::<&str>(row, "capture")? {
            "captured" => Capture::Captured,
            _ => Capture::Staged,
        },
        up_sha256,
        down_sha256,
        down_empty: get(row, "down_empty")?,
        ledger_sequence,
    })
}

pub(super) fn release(row: &PgRow) -> Result<ReleaseRow, DbError> {
    Ok(ReleaseRow {
        release: read(row, "release")?,
        schema: json::<MigrationSet>(get(row, "migrations")?)?,
        recorded_at: get(row, "recorded_at")?,
    })
}

pub(super) fn fingerprint(row: &PgRow) -> Result<(Digest, Digest), DbError> {
    Ok((read(row, "schema_sha256")?, read(row, "sha256")?))
}

pub(super) fn binding(row: &PgRow) -> Result<Bound, DbError> {
    json(get(row, "body")?)
}

pub(super) fn run(row: &PgRow) -> Result<RunRow, DbError> {
    Ok(RunRow {
        run: RunId(get(row, "run")?),
        ledger: get(row, "ledger")?,
        plan: PlanId(read(row, "plan")?),
        app: get(row, "app")?,
        journal: json(get(row, "journal")?)?,
        status: json(&format!("\"{}\"", get::<&str>(row, "status")?))?,
        title: get(row, "title")?,
        closes_itself: get(row, "closes_itself")?,
        token: read(row, "token")?,
    })
}

pub(super) fn lease(row: &PgRow) -> Result<LeaseSeen, DbError> {
    let (age_ms, ahead_ms) = LeaseSeen::split_age(get(row, "age_ms")?);
    Ok(LeaseSeen {
        holder: get(row, "holder")?,
        token: Token {
            number: unsigned(row, "token")?,
            nonce: u32::try_from(get::<i64>(row, "nonce")?).map_err(|error| wrong(&error))?,
        },
        age_ms,
        ahead_ms,
        life_ms: unsigned(row, "life_ms")?,
        released: get(row, "released")?,
    })
}
