//! What a command stands on: app file, folder, database and cluster, found and connected. Nothing is touched here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stepback_core::appfile::{AppFile, DataLoss, Limits, Tool};
use stepback_core::catalog::{Catalog, Layout};
use stepback_core::journal::RunState;
use stepback_core::model::{JournalPlace, LedgerTool, RunId, RunRow, WorkloadRef};
use stepback_core::plan::{Goal, Order, Plan, Request, SavedPlan, workloads_of};

use super::explain::CliError;
use super::options::Options;
use super::who::who;
use crate::cluster::{self, ClusterError, ConnectTo, KubeCluster};
use crate::database::{ConnectOptions, Database, LedgerChoice, connect};
use crate::journal::{ClusterJournal, FileJournal, Journal, JournalError, Places, Stored};
use crate::load::{self, DatabaseUrl, Folder, LoadError};
use crate::run::Coordinator;

/// Where database and migrations are, for commands that work without an app file.
#[derive(Args, Default)]
#[command(next_help_heading = "Database")]
pub(super) struct SchemaArgs {
    /// The database, instead of the app file's [default without an app file: DATABASE_URL]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub(super) url: Option<String>,
    /// The migrations folder, instead of the app file's [default without an app file: migrations]
    #[arg(long, value_name = "FOLDER")]
    pub(super) dir: Option<PathBuf>,
    /// The layout of the migrations folder
    #[arg(long, value_name = "TOOL", value_parser = ["auto", "stepback", "sqlx"])]
    pub(super) layout: Option<String>,
    /// Whose table says what is applied: auto, stepback, sqlx or sqlx:TABLE
    #[arg(long, value_name = "TOOL", value_parser = LedgerChoice::parse)]
    pub(super) ledger: Option<LedgerChoice>,
}

/// What a way back may do.
#[derive(Args)]
#[command(next_help_heading = "Way back")]
pub(super) struct WayArgs {
    /// Accept what the down scripts destroy; the app file's `dataLoss: accept` says the same
    #[arg(long, value_name = "WHAT")]
    data_loss: Option<Loss>,
    /// In which order to undo where the order of application and that of the versions contradict each other
    #[arg(long, value_name = "ORDER")]
    order: Option<ByOrder>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Loss {
    /// Nothing may be lost
    Refuse,
    /// Whatever the scripts destroy
    Accept,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ByOrder {
    /// Newest applied first
    Applied,
    /// Highest version first
    Version,
}

/// How much a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The schema alone: an app file where there is one, else a URL.
    Schema,
    /// The schema alone, and the migrations folder with it: a database that is missing is made.
    Folder,
    /// The app file, with its workloads.
    App,
    /// Whatever there is: looking.
    Look,
}

/// What a command stands on.
pub(super) struct Ground {
    pub(super) app: Option<AppFile>,
    pub(super) catalog: Catalog,
    pub(super) workloads: Vec<WorkloadRef>,
    /// The current namespace, where a cluster is joined.
    pub(super) namespace: Option<String>,
    pub(super) coordinator: Coordinator,
}

impl Ground {
    /// Finds and connects everything that the command needs.
    pub(super) async fn find(options: &Options, args: &SchemaArgs, need: Need) -> anyhow::Result<Self> {
        let app = find_app(options, args, need)?;
        let url = find_url(options, args, app.as_ref())?;
        let engine = load::engine_of(&url.url, "as given")?;
        let catalog = load::read_catalog(&find_folder(options, args, app.as_ref(), need)?, engine, app.as_ref())?;
        let with_workloads = app
            .as_ref()
            .filter(|app| matches!(need, Need::App | Need::Look) && !app.workloads.is_empty());
        let ledger = choose_ledger(args, app.as_ref())?;
        let mut coordinator = coordinator(&url, app.as_ref(), ledger, need == Need::Folder)?;
        let (workloads, namespace) = join_workloads(options, &mut coordinator, with_workloads).await?;
        Ok(Self {
            app,
            catalog,
            workloads,
            namespace,
            coordinator,
        })
    }

