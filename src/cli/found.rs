//! A run that was begun elsewhere: where its journal is, and the coordinator that its plan wants.

use std::sync::Arc;
use std::time::Duration;

use stepback_core::appfile::Limits;
use stepback_core::model::{JournalPlace, RunId, RunRow, RunStatus};
use stepback_core::plan::Plan;

use super::explain::CliError;
use super::ground::{cluster_of, connect_options, connected, database_alone, join_cluster};
use super::options::Options;
use crate::database::LedgerChoice;
use crate::journal::{ClusterJournal, FileJournal, Journal, JournalError, Stored};
use crate::load::{self, DatabaseUrl};
use crate::run::{Coordinator, RoadError, Unfit};

/// Where a run is to be found again.
pub(super) enum Place {
    /// In the database of this URL, or of the usual places: the app file, where there is none `DATABASE_URL`.
    Database(Option<String>),
    /// In a cluster's ConfigMaps, of this namespace.
    Cluster(String),
    /// In a file.
    File(String),
}

impl Place {
    /// `cluster:NAMESPACE`, `file:PATH`, or a database's URL; without one, the database, of `url` where that is given.
    ///
    /// # Errors
    /// Where it is none of them; it is not repeated, for it may be a URL with a slip and a password.
    pub(super) fn parse(text: Option<&str>, url: Option<&str>) -> Result<Self, CliError> {
        let Some(text) = text else {
            return Ok(Self::Database(url.map(str::to_owned)));
        };
        let wrong = |message: &str| CliError::Usage {
            message: message.to_owned(),
            hint: "write cluster:NAMESPACE, file:PATH, or the URL of the run's database".to_owned(),
        };
        match text.split_once(':') {
            Some(("cluster" | "file", "")) => Err(wrong("--journal names a kind of place and no place")),
            Some(("cluster", namespace)) => Ok(Self::Cluster(namespace.to_owned())),
            Some(("file", path)) => Ok(Self::File(path.to_owned())),
            Some(("sqlite" | "postgres" | "postgresql" | "mysql" | "mariadb", _)) => {
                Ok(Self::Database(Some(text.to_owned())))
            }
            _ => Err(wrong("--journal names no place where a journal can be")),
        }
    }
}

/// What a run that was begun elsewhere stands on.
pub(super) struct Found {
    pub(super) coordinator: Coordinator,
    /// The run, where its journal was asked for it.
    pub(super) run: Option<RunId>,
    url: DatabaseUrl,
    /// Where the database's own tables of ours are.
    state_schema: String,
}

impl Found {
    /// The open run of a database that is connected already.
    pub(super) fn on(coordinator: Coordinator, url: DatabaseUrl, state_schema: String) -> Self {
        Self {
            coordinator,
            run: None,
            url,
            state_schema,
        }
    }

    /// A coordinator on the ledger of a run whose plan cannot be relied on; with the cluster, where there is one.
    pub(super) async fn of_row(&self, options: &Options, row: &RunRow) -> anyhow::Result<Coordinator> {
        let ledger = LedgerChoice::Exactly(row.ledger.clone());
        let connecting = connect_options(&self.url, &self.state_schema, ledger, &Limits::default(), false);
        let mut coordinator = connected(&self.url, connecting)?;
        if self.coordinator.cluster.is_some() {
            join_cluster(options, &mut coordinator).await?;
        }
        Ok(coordinator)
    }

    /// The run that was asked for, or the only one that is not closed on any ledger of the database (LAWS D16); `None` where
    /// none was asked for and none is open.
    pub(super) async fn open_run(&self, command: &str) -> anyhow::Result<Option<RunRow>> {
        let rows = self.coordinator.database.runs().await?;
        let unfit = |run: &RunId, why| {
            let run = run.clone();
            Err(RoadError::Unfit { run, why }.into())
        };
        if let Some(run) = &self.run {
            return match rows.into_iter().find(|row| row.run == *run) {
                None => unfit(run, Unfit::Unknown),
                Some(row) if row.status == RunStatus::Closed => unfit(run, Unfit::Closed),
                open => Ok(open),
            };
        }
        let mut open: Vec<RunRow> = rows.into_iter().filter(|row| row.status != RunStatus::Closed).collect();
        if open.len() < 2 {
            return Ok(open.pop());
        }
        let list = open
            .iter()
            .map(|row| format!("{} ({}, on {})", row.run, row.title, row.ledger));
        let list: Vec<String> = list.collect();
        Err(CliError::Usage {
            message: format!("several runs are not closed: {}", list.join("; ")),
            hint: format!("name the one that is meant: stepback {command} RUN"),
        }
        .into())
    }

