//! What is written besides scripts' effects: the archive, run rows and records. Every write is fenced.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{Capture, Digest, Engine, Fingerprint, MigrationSet, RunRow, RunStatus, Stamp, Token};

use super::PostgresDatabase;
use super::quote::{Value, literal};
use super::rows::{self, wrong};
use crate::database::archive::{self, Binding};
use crate::database::{DbError, Record};

/// The layout's name in archive rows.
const LAYOUT: &str = "stepback";

/// The most that one message should hold, in bytes.
pub(super) const MESSAGE: usize = 4 << 20;

const SCRIPT: &str =
    "INSERT INTO {s}.script (sha256, chunk, chunks, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const ARCHIVE: &str = "INSERT INTO {s}.archive (version, revision, name, capture, up_sha256, down_sha256, down_empty, \
    layout, ledger_sequence, binding_sha256, captured_by, captured_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, {now})";
const BODIES: &str = "SELECT sha256, chunks, body FROM {s}.script WHERE sha256 IN ";
/// Writes nothing while another run is not closed.
const RUN: &str = "INSERT INTO {s}.run (run, plan, app, journal, status, title, closes_itself, token, changed_at) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, {now} \
    WHERE NOT EXISTS (SELECT FROM {s}.run WHERE run <> $1 AND status <> 'closed') \
    ON CONFLICT (run) DO UPDATE SET status = excluded.status, token = excluded.token, plan = excluded.plan, \
    journal = excluded.journal, title = excluded.title, closes_itself = excluded.closes_itself, \
    changed_at = excluded.changed_at RETURNING 1";
/// Writes nothing when the newest pairing of the release is this one: a fact that is recorded again is recorded once.
const RELEASE: &str = "INSERT INTO {s}.release (release, migrations, run, recorded_at) SELECT $1, $2, $3, {now} \
    WHERE (SELECT migrations FROM {s}.release WHERE release = $1 ORDER BY sequence DESC LIMIT 1) IS DISTINCT FROM $2";
const FINGERPRINT: &str = "INSERT INTO {s}.fingerprint (schema_sha256, sha256, body, taken_at) VALUES ($1, $2, $3, {now}) \
    ON CONFLICT (schema_sha256) DO UPDATE SET sha256 = excluded.sha256, body = excluded.body, taken_at = excluded.taken_at";

