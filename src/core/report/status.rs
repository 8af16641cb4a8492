//! The state of things: what is applied, what is not, and which releases can be reached at what price.

use serde::Serialize;

use super::run::Report;
use crate::appfile::AppFile;
use crate::catalog::Catalog;
use crate::model::{
    Capture, ClusterPlace, Direction, LeaseSeen, LedgerRow, MigrationId, Progress, RunId, RunRow, RunStatus, ScriptRef,
    SeenCluster, SeenDatabase, SeenWorkload, Stamp, StepId, Version, annotation,
};
use crate::plan::{Accepted, Action, Goal, Plan, Refusals, Request, Seen, plan};

/// What `status` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The app, when there is an app file.
    pub app: Option<String>,
    /// The database, without its password.
    pub database: String,
    /// Its engine and version.
    pub server: String,
    /// The releases that the present schema belongs to.
    pub releases: Vec<semver::Version>,
    /// The newest applied migration.
    pub schema: Option<Version>,
    /// How many migrations are applied.
    pub applied: usize,
    /// How many of the folder are not.
    pub pending: usize,
    /// Whether the schema is the one that was recorded.
    pub fingerprint: SchemaMatch,
    /// The run that is not closed.
    pub open_run: Option<RunRow>,
    /// Where that run stands, as far as its journal and the ledger tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Who holds the lease, when somebody may still be acting.
    pub lease: Option<LeaseSeen>,
    /// Why nothing is known of the database, where it does not answer; then nothing above holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_unknown: Option<String>,
    /// Why nothing is known of the workloads, where the app has some and the cluster does not answer.
    pub cluster_unknown: Option<String>,
    /// The cluster that was looked at, or that did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterPlace>,
    /// The workloads.
    pub workloads: Vec<WorkloadStatus>,
    /// Each release of the app file.
    pub reach: Vec<Reach>,
    /// Each migration, oldest version first.
    pub migrations: Vec<MigrationStatus>,
}

/// The schema against what was recorded for the migrations that are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum SchemaMatch {
    /// As it was recorded.
    AsRecorded,
    /// Something was changed since by somebody else.
    Differs {
        /// Each difference, a line.
        differences: Vec<String>,
    },
    /// Nothing was recorded for exactly these migrations.
    Unknown,
}

/// A workload, shortly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Kind, namespace and name.
    pub workload: String,
    /// Whether it exists.
    pub exists: bool,
    /// How many pods it should have.
    pub replicas: i32,
    /// How many of its pods are ready.
    pub ready: i32,
    /// The images of its template, one for each container.
    pub images: Vec<String>,
    /// The run whose stamp it bears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamped_by: Option<RunId>,
    /// What the run that holds it has written on it, or what has become of that run since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Where a run stands that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The step that was begun last.
    pub step: StepId,
    /// How many steps there are.
    pub of: usize,
    /// What the step does.
    pub does: String,
    /// `started`, `applied` or `passed`.
    pub state: &'static str,
    /// How many of its migrations the ledger shows done, where it is a step of migrations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Progress>,
}

impl Standing {
    /// Of a run whose journal was read; `None`: no step was begun.
    pub fn find(plan: &Plan, report: &Report, ledger: &[LedgerRow]) -> Option<Self> {
        let begun = report.steps.iter().rfind(|step| step.started_at.is_some())?;
        let migrations = match &plan.step(begun.step)?.action {
            Action::Revert { scripts, .. } => Some(count_scripts(Direction::Down, scripts, ledger)),
            Action::Apply { scripts } => Some(count_scripts(Direction::Up, scripts, ledger)),
            _ => None,
        };
        Some(Self {
            step: begun.step,
            of: plan.steps.len(),
            does: begun.does.clone(),
            state: begun.state,
            migrations,
        })
    }
}

fn count_scripts(direction: Direction, scripts: &[ScriptRef], ledger: &[LedgerRow]) -> Progress {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let applied = |script: &ScriptRef| {
        ledger
            .iter()
            .any(|row| row.migration.version == script.migration.version)
    };
    let done = scripts
        .iter()
        .filter(|script| applied(script) == (direction == Direction::Up));
    Progress {
        done: number(done.count()),
        of: number(scripts.len()),
    }
}

/// Whether a release can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// The release.
    pub release: semver::Version,
    /// Its newest migration.
    pub schema: Version,
    /// How many migrations would be undone.
    pub undone: usize,
    /// How many would be applied.
    pub applied: usize,
    /// How many steps a plan would have; 0: nothing is to do.
    pub steps: usize,
    /// The codes of what forbids it; empty: it can be reached.
    pub refused: Vec<String>,
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// Which.
    pub migration: MigrationId,
    /// When it was applied; `None`: it is not.
    pub applied_at: Option<String>,
    /// Its place in the order of application, where that is kept.
    pub sequence: Option<i64>,
    /// Whether it lies in the migrations folder.
    pub in_folder: bool,
    /// Whether the up script in the folder is not the one that was applied.
    pub edited: bool,
    /// Whether the down script in the folder is not the one that was captured: `migrate down` refuses it.
    pub down_edited: bool,
    /// Where its down script is: `captured`, `staged`, `folder`, `empty`, `missing`, `damaged`.
    pub down: &'static str,
}

