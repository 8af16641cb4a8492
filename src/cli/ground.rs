//! What a command stands on: app file, folder, database and cluster, found and connected. Nothing is touched here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use stepback_core::appfile::{AppFile, DataLoss, Limits, Tool};
use stepback_core::catalog::{Catalog, Layout};
use stepback_core::model::{LedgerTool, SeenCluster, WorkloadRef, closest, nearest_release};
use stepback_core::plan::{Accepted, Goal, Order, Request, SavedPlan, parse_code, workloads_of};

use super::explain::CliError;
use super::options::Options;
use super::who::who;
use crate::cluster::{self, Cluster as _, ClusterError, ConnectTo, KubeCluster};
use crate::database::{ConnectOptions, Database, LedgerChoice, connect, find_state_schema, sqlite_file};
use crate::journal::Places;
use crate::load::{self, DatabaseUrl, Folder, LoadError};
use crate::run::Coordinator;

/// Where database and migrations are, for commands that work without an app file.
#[derive(Args, Default)]
#[command(next_help_heading = "Database")]
pub(super) struct SchemaArgs {
    /// The database, instead of the app file's; the rest of the app file counts [default without an app file:
    /// DATABASE_URL]
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

/// What is known and goes on all the same.
#[derive(Args)]
#[command(next_help_heading = "Way back")]
pub(super) struct AcceptArgs {
    /// Go on in spite of a finding, by its code; may be given several times (docs/findings.md says which can be)
    #[arg(long, value_name = "CODE", value_parser = parse_code)]
    accept: Vec<String>,
}

impl AcceptArgs {
    pub(super) fn codes(&self) -> Accepted {
        self.accept.iter().cloned().collect()
    }
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

/// Where our own tables live where nothing else is said.
pub(super) const STATE_SCHEMA: &str = "stepback";

/// How much a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The schema alone: an app file where there is one, else a URL.
    Schema,
    /// The schema alone, and the migrations folder with it: a database that is missing is made.
    Folder,
    /// The migrations folder and a database that is there; the schema alone.
    Files,
    /// The app file, with its workloads.
    App,
    /// The app file and a database, which is made where it is missing; the cluster only when it turns out to be needed
    /// ([`Ground::join`]).
    Release,
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
    /// Where the database is.
    pub(super) url: DatabaseUrl,
    /// The SQLite file that the command makes, because it is not there.
    pub(super) makes: Option<PathBuf>,
    /// Why the cluster of the app's workloads is not joined, where looking goes on without it.
    pub(super) not_joined: Option<ClusterError>,
    /// The findings that were accepted by name.
    pub(super) accepted: Accepted,
    /// The UIDs of pods that are said to be dead.
    pub(super) dead: BTreeSet<String>,
    pub(super) coordinator: Coordinator,
}

impl Ground {
    /// Finds and connects everything that the command needs.
    pub(super) async fn find(options: &Options, args: &SchemaArgs, need: Need) -> anyhow::Result<Self> {
        let app = find_app(options, need)?;
        let url = find_url(options, args, app.as_ref())?;
        let engine = load::engine_of(&url.url, "as given")?;
        let catalog = load::read_catalog(&find_folder(options, args, app.as_ref(), need)?, engine, app.as_ref())?;
        let with_workloads = app
            .as_ref()
            .filter(|app| matches!(need, Need::App | Need::Look) && !app.workloads.is_empty());
        let ledger = choose_ledger(args, app.as_ref())?;
        let schema = state_schema(options, &url, app.as_ref()).await?;
        let mut coordinator = coordinator(
            &url,
            app.as_ref(),
            &schema,
            ledger,
            matches!(need, Need::Folder | Need::Release),
        )?;
        let joined = join_workloads(options, &mut coordinator, with_workloads).await;
        let (workloads, namespace, not_joined) = match joined {
            Ok((workloads, namespace)) => (workloads, namespace, None),
            // Half of the answer is better than none.
            Err(error) if need == Need::Look => (Vec::new(), None, Some(error)),
            Err(error) => return Err(error.into()),
        };
        let makes = sqlite_file(&url.url).filter(|file| need == Need::Folder && !file.exists());
        Ok(Self {
            app,
            catalog,
            workloads,
            namespace,
            url,
            makes,
            not_joined,
            accepted: Accepted::default(),
            dead: BTreeSet::new(),
            coordinator,
        })
    }