impl PostgresDatabase {
    pub(super) async fn store_migrations(&self, token: Token, migrations: &[Migration]) -> Result<(), DbError> {
        let doing = "storing scripts in the archive";
        let queries = [self.fill(rows::ARCHIVE, &[]), self.fill(rows::LEDGER, &[])].join("; ");
        let results = self.read(doing, &queries).await?;
        let archived = results[0].iter().map(rows::archive).collect::<Result<Vec<_>, _>>()?;
        let ledger = results[1].iter().map(rows::ledger).collect::<Result<Vec<_>, _>>()?;
        let mut message = Vec::new();
        let mut size = 0;
        for migration in migrations {
            let down = migration.down.as_ref().map(Script::sha256);
            let present = archived.iter().find(|row| row.migration.version == migration.version);
            let applied = ledger.iter().find(|row| row.migration.version == migration.version);
            let same = present.is_some_and(|row| row.up_sha256 == migration.up.sha256() && row.down_sha256 == down);
            let captured = present.is_some_and(|row| row.capture == Capture::Captured);
            // A migration that is applied was captured from what ran; the folder may have been edited since.
            if same || (captured && applied.is_some()) {
                continue;
            }
            let matching = applied.filter(|row| row.up_sha256.is_none_or(|sha256| sha256 == migration.up.sha256()));
            let revision = present.map_or(1, |row| row.revision + 1);
            let statements = self.archive_statements(migration, revision, matching.and_then(|row| row.sequence));
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
        self.change(doing, token, &message.join("; ")).await.map(drop)
    }

    fn archive_statements(&self, migration: &Migration, revision: i64, ledger_sequence: Option<i64>) -> String {
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
        let up = migration.up.sha256();
        let down = migration.down.as_ref().map(Script::sha256);
        let binding = Binding {
            engine: Engine::Postgres,
            version: &migration.version,
            up: &up,
            down: down.as_ref(),
            ledger_sequence,
        };
        let (up, binding, down_text) = (
            up.to_string(),
            binding.digest().to_string(),
            down.map(|down| down.to_string()),
        );
        let values = [
            migration.version.as_str().into(),
            revision.into(),
            (&migration.name).into(),
            if ledger_sequence.is_some() {
                "captured"
            } else {
                "staged"
            }
            .into(),
            (&up).into(),
            down_text.as_deref().into(),
            Value::Bool(
                migration
                    .down
                    .as_ref()
                    .is_some_and(|down| down.is_empty(Engine::Postgres)),
            ),
            LAYOUT.into(),
            ledger_sequence.into(),
            (&binding).into(),
            (&self.options.by).into(),
        ];
        statements.push(self.fill(ARCHIVE, &values));
        statements.join("; ")
    }

    pub(super) async fn read_bodies(&self, scripts: &[Digest]) -> Result<Vec<Vec<u8>>, DbError> {
        let names: BTreeSet<&Digest> = scripts.iter().collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = names.iter().map(|name| literal((&name.to_string()).into())).collect();
        let query = format!("{}({}) ORDER BY sha256, chunk", self.fill(BODIES, &[]), list.join(", "));
        let doing = "reading scripts from the archive";
        let results = self.read(doing, &query).await?;
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let mut found: BTreeMap<String, (usize, Vec<Vec<u8>>)> = BTreeMap::new();
        for row in &results[0] {
            let chunks: i64 = row.try_get("chunks").map_err(failed)?;
            let entry = found.entry(row.try_get("sha256").map_err(failed)?).or_default();
            entry.0 = usize::try_from(chunks).unwrap_or(0);
            entry.1.push(row.try_get("body").map_err(failed)?);
        }
        let nothing = (0, Vec::new());
        let body = |name: &Digest| {
            let (chunks, parts) = found.get(&name.to_string()).unwrap_or(&nothing);
            archive::unpack(name, *chunks, parts)
        };
        scripts.iter().map(body).collect()
    }

    pub(super) async fn store_run(&self, token: Token, row: &RunRow) -> Result<(), DbError> {
        let doing = "writing the run's row";
        let status = serde_json::to_value(row.status).map_err(|error| wrong(&error))?;
        let journal = serde_json::to_string(&row.journal).map_err(|error| wrong(&error))?;
        let (plan, token_text) = (row.plan.0.to_string(), row.token.to_string());
        let values = [
            (&row.run.0).into(),
            (&plan).into(),
            row.app.as_deref().into(),
            (&journal).into(),
            status.as_str().unwrap_or_default().into(),
            (&row.title).into(),
            Value::Bool(row.closes_itself),
            (&token_text).into(),
        ];
        let insert = self.fill(RUN, &values);
        let body = format!("{}; {insert}", self.fill(rows::RUNS, &[]));
        let results = self.change(doing, token, &body).await?;
        if !results[1].is_empty() {
            return Ok(());
        }
        let runs = results[0].iter().map(rows::run).collect::<Result<Vec<_>, _>>()?;
        let other = runs
            .into_iter()
            .find(|other| other.run != row.run && other.status != RunStatus::Closed);
        Err(other.map_or_else(
            || wrong(&"the run's row was not written, and no other run is open"),
            |other| DbError::RunOpen(Box::new(other)),
        ))
    }

    pub(super) async fn store_record(&self, record: &Record, stamp: &Stamp) -> Result<(), DbError> {
        let statement = match record {
            Record::Release { release, schema } => {
                let schema = serde_json::to_string(schema).map_err(|error| wrong(&error))?;
                let release = release.to_string();
                let values = [(&release).into(), (&schema).into(), (&stamp.run.0).into()];
                self.fill(RELEASE, &values)
            }
            Record::Fingerprint { schema, fingerprint } => {
                let json = serde_json::to_vec(fingerprint).map_err(|error| wrong(&error))?;
                let (schema, sha256) = (schema.digest().to_string(), fingerprint.digest().to_string());
                let body = archive::compress(&json);
                let values = [(&schema).into(), (&sha256).into(), Value::Bytes(&body)];
                self.fill(FINGERPRINT, &values)
            }
        };
        self.change("recording a fact", stamp.token, &statement).await.map(drop)
    }

    pub(super) async fn is_recorded(&self, record: &Record) -> Result<bool, DbError> {
        match record {
            Record::Fingerprint { schema, fingerprint } => Ok(self
                .read_fingerprint(schema)
                .await?
                .is_some_and(|found| found == *fingerprint)),
            Record::Release { release, schema } => {
                let query = self.fill(rows::RELEASES, &[]);
                let found = self.read_rows("release", "reading the pairings", &query).await?;
                let found = found.iter().map(rows::release).collect::<Result<Vec<_>, _>>()?;
                Ok(found
                    .iter()
                    .rev()
                    .find(|row| row.release == *release)
                    .is_some_and(|row| row.schema == *schema))
            }
        }
    }

    pub(super) async fn read_fingerprint(&self, schema: &MigrationSet) -> Result<Option<Fingerprint>, DbError> {
        let query = self.fill(
            "SELECT body FROM {s}.fingerprint WHERE schema_sha256 = $1",
            &[(&schema.digest().to_string()).into()],
        );
        let found = self
            .read_rows("fingerprint", "reading a recorded fingerprint", &query)
            .await?;
        let Some(row) = found.first() else { return Ok(None) };
        let damaged =
            |error: &dyn std::fmt::Display| wrong(&format_args!("a recorded fingerprint is damaged: {error}"));
        let body: Vec<u8> = row.try_get(0).map_err(|error| damaged(&error))?;
        let json = archive::decompress(&body).map_err(|error| damaged(&error))?;
        serde_json::from_slice(&json).map(Some).map_err(|error| damaged(&error))
    }
}