/// Describes what was seen. Pure: the planner is asked about every release of the app file. Where the cluster did not
/// answer and `cluster_unknown` says why, the price of a release is that of its schema alone.
pub fn survey(app: Option<&AppFile>, catalog: &Catalog, seen: &Seen, cluster_unknown: Option<String>) -> Status {
    let database = &seen.database;
    let applied = database.applied();
    let mut releases: Vec<semver::Version> = database
        .releases
        .iter()
        .filter(|row| !applied.0.is_empty() && row.schema == applied)
        .map(|row| row.release.clone())
        .collect();
    if let (Some(app), Some(newest)) = (app, applied.newest()) {
        releases.extend(app.releases_at(newest).map(|release| release.version.clone()));
    }
    releases.sort();
    releases.dedup();
    let fingerprint = match &seen.recorded {
        None => SchemaMatch::Unknown,
        Some(recorded) if recorded.format != seen.fingerprint.format => SchemaMatch::Unknown,
        Some(recorded) => {
            let differences = recorded.differences(&seen.fingerprint);
            if differences.is_empty() {
                SchemaMatch::AsRecorded
            } else {
                SchemaMatch::Differs {
                    differences: differences.iter().map(ToString::to_string).collect(),
                }
            }
        }
    };
    let migrations = list_migrations(catalog, database);
    let workloads = seen.cluster.iter().flat_map(|cluster| &cluster.workloads);
    Status {
        app: app.map(|app| app.name.clone()),
        database: database.database.redacted.clone(),
        server: match database.server_version.as_str() {
            "" => database.database.engine.title().to_owned(),
            version => version.to_owned(),
        },
        releases,
        schema: applied.newest().cloned(),
        applied: database.ledger.len(),
        pending: migrations.iter().filter(|one| one.applied_at.is_none()).count(),
        fingerprint,
        open_run: database.open_run.clone(),
        standing: None,
        lease: database.lease.clone().filter(LeaseSeen::is_alive),
        database_unknown: None,
        cluster: seen.cluster.as_ref().and_then(|cluster| cluster.place.clone()),
        workloads: workloads.map(describe).collect(),
        reach: app
            .map(|app| reach(app, catalog, seen, cluster_unknown.is_some()))
            .unwrap_or_default(),
        cluster_unknown,
        migrations,
    }
}

fn describe(seen: &SeenWorkload) -> WorkloadStatus {
    let status = seen.set.as_ref().and_then(|set| set.status.as_ref());
    WorkloadStatus {
        workload: seen.workload.to_string(),
        exists: seen.set.is_some(),
        replicas: seen.set.as_ref().map_or(0, |_| seen.replicas()),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        images: seen.template_images().into_values().collect(),
        stamped_by: seen
            .annotation(annotation::STAMP)
            .and_then(|stamp| Some(stamp.parse::<Stamp>().ok()?.run)),
        state: seen.annotation(annotation::STATE).map(str::to_owned),
    }
}

impl Status {
    /// Whether a workload bears the stamp of a run that is not the open one.
    pub fn has_strange_stamps(&self) -> bool {
        self.workloads.iter().any(|workload| self.is_strange(workload))
    }

    fn is_strange(&self, workload: &WorkloadStatus) -> bool {
        let open = self.open_run.as_ref().map(|row| &row.run);
        workload.stamped_by.as_ref().is_some_and(|run| Some(run) != open)
    }

    /// Says of a workload that bears such a stamp what the database knows of its run: what is written on it is as old as
    /// the stamp.
    pub fn explain_stamps(&mut self, known: &[RunRow]) {
        let is_open = self.open_run.is_some();
        let strange: Vec<bool> = self.workloads.iter().map(|one| self.is_strange(one)).collect();
        for (workload, _) in self.workloads.iter_mut().zip(strange).filter(|(_, strange)| *strange) {
            let Some(run) = &workload.stamped_by else { continue };
            workload.state = Some(match known.iter().find(|row| row.run == *run) {
                // An abort that was killed early has not written on it yet.
                Some(row) if row.status == RunStatus::Closed && is_open => {
                    format!("left by run {run}, which is closed")
                }
                Some(row) if row.status == RunStatus::Closed => {
                    format!("left by run {run}, which is closed; to go on from here: stepback rollback --to RELEASE")
                }
                Some(row) => format!("in the hands of run {run}, on the ledger {}", row.ledger),
                None => format!(
                    "in the hands of run {run}, which this database does not know; where it was restored from before \
                     that run: stepback abort --journal-lost {run}"
                ),
            });
        }
    }
}