    /// A coordinator as the plan wants it: in its state schema, on its ledger and under its limits, whatever file lies
    /// here; with the cluster, where the plan or its journal needs it.
    pub(super) async fn under(&self, options: &Options, plan: &Plan) -> anyhow::Result<Coordinator> {
        let mut coordinator = under(&self.url, plan)?;
        if plan.has_workload_steps() || self.coordinator.cluster.is_some() {
            join_cluster(options, &mut coordinator).await?;
        }
        Ok(coordinator)
    }
}

fn under(url: &DatabaseUrl, plan: &Plan) -> anyhow::Result<Coordinator> {
    let limits = Limits {
        lock_wait: Duration::from_millis(plan.limits.lock_wait_ms),
        statement: Duration::from_millis(plan.limits.statement_ms),
        step: Duration::from_millis(plan.limits.step_ms),
        ..Limits::default()
    };
    let schema = &plan.database.state_schema;
    let ledger = LedgerChoice::Exactly(plan.database.ledger.table.clone());
    let options = connect_options(url, schema, ledger, &limits, false);
    connected(url, options)
}

/// A coordinator for a run that is found by its journal, and the run where one was found that is not over. The plan of a
/// journal outside the database says where the database is.
pub(super) async fn find_run(options: &Options, place: &Place, run: Option<&RunId>) -> anyhow::Result<Found> {
    if let Place::Database(url) = place {
        let (coordinator, url, state_schema) = database_alone(options, url.as_deref()).await?;
        let run = run.cloned();
        return Ok(Found {
            coordinator,
            run,
            url,
            state_schema,
        });
    }
    let (journal, _) = open_journal(options, place).await?;
    let run = match run {
        Some(run) => run.clone(),
        None => unfinished(&*journal).await?,
    };
    let plan = journal.read(&run).await?.plan;
    let url = load::from_plan(&plan.database.source)?;
    Ok(Found {
        coordinator: under(&url, &plan)?,
        run: Some(run),
        url,
        state_schema: plan.database.state_schema,
    })
}

/// The journals of a place, without asking the database that knows them all; that of a database, through itself.
pub(super) async fn open_journal(options: &Options, place: &Place) -> anyhow::Result<(Arc<dyn Journal>, JournalPlace)> {
    Ok(match place {
        Place::Database(url) => {
            let (coordinator, ..) = database_alone(options, url.as_deref()).await?;
            (
                coordinator.journals.open(&JournalPlace::Database)?,
                JournalPlace::Database,
            )
        }
        Place::Cluster(namespace) => {
            let client = cluster_of(options).await?.client();
            let journal = Arc::new(ClusterJournal::new(client, namespace));
            (journal, JournalPlace::Cluster(namespace.clone()))
        }
        Place::File(path) => (Arc::new(FileJournal::new(path)), JournalPlace::File(path.clone())),
    })
}

/// The one run of a journal that is not over: a namespace can hold the journals of many apps.
async fn unfinished(journal: &dyn Journal) -> anyhow::Result<RunId> {
    let mut open = Vec::new();
    for run in journal.runs().await? {
        let stored = journal.read(&run).await?;
        if stored.state(&run)?.is_some_and(|state| !state.is_over()) {
            open.push((run, stored.plan));
        }
    }
    if open.len() > 1 {
        // An abort that died before it took over, or before it said so in the other's journal: the database knows which of
        // the two is open.
        let mut known = Vec::new();
        for (run, plan) in open {
            if is_open(&run, &plan).await.unwrap_or(true) {
                known.push((run, plan));
            }
        }
        open = known;
    }
    match open.as_slice() {
        [] => Err(CliError::NoRun.into()),
        [(run, _)] => Ok(run.clone()),
        several => {
            let list = several.iter().map(|(run, plan)| format!("{run} ({})", plan.title));
            let list: Vec<String> = list.collect();
            Err(CliError::Usage {
                message: format!("several runs are not over: {}", list.join(", ")),
                hint: "name the one that is meant: stepback resume RUN --journal PLACE".to_owned(),
            }
            .into())
        }
    }
}

/// Whether the database of the plan has this run for the one that is not closed.
async fn is_open(run: &RunId, plan: &Plan) -> anyhow::Result<bool> {
    let url = load::from_plan(&plan.database.source)?;
    let seen = under(&url, plan)?.database.look().await?;
    Ok(seen.open_run.is_some_and(|row| row.run == *run))
}

/// Reads a run's journal where the database says that it is, and connects to the cluster for it where that is needed.
pub(super) async fn read_journal(
    options: &Options,
    coordinator: &mut Coordinator,
    row: &RunRow,
) -> anyhow::Result<Stored> {
    if matches!(row.journal, JournalPlace::Cluster(_)) {
        join_cluster(options, coordinator).await?;
    }
    match coordinator.journals.open(&row.journal)?.read(&row.run).await {
        Err(JournalError::NotFound(_)) => Err(RoadError::Unfit {
            run: row.run.clone(),
            why: Unfit::JournalGone(row.journal.clone()),
        }
        .into()),
        stored => Ok(stored?),
    }
}