    /// What a saved plan stands on: everything but the database's URL is in it, and `catalog` is its part of the folder.
    pub(super) async fn of_saved(
        options: &Options,
        saved: &SavedPlan,
        catalog: Catalog,
        url: Option<&str>,
    ) -> anyhow::Result<Self> {
        let url = match url {
            Some(url) => load::given(url)?,
            None => load::from_plan(&saved.plan.database.source)?,
        };
        let app = saved.app.clone();
        let ledger = choose_ledger(&SchemaArgs::default(), app.as_ref())?;
        let mut coordinator = coordinator(&url, app.as_ref(), ledger, false)?;
        let with_workloads = app.as_ref().filter(|app| !app.workloads.is_empty());
        let (workloads, namespace) = join_workloads(options, &mut coordinator, with_workloads).await?;
        Ok(Self {
            app,
            catalog,
            workloads,
            namespace,
            coordinator,
        })
    }

    /// What is asked of the planner.
    pub(super) fn request(&self, goal: Goal, way: Option<&WayArgs>) -> Request<'_> {
        let accepted = match way.and_then(|way| way.data_loss) {
            Some(loss) => loss == Loss::Accept,
            None => self.app.as_ref().is_some_and(|app| app.data_loss == DataLoss::Accept),
        };
        Request {
            goal,
            app: self.app.as_ref(),
            catalog: &self.catalog,
            accept_loss: accepted,
            order: way.and_then(|way| way.order).map(|order| match order {
                ByOrder::Applied => Order::Applied,
                ByOrder::Version => Order::Version,
            }),
            journal: None,
        }
    }
}

/// Joins the cluster where the app has workloads: gives them, and the current namespace.
async fn join_workloads(
    options: &Options,
    coordinator: &mut Coordinator,
    app: Option<&AppFile>,
) -> anyhow::Result<(Vec<WorkloadRef>, Option<String>)> {
    let Some(app) = app else {
        return Ok((Vec::new(), None));
    };
    let namespace = join_cluster(options, coordinator).await?;
    Ok((workloads_of(app, &namespace), Some(namespace)))
}

/// A database alone, for commands that need nothing else: `resume`, `runs`, `report`.
pub(super) fn database_alone(options: &Options, url: Option<&str>) -> anyhow::Result<(Coordinator, DatabaseUrl)> {
    let args = SchemaArgs {
        url: url.map(str::to_owned),
        ..SchemaArgs::default()
    };
    // An app file is of help only where nothing else says where the database is.
    let needs_app = url.is_none() && (options.names_app_file() || std::env::var_os("DATABASE_URL").is_none());
    let app = if needs_app {
        find_app(options, &args, Need::Look)?
    } else {
        None
    };
    let url = find_url(options, &args, app.as_ref())?;
    let ledger = choose_ledger(&args, app.as_ref())?;
    Ok((coordinator(&url, app.as_ref(), ledger, false)?, url))
}

fn find_app(options: &Options, args: &SchemaArgs, need: Need) -> Result<Option<AppFile>, LoadError> {
    let path = options.app_file();
    let optional = need != Need::App && !options.names_app_file();
    if optional && (args.url.is_some() || !path.exists()) {
        return Ok(None);
    }
    load::read_app(path).map(Some)
}

fn find_url(options: &Options, args: &SchemaArgs, app: Option<&AppFile>) -> anyhow::Result<DatabaseUrl> {
    Ok(match (&args.url, app) {
        (Some(url), _) => load::given(url)?,
        (None, Some(app)) => load::from_app(&app.database.url, options.app_file())?,
        (None, None) => {
            let source = stepback_core::model::UrlSource::Env("DATABASE_URL".to_owned());
            load::from_plan(&source).map_err(|error| match error {
                LoadError::NoVariable(_) => CliError::NoDatabase(options.app_file().to_owned()).into(),
                other => anyhow::Error::new(other),
            })?
        }
    })
}

