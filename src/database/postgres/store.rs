//! What is written besides scripts' effects and the archive's rows: run rows and records. Every write is fenced.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use stepback_core::model::{Bound, Digest, Engine, Fingerprint, MigrationSet, RunId, RunRow, Stamp, Token};

use super::message::do_block;
use super::quote::{Value, literal};
use super::rows::{self, wrong};
use super::{PostgresDatabase, error};
use crate::database::archive;
use crate::database::{DbError, NOT_APPLIED, Record};

/// The most that one message should hold, in bytes.
pub(super) const MESSAGE: usize = 4 << 20;

const BODIES: &str = "SELECT sha256, chunks, body FROM {s}.script WHERE sha256 IN ";
/// Writes nothing while another run on this ledger is not closed, nor over the row of a run on another one.
const RUN: &str = "INSERT INTO {s}.run (run, plan, app, journal, status, title, closes_itself, token, changed_at, ledger) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, {now}, {k} \
    WHERE NOT EXISTS (SELECT FROM {s}.run WHERE ledger = {k} AND run <> $1 AND status <> 'closed') \
    AND NOT EXISTS (SELECT FROM {s}.run WHERE ledger <> {k} AND run = $1) \
    ON CONFLICT (run) DO UPDATE SET status = excluded.status, token = excluded.token, plan = excluded.plan, \
    journal = excluded.journal, title = excluded.title, closes_itself = excluded.closes_itself, \
    changed_at = excluded.changed_at RETURNING 1";
const CLOSE: &str = "UPDATE {s}.run SET status = 'closed', token = $2, changed_at = {now} \
    WHERE run = $1 AND ledger = {k}";
const BIND: &str = "INSERT INTO {s}.binding (ledger, app, run, body, bound_at) VALUES ({k}, $1, $2, $3, {now}) \
    ON CONFLICT (run) DO NOTHING";
/// Writes nothing when the newest pairing of the release is this one: a fact that is recorded again is recorded once.
const RELEASE: &str = "INSERT INTO {s}.release (ledger, release, migrations, run, recorded_at) \
    SELECT {k}, $1, $2, $3, {now} \
    WHERE (SELECT migrations FROM {s}.release WHERE ledger = {k} AND release = $1 ORDER BY sequence DESC LIMIT 1) IS DISTINCT FROM $2";
const FINGERPRINT: &str = "INSERT INTO {s}.fingerprint (ledger, schema_sha256, sha256, body, taken_at) \
    VALUES ({k}, $1, $2, $3, {now}) ON CONFLICT (ledger, schema_sha256) DO UPDATE SET sha256 = excluded.sha256, body = excluded.body, taken_at = excluded.taken_at";

/// Raises unless the ledger holds exactly these versions, as it spells them; its rows follow in between.
const HOLDS: [&str; 2] = [
    "IF (SELECT coalesce(string_agg(version, E'\\n' ORDER BY version COLLATE \"C\"), '') FROM (",
    ") AS held) IS DISTINCT FROM $1 THEN RAISE EXCEPTION USING ERRCODE = $2, MESSAGE = $3; END IF; ",
];

impl PostgresDatabase {
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

    /// Writes the row of a run, and closes that of the run that it takes over from.
    pub(super) async fn store_run(&self, token: Token, row: &RunRow, from: Option<&RunId>) -> Result<(), DbError> {
        let doing = "writing the run's row";
        let ledger = self.ledger.get();
        ledger.expect_own_run(row)?;
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
        let close = from.map(|from| self.fill(CLOSE, &[(&from.0).into(), (&token_text).into()]));
        let runs = self.fill(rows::RUNS, &[]);
        let body = match &close {
            Some(close) => format!("{close}; {runs}; {insert}"),
            None => format!("{runs}; {insert}"),
        };
        let mut results = self.change(doing, token, &body).await?;
        if close.is_some() {
            results.remove(0);
        }
        if !results[1].is_empty() {
            return Ok(());
        }
        let runs = results[0].iter().map(rows::run).collect::<Result<Vec<_>, _>>()?;
        ledger.expect_no_other_run(row, runs)?;
        Err(wrong(&"the run's row was not written, and no other run is open"))
    }

    pub(super) async fn store_binding(&self, token: Token, bound: &Bound) -> Result<(), DbError> {
        let body = serde_json::to_string(bound).map_err(|error| wrong(&error))?;
        let app = bound.app.as_deref().unwrap_or_default();
        let values = [app.into(), (&bound.run.0).into(), (&body).into()];
        let statement = self.fill(BIND, &values);
        let doing = "writing down what the run acts on";
        self.change(doing, token, &statement).await.map(drop)
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
        // Whether these are the migrations is told by the model; that they still are, by the transaction that writes.
        let ledger = self.read_ledger().await?;
        let doing = "recording a fact";
        if let Err(other) = record.expect_applied(&ledger) {
            // Whoever is not the holder must hear of that first.
            return self.change(doing, stamp.token, "SELECT").await.and(Err(other));
        }
        let mut versions: Vec<&str> = ledger.iter().map(|row| row.migration.version.as_str()).collect();
        versions.sort_unstable();
        let versions = versions.join("\n");
        let values = [(&versions).into(), error::LEDGER.into(), NOT_APPLIED.into()];
        let rows = self.fill(self.ledger.get().statements(Engine::Postgres).select, &[]);
        let holds = format!("{}{rows}{}", HOLDS[0], self.fill(HOLDS[1], &values));
        let message = format!("{}; {statement}", do_block(&holds));
        self.change(doing, stamp.token, &message).await.map(drop)
    }

    pub(super) async fn is_recorded(&self, record: &Record) -> Result<bool, DbError> {
        match record {
            Record::Fingerprint { schema, fingerprint } => Ok(self
                .read_fingerprint(schema)
                .await?
                .is_some_and(|found| found == *fingerprint)),
            Record::Release { release, schema } => {
                self.know_ledger().await?;
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
        self.know_ledger().await?;
        let query = self.fill(
            "SELECT body FROM {s}.fingerprint WHERE ledger = {k} AND schema_sha256 = $1",
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