    /// Joins the cluster of the app's workloads, where it has some.
    pub(super) async fn join(&mut self, options: &Options) -> Result<(), ClusterError> {
        let app = self.app.as_ref().filter(|app| !app.workloads.is_empty());
        (self.workloads, self.namespace) = join_workloads(options, &mut self.coordinator, app).await?;
        Ok(())
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
        let ledger = LedgerChoice::Exactly(saved.plan.database.ledger.table.clone());
        let schema = &saved.plan.database.state_schema;
        let mut coordinator = coordinator(&url, app.as_ref(), schema, ledger, false)?;
        let with_workloads = app.as_ref().filter(|app| !app.workloads.is_empty());
        let (workloads, namespace) = join_workloads(options, &mut coordinator, with_workloads).await?;
        Ok(Self {
            app,
            catalog,
            workloads,
            namespace,
            url,
            makes: None,
            not_joined: None,
            accepted: Accepted::default(),
            dead: BTreeSet::new(),
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
            accepted: self.accepted.clone(),
            dead: self.dead.clone(),
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
) -> Result<(Vec<WorkloadRef>, Option<String>), ClusterError> {
    let Some(app) = app else {
        return Ok((Vec::new(), None));
    };
    let namespace = join_cluster(options, coordinator).await?;
    Ok((workloads_of(app, &namespace), Some(namespace)))
}

/// The app's workloads alone, for whoever cannot have the database; `None` where the app has none.
pub(super) async fn look_at_workloads(options: &Options) -> anyhow::Result<Option<(AppFile, SeenCluster)>> {
    let Some(app) = find_app(options, Need::Look)?.filter(|app| !app.workloads.is_empty()) else {
        return Ok(None);
    };
    let cluster = cluster_of(options).await?;
    let workloads = workloads_of(&app, cluster.default_namespace());
    let seen = cluster.look(&workloads).await?;
    Ok(Some((app, seen)))
}

/// A database alone, for commands that need nothing else: `resume`, `runs`, `report`; with its URL and state schema.
pub(super) async fn database_alone(
    options: &Options,
    url: Option<&str>,
) -> anyhow::Result<(Coordinator, DatabaseUrl, String)> {
    let args = SchemaArgs {
        url: url.map(str::to_owned),
        ..SchemaArgs::default()
    };
    // As of every command: what a shell has left over from another app is not what is meant in the folder of this one.
    let app = match url {
        Some(_) => None,
        None => find_app(options, Need::Look)?,
    };
    let url = find_url(options, &args, app.as_ref())?;
    let ledger = choose_ledger(&args, app.as_ref())?;
    let schema = state_schema(options, &url, app.as_ref()).await?;
    Ok((coordinator(&url, app.as_ref(), &schema, ledger, false)?, url, schema))
}

fn find_app(options: &Options, need: Need) -> Result<Option<AppFile>, LoadError> {
    let path = options.app_file();
    let optional = !matches!(need, Need::App | Need::Release) && !options.names_app_file();
    if optional && !path.exists() {
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

/// The release that was typed. One that is no version is answered with those of the app file, and before anything is
/// connected.
///
/// # Errors
/// [`CliError::Usage`] with what was meant, as far as that can be told.
pub(super) fn read_release(options: &Options, typed: &str) -> anyhow::Result<semver::Version> {
    if let Ok(version) = semver::Version::parse(typed) {
        return Ok(version);
    }
    let app = load::read_app(options.app_file())?;
    let names: Vec<String> = app.releases.iter().map(|release| release.version.to_string()).collect();
    let plain = typed.trim_start_matches(['v', 'V']);
    let begins = |name: &&String| name.starts_with(&format!("{plain}.")) || *name == plain;
    let begun = names.iter().find(begins).map(String::as_str);
    // 1.4 is the name of one that is not there, and no slip of 1.2.0.
    let numbers = [plain.to_owned(), format!("{plain}.0"), format!("{plain}.0.0")];
    let wanted = numbers.iter().find_map(|text| semver::Version::parse(text).ok());
    let versions = app.releases.iter().map(|release| &release.version);
    let nearest = wanted.and_then(|wanted| Some(nearest_release(&wanted, versions)?.to_string()));
    let meant = begun.or(nearest.as_deref()).or_else(|| closest(plain, &names));
    Err(CliError::Usage {
        message: format!("`{typed}` is not the name of a release"),
        hint: match (meant, names.as_slice()) {
            (Some(meant), _) => format!("did you mean {meant}? {} names {}", app.file, names.join(", ")),
            (None, []) => format!("{} names no release yet: add it under `spec.releases`", app.file),
            (None, names) => format!("write one of those that {} names: {}", app.file, names.join(", ")),
        },
    }
    .into())
}

/// The migrations folder alone, for a command that needs no database.
pub(super) fn folder_alone(options: &Options, args: &SchemaArgs) -> Result<Folder, LoadError> {
    let app = if args.dir.is_some() {
        None
    } else {
        find_app(options, Need::Look)?
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
        must_exist: args.dir.is_some() || matches!(need, Need::Folder | Need::Files),
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

/// Where our own tables live: where that was said, else where they are found, so that whoever has nothing but the URL meets
/// the others at one lease (LAWS D16).
async fn state_schema(options: &Options, url: &DatabaseUrl, app: Option<&AppFile>) -> anyhow::Result<String> {
    let of_app = app.and_then(|app| app.database.state_schema.as_ref());
    if let Some(schema) = options.state_schema.as_ref().or(of_app) {
        return Ok(schema.clone());
    }
    let asking = connect_options(url, STATE_SCHEMA, LedgerChoice::Auto, &Limits::default(), false);
    let found = find_state_schema(&url.url, asking).await?;
    Ok(found.unwrap_or_else(|| STATE_SCHEMA.to_owned()))
}

/// A coordinator over this database alone. A SQLite file that is not there is made only where `create` says so.
fn coordinator(
    url: &DatabaseUrl,
    app: Option<&AppFile>,
    state_schema: &str,
    ledger: LedgerChoice,
    create: bool,
) -> anyhow::Result<Coordinator> {
    let limits = app.map_or_else(Limits::default, |app| app.limits.clone());
    connected(url, connect_options(url, state_schema, ledger, &limits, create))
}

pub(super) fn connect_options(
    url: &DatabaseUrl,
    state_schema: &str,
    ledger: LedgerChoice,
    limits: &Limits,
    create: bool,
) -> ConnectOptions {
    ConnectOptions {
        source: url.source.clone(),
        state_schema: state_schema.to_owned(),
        ledger,
        lock_wait: limits.lock_wait,
        statement: limits.statement,
        step: limits.step,
        create,
        by: who().to_string(),
    }
}

pub(super) fn connected(url: &DatabaseUrl, options: ConnectOptions) -> anyhow::Result<Coordinator> {
    let by = who();
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
pub(super) async fn join_cluster(options: &Options, coordinator: &mut Coordinator) -> Result<String, ClusterError> {
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