/// The migrations folder alone, for a command that needs no database.
pub(super) fn folder_alone(options: &Options, args: &SchemaArgs) -> Result<Folder, LoadError> {
    let app = if args.dir.is_some() {
        None
    } else {
        find_app(options, args, Need::Look)?
    };
    find_folder(options, args, app.as_ref(), Need::Look)
}

fn find_folder(options: &Options, args: &SchemaArgs, app: Option<&AppFile>, need: Need) -> Result<Folder, LoadError> {
    let layout = match args.layout.as_deref() {
        Some("stepback") => Some(Layout::Stepback),
        Some("sqlx") => Some(Layout::Sqlx),
        Some(_) => None,
        None => match app.and_then(|app| app.database.layout) {
            None => None,
            Some(Tool::Stepback) => Some(Layout::Stepback),
            Some(Tool::Sqlx) => Some(Layout::Sqlx),
            Some(other) => return Err(LoadError::Layout(format!("{other:?}").to_lowercase())),
        },
    };
    let path = match (&args.dir, app) {
        (Some(dir), _) => dir.clone(),
        (None, Some(app)) => {
            let beside = options.app_file().parent().map(PathBuf::from).unwrap_or_default();
            beside.join(&app.database.migrations)
        }
        (None, None) => PathBuf::from("migrations"),
    };
    Ok(Folder {
        path,
        must_exist: args.dir.is_some() || need == Need::Folder,
        layout,
    })
}

/// What was said about the ledger: on the command line, else in the app file.
fn choose_ledger(args: &SchemaArgs, app: Option<&AppFile>) -> Result<LedgerChoice, LoadError> {
    match (&args.ledger, app.and_then(|app| app.database.ledger)) {
        (Some(choice), _) => Ok(choice.clone()),
        (None, None) => Ok(LedgerChoice::Auto),
        (None, Some(Tool::Stepback)) => Ok(LedgerChoice::Of(LedgerTool::Stepback)),
        (None, Some(Tool::Sqlx)) => Ok(LedgerChoice::Of(LedgerTool::Sqlx)),
        (None, Some(other)) => Err(LoadError::Ledger(format!("{other:?}").to_lowercase())),
    }
}

/// A coordinator over this database alone. A SQLite file that is not there is made only where `create` says so.
fn coordinator(
    url: &DatabaseUrl,
    app: Option<&AppFile>,
    ledger: LedgerChoice,
    create: bool,
) -> anyhow::Result<Coordinator> {
    let limits = app.map_or_else(Limits::default, |app| app.limits.clone());
    let schema = app.map_or("stepback", |app| app.database.state_schema.as_str());
    connected(url, schema, ledger, limits.lock_wait, limits.statement, create)
}

fn connected(
    url: &DatabaseUrl,
    state_schema: &str,
    ledger: LedgerChoice,
    lock_wait: Duration,
    statement: Duration,
    create: bool,
) -> anyhow::Result<Coordinator> {
    let by = who();
    let options = ConnectOptions {
        source: url.source.clone(),
        state_schema: state_schema.to_owned(),
        ledger,
        lock_wait,
        statement,
        create,
        by: by.to_string(),
    };
    let database: Arc<dyn Database> = Arc::from(connect(&url.url, options)?);
    let journals = Arc::new(Places {
        database: Arc::clone(&database),
        cluster: None,
    });
    Ok(Coordinator {
        database,
        cluster: None,
        journals,
        by,
    })
}

/// Gives a coordinator the cluster that is meant, and says what its namespace is where none is named.
pub(super) async fn join_cluster(options: &Options, coordinator: &mut Coordinator) -> anyhow::Result<String> {
    let cluster = cluster_of(options).await?;
    let namespace = cluster.default_namespace().to_owned();
    coordinator.journals = Arc::new(Places {
        database: Arc::clone(&coordinator.database),
        cluster: Some(cluster.client()),
    });
    coordinator.cluster = Some(Arc::new(cluster));
    Ok(namespace)
}