/// Describes the workloads alone, where the database does not answer and `database_unknown` says why.
pub fn survey_workloads(app: &AppFile, cluster: &SeenCluster, database: String, database_unknown: String) -> Status {
    Status {
        app: Some(app.name.clone()),
        database,
        server: String::new(),
        releases: Vec::new(),
        schema: None,
        applied: 0,
        pending: 0,
        fingerprint: SchemaMatch::Unknown,
        open_run: None,
        standing: None,
        lease: None,
        database_unknown: Some(database_unknown),
        cluster_unknown: None,
        cluster: cluster.place.clone(),
        workloads: cluster.workloads.iter().map(describe).collect(),
        reach: Vec::new(),
        migrations: Vec::new(),
    }
}

fn reach(app: &AppFile, catalog: &Catalog, seen: &Seen, schema_alone: bool) -> Vec<Reach> {
    let ask = |release: &crate::appfile::Release| {
        let request = Request {
            goal: match schema_alone {
                true => Goal::Schema(Some(release.schema.clone())),
                false => Goal::Release(release.version.clone()),
            },
            app: Some(app),
            catalog,
            // The price is what is asked for here, so what it would destroy is taken as accepted.
            accept_loss: true,
            accepted: Accepted::default(),
            dead: std::collections::BTreeSet::new(),
            order: None,
            journal: None,
        };
        let (plan, refused) = match plan(&request, seen) {
            Ok(plan) => (Some(plan), Vec::new()),
            Err(refusals) => (None, codes(&refusals)),
        };
        let (undone, applied) = plan.as_ref().map(moved).unwrap_or_default();
        Reach {
            release: release.version.clone(),
            schema: release.schema.clone(),
            undone,
            applied,
            steps: plan.map_or(0, |plan| plan.steps.len()),
            refused,
        }
    };
    app.releases.iter().map(ask).collect()
}

fn codes(refusals: &Refusals) -> Vec<String> {
    let mut codes: Vec<String> = refusals.codes().into_iter().map(str::to_owned).collect();
    codes.sort();
    codes.dedup();
    codes
}

/// How many migrations a plan undoes and applies.
fn moved(plan: &Plan) -> (usize, usize) {
    plan.steps.iter().fold((0, 0), |(down, up), step| match &step.action {
        Action::Revert { scripts, .. } => (down + scripts.len(), up),
        Action::Apply { scripts } => (down, up + scripts.len()),
        _ => (down, up),
    })
}

fn list_migrations(catalog: &Catalog, database: &SeenDatabase) -> Vec<MigrationStatus> {
    let mut list: Vec<MigrationStatus> = database
        .ledger
        .iter()
        .map(|row| MigrationStatus {
            migration: row.migration.clone(),
            applied_at: Some(row.applied_at.clone()),
            sequence: row.sequence,
            in_folder: catalog.find(&row.migration.version).is_some(),
            edited: catalog
                .find(&row.migration.version)
                .is_some_and(|filed| row.names_up(&filed.up.sha256(), filed.up.text().as_bytes()) == Some(false)),
            down_edited: is_down_edited(row, catalog, database),
            down: down_of(row, catalog, database),
        })
        .collect();
    let applied = database.applied();
    for migration in catalog.migrations() {
        if applied.contains(&migration.version) {
            continue;
        }
        list.push(MigrationStatus {
            migration: MigrationId {
                version: migration.version.clone(),
                name: migration.name.clone(),
            },
            applied_at: None,
            sequence: None,
            in_folder: true,
            edited: false,
            down_edited: false,
            down: match &migration.down {
                None => "missing",
                Some(down) if down.is_empty(database.database.engine) => "empty",
                Some(_) => "folder",
            },
        });
    }
    list.sort_by(|a, b| a.migration.version.cmp(&b.migration.version));
    list
}

fn is_down_edited(row: &LedgerRow, catalog: &Catalog, database: &SeenDatabase) -> bool {
    let version = &row.migration.version;
    let archived = database.archived(version);
    let captured = archived.filter(|archived| archived.intact && archived.capture == Capture::Captured);
    let filed = catalog.find(version).and_then(|filed| filed.down.as_ref());
    match (captured.and_then(|archived| archived.down_sha256), filed) {
        (Some(captured), Some(file)) => file.sha256() != captured,
        _ => false,
    }
}

fn down_of(row: &LedgerRow, catalog: &Catalog, database: &SeenDatabase) -> &'static str {
    match database.archived(&row.migration.version) {
        Some(archived) if !archived.intact => "damaged",
        Some(archived) if archived.down_sha256.is_none() => "missing",
        Some(archived) if archived.down_empty => "empty",
        Some(archived) if archived.capture == Capture::Captured => "captured",
        Some(_) => "staged",
        None => match catalog.find(&row.migration.version).map(|found| &found.down) {
            Some(Some(_)) => "folder",
            _ => "missing",
        },
    }
}
