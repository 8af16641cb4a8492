//! Storing scripts in the archive outside of any run, for databases that another tool migrates (LAWS D3).

use std::time::Duration;

use stepback_core::appfile::AppFile;
use stepback_core::model::{MigrationSet, RunId, SeenDatabase, Stamp, StepId, Token};
use stepback_core::plan::{CaptureRequest, RunLimits, ToCapture, plan_capture};

use super::{Coordinator, Held, RoadError};
use crate::database::{LeaseRequest, Record};

/// What facts that no run recorded are recorded under.
const NO_RUN: &str = "capture";

impl Coordinator {
    /// Stores what of a folder is to be in the archive, and what the schema looks like now where nobody has recorded it.
    /// `decide` is asked again under the lease, with what is seen then.
    ///
    /// # Errors
    /// Refused, another run is open, or the lease is another's: nothing but our own tables was touched.
    pub async fn capture(
        &self,
        request: &CaptureRequest,
        catalog: &stepback_core::catalog::Catalog,
        reason: &str,
        app: Option<&AppFile>,
    ) -> Result<ToCapture, RoadError> {
        self.database.prepare().await?;
        let limits = RunLimits::default();
        let lease = LeaseRequest {
            holder: self.by.to_string(),
            life: Duration::from_millis(limits.lease_ms),
            wait: Duration::from_millis(limits.lock_ms),
            above: 0,
        };
        let held = Held {
            token: self.database.acquire(&lease).await?,
        };
        let captured = self.capture_held(&held, request, catalog, reason, app).await;
        self.release().await;
        captured
    }

    async fn capture_held(
        &self,
        held: &Held,
        request: &CaptureRequest,
        catalog: &stepback_core::catalog::Catalog,
        reason: &str,
        app: Option<&AppFile>,
    ) -> Result<ToCapture, RoadError> {
        let token = held.token;
        // A run that is not over and may not be closed forbids every other change; one that may be is left to the next run.
        self.judge_leftover(self.database.look().await?).await?;
        let seen = self.database.look().await?;
        let capture = plan_capture(request, catalog, &seen).map_err(RoadError::Refused)?;
        self.database.stage(token, &capture.store).await?;
        if let Some(migration) = &capture.replace {
            self.database.replace(token, migration, reason).await?;
        }
        self.record_present(token, &seen, app).await?;
        Ok(capture)
    }

    /// Records fingerprint and pairings of what is applied, unless something is recorded: a difference is drift, and drift
    /// is not covered up.
    async fn record_present(&self, token: Token, seen: &SeenDatabase, app: Option<&AppFile>) -> Result<(), RoadError> {
        let schema: MigrationSet = seen.applied();
        if schema.0.is_empty() || seen.ledger.iter().any(|row| row.dirty) {
            return Ok(());
        }
        let stamp = Stamp {
            run: RunId(NO_RUN.to_owned()),
            step: StepId(0),
            token,
        };
        if self.database.recorded_fingerprint(&schema).await?.is_none() {
            let fingerprint = self.database.fingerprint().await?;
            let schema = schema.clone();
            self.database
                .record(&Record::Fingerprint { schema, fingerprint }, &stamp)
                .await?;
        }
        // Which releases these are is told from what is seen under the lease: whoever had the lock before may have migrated.
        let newest = schema.newest();
        let releases = app
            .zip(newest)
            .into_iter()
            .flat_map(|(app, newest)| app.releases_at(newest));
        for release in releases {
            if seen.paired(&release.version).is_none() {
                let record = Record::Release {
                    release: release.version.clone(),
                    schema: schema.clone(),
                };
                self.database.record(&record, &stamp).await?;
            }
        }
        Ok(())
    }
}