pub(super) async fn cluster_of(options: &Options) -> Result<KubeCluster, ClusterError> {
    let to = ConnectTo {
        kubeconfig: options.kubeconfig.clone(),
        context: options.context.clone(),
        namespace: None,
    };
    cluster::connect(&to).await
}

/// Where a run is to be found again.
pub(super) enum Place {
    /// In the database of this URL, or of the usual places: `DATABASE_URL`, then the app file.
    Database(Option<String>),
    /// In a cluster's ConfigMaps, of this namespace.
    Cluster(String),
    /// In a file.
    File(String),
}

impl Place {
    /// `cluster:NAMESPACE`, `file:PATH`, or a database's URL.
    pub(super) fn parse(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        match text.split_once(':') {
            Some(("cluster", namespace)) => Self::Cluster(namespace.to_owned()),
            Some(("file", path)) => Self::File(path.to_owned()),
            _ => Self::Database(Some(text.to_owned()).filter(|text| !text.is_empty())),
        }
    }
}

/// What a run that was begun elsewhere stands on.
pub(super) struct Found {
    pub(super) coordinator: Coordinator,
    /// The run, where its journal was asked for it.
    pub(super) run: Option<RunId>,
    url: DatabaseUrl,
}

impl Found {
    /// A coordinator as the plan wants it: in its state schema and under its limits, whatever file lies here.
    pub(super) fn under(&self, plan: &Plan) -> anyhow::Result<Coordinator> {
        let limits = &plan.limits;
        let ms = Duration::from_millis;
        let schema = &plan.database.state_schema;
        connected(
            &self.url,
            schema,
            // Where several tables can be it, the lease of the open run says which one it goes by.
            LedgerChoice::Auto,
            ms(limits.lock_wait_ms),
            ms(limits.statement_ms),
            false,
        )
    }
}

/// A coordinator for a run that is found by its journal, and the run where one was found that is not over. The plan of a
/// journal outside the database says where the database is.
pub(super) async fn find_run(options: &Options, place: &Place, run: Option<&RunId>) -> anyhow::Result<Found> {
    let journal: Arc<dyn Journal> = match place {
        Place::Database(url) => {
            let (coordinator, url) = database_alone(options, url.as_deref())?;
            let run = run.cloned();
            return Ok(Found { coordinator, run, url });
        }
        Place::Cluster(namespace) => Arc::new(ClusterJournal::new(cluster_of(options).await?.client(), namespace)),
        Place::File(path) => Arc::new(FileJournal::new(path)),
    };
    let run = match run {
        Some(run) => run.clone(),
        None => unfinished(&*journal).await?,
    };
    let plan = journal.read(&run).await?.plan;
    let url = load::from_plan(&plan.database.source)?;
    let mut found = Found {
        coordinator: coordinator(&url, None, LedgerChoice::Auto, false)?,
        run: Some(run),
        url,
    };
    found.coordinator = found.under(&plan)?;
    Ok(found)
}

/// The one run of a journal that is not over: a namespace can hold the journals of many apps.
async fn unfinished(journal: &dyn Journal) -> anyhow::Result<RunId> {
    let mut open = Vec::new();
    for run in journal.runs().await? {
        let stored = journal.read(&run).await?;
        let state = RunState::replay(&stored.entries, stored.plan.steps.len())
            .map_err(|illegal| JournalError::illegal(&run, &illegal))?;
        if state.is_some_and(|state| !state.is_over()) {
            open.push((run, stored.plan.title));
        }
    }
    match open.as_slice() {
        [] => Err(CliError::NoRun.into()),
        [(run, _)] => Ok(run.clone()),
        several => {
            let list: Vec<String> = several.iter().map(|(run, title)| format!("{run} ({title})")).collect();
            Err(CliError::Usage {
                message: format!("several runs are not over: {}", list.join(", ")),
                hint: "name the one that is meant: stepback resume RUN --journal PLACE".to_owned(),
            }
            .into())
        }
    }
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
    Ok(coordinator.journals.open(&row.journal)?.read(&row.run).await?)
}
