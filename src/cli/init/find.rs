//! Looking around for `init`: folder, database, cluster. Whatever cannot be found is said, and is no error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stepback_core::appfile::{Draft, DraftWorkload};
use stepback_core::catalog::Catalog;
use stepback_core::model::{Engine, Version, images_of};
use stepback_core::plan::Seen;

use super::{Args, beside};
use crate::cli::ground::{cluster_of, database_alone};
use crate::cli::options::Options;
use crate::cluster::FoundWorkload;
use crate::database::redact;
use crate::load::{self, Folder, LoadError};

/// How long the database and the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where projects keep their migrations.
const FOLDERS: [&str; 7] = [
    "migrations",
    "db/migrations",
    "db/migrate",
    "database/migrations",
    "sql/migrations",
    "schema/migrations",
    "src/main/resources/db/migration",
];

/// The tables in which other tools keep what is applied (their own documentation names them).
const LEDGERS: [(&str, &str); 6] = [
    ("_sqlx_migrations", "sqlx"),
    ("schema_migrations", "golang-migrate or dbmate"),
    ("goose_db_version", "goose"),
    ("__diesel_schema_migrations", "diesel"),
    ("flyway_schema_history", "Flyway"),
    ("refinery_schema_history", "refinery"),
];

/// What was found: the file, and a line each of what it was made from.
pub(super) struct Found {
    pub(super) draft: Draft,
    pub(super) lines: BTreeMap<&'static str, String>,
}

pub(super) async fn look_around(options: &Options, args: &Args) -> Found {
    let app_file = options.app_file();
    let url = args.url.clone().or_else(|| std::env::var("DATABASE_URL").ok());
    let url = url.filter(|url| !url.trim().is_empty());
    let mut draft = Draft {
        url: args.url.clone().filter(|url| redact(url) == *url),
        ..Draft::default()
    };
    let (database, cluster) = tokio::join!(look_at_database(options, url.as_deref()), look_at_cluster(options));
    let engine = url.as_deref().and_then(|url| load::engine_of(url, "as given").ok());
    let filed = look_at_folder(args, app_file, engine.unwrap_or(Engine::Sqlite), &mut draft);

    let mut lines = BTreeMap::new();
    match database {
        Ok(seen) => {
            take_database(&seen, &mut draft);
            lines.insert("database", draft.database.clone());
        }
        // Why not is for whoever typed it: addresses and users do not belong into a file that is committed.
        Err(why) => {
            draft.database = "No database could be looked at when this was written.".to_owned();
            lines.insert("database", why);
        }
    }
    draft.newest = draft.newest.take().or(filed);
    match cluster {
        Ok((namespace, workloads)) => {
            draft.workloads = workloads.iter().map(draft_of).collect();
            draft.cluster = match draft.workloads.len() {
                0 => format!("No StatefulSet and no Deployment is in namespace {namespace}."),
                1 => format!("Found in namespace {namespace}."),
                many => format!("Found in namespace {namespace}: {many} workloads."),
            };
        }
        Err(why) => {
            draft.cluster = "No cluster could be looked at when this was written.".to_owned();
            lines.insert("workloads", why);
        }
    }
    draft.name = args.name.clone().unwrap_or_else(|| match draft.workload() {
        Some(workload) => workload.name.clone(),
        None => name_of_folder(app_file),
    });
    lines.insert("folder", draft.migrations.clone());
    lines.entry("workloads").or_insert_with(|| draft.cluster.clone());
    Found { draft, lines }
}

/// Why something was not found, on one line and without its own full stop.
fn because(what: &str, error: &dyn std::fmt::Display) -> String {
    let error = error.to_string();
    format!("{what}: {}.", error.trim_end_matches('.'))
}

async fn look_at_database(options: &Options, url: Option<&str>) -> Result<Seen, String> {
    let Some(url) = url else {
        return Err("DATABASE_URL is not set, so no database was looked at.".to_owned());
    };
    let failed = |error: &dyn std::fmt::Display| because("The database could not be looked at", error);
    let looking = async {
        let (coordinator, ..) = database_alone(options, Some(url)).await?;
        anyhow::Ok(coordinator.look(&[]).await?)
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(seen) => seen.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&format_args!(
            "it did not answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

fn take_database(seen: &Seen, draft: &mut Draft) {
    let database = &seen.database;
    let applied = database.applied();
    let how_many = match (database.prepared, applied.0.len()) {
        (false, _) => "stepback has applied nothing there yet".to_owned(),
        (true, count) => format!("{} applied by stepback", migrations(count)),
    };
    draft.database = format!("Found: {}, {how_many}.", seen.fingerprint.server);
    let tables = || {
        seen.fingerprint
            .objects
            .keys()
            .filter_map(|object| object.strip_prefix("table "))
    };
    let theirs = LEDGERS.iter().find(|(ledger, _)| {
        let mut tables = tables();
        tables.any(|table| table == *ledger || table.rsplit('.').next() == Some(*ledger))
    });
    draft.ledger = theirs.map(|(table, tool)| {
        format!("The database has a table {table}, which is what {tool} keeps: there is a ledger of another tool.")
    });
    draft.newest = applied.newest().cloned();
    for row in &database.releases {
        let newest = row.schema.newest().cloned();
        let zero = Version::parse("0").expect("0 is a version");
        draft.releases.insert(row.release.clone(), newest.unwrap_or(zero));
    }
}

fn migrations(count: usize) -> String {
    format!("{count} migration{}", if count == 1 { "" } else { "s" })
}

/// Gives the newest migration that lies in the folder.
fn look_at_folder(args: &Args, app_file: &Path, engine: Engine, draft: &mut Draft) -> Option<Version> {
    let beside = beside(app_file);
    let (path, named) = match &args.dir {
        // It was typed from here, and the file may lie elsewhere.
        Some(dir) if beside.as_os_str().is_empty() || dir.is_absolute() => (dir.clone(), dir.clone()),
        Some(dir) => (dir.clone(), std::path::absolute(dir).unwrap_or_else(|_| dir.clone())),
        None => match FOLDERS.iter().find(|folder| holds_sql(&beside.join(folder))) {
            Some(folder) => (beside.join(folder), PathBuf::from(folder)),
            None => {
                draft.migrations = format!("No migrations folder was found; looked for {}.", FOLDERS.join(", "));
                return None;
            }
        },
    };
    draft.folder = Some(named.display().to_string());
    let folder = Folder {
        path,
        must_exist: true,
        layout: None,
    };
    match load::read_catalog(&folder, engine, None) {
        Ok(catalog) => {
            draft.migrations = describe(&catalog);
            catalog.newest().map(|newest| newest.version.clone())
        }
        Err(LoadError::Catalog { errors, .. }) => {
            let first = errors.errors().first().map(ToString::to_string).unwrap_or_default();
            draft.migrations = because("Found, and not readable", &first);
            None
        }
        Err(error) => {
            draft.migrations = because("The migrations were not read", &error);
            None
        }
    }
}

fn describe(catalog: &Catalog) -> String {
    match catalog.newest() {
        Some(newest) => {
            let count = migrations(catalog.migrations().len());
            format!("Found: {count}, the newest {}.", newest.label())
        }
        None => "Found, and empty.".to_owned(),
    }
}

fn holds_sql(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .into_iter()
        .any(|file| file.path().extension().is_some_and(|ending| ending == "sql"))
}

async fn look_at_cluster(options: &Options) -> Result<(String, Vec<FoundWorkload>), String> {
    let failed = |error: &dyn std::fmt::Display| because("The cluster was not looked at", error);
    let looked = tokio::time::timeout(PATIENCE, async {
        let cluster = cluster_of(options).await?;
        let workloads = cluster.find_workloads().await?;
        Ok::<_, crate::cluster::ClusterError>((cluster.default_namespace().to_owned(), workloads))
    });
    match looked.await {
        Ok(looked) => looked.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&format_args!(
            "it did not answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

fn draft_of(found: &FoundWorkload) -> DraftWorkload {
    DraftWorkload {
        kind: found.kind.to_owned(),
        namespace: found.namespace.clone(),
        name: found.name.clone(),
        images: images_of(&found.pod),
        http: readiness(&found.pod),
    }
}

/// What the kubelet asks, we can ask too.
fn readiness(pod: &PodSpec) -> Option<(String, u16, bool)> {
    pod.containers.iter().find_map(|container| {
        let get = container.readiness_probe.as_ref()?.http_get.as_ref()?;
        let port = match &get.port {
            IntOrString::Int(port) => u16::try_from(*port).ok()?,
            IntOrString::String(name) => named_port(container, name)?,
        };
        let path = get
            .path
            .clone()
            .filter(|path| path.starts_with('/'))
            .unwrap_or_else(|| "/".to_owned());
        Some((path, port, get.scheme.as_deref() == Some("HTTPS")))
    })
}

fn named_port(container: &Container, name: &str) -> Option<u16> {
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

fn name_of_folder(app_file: &Path) -> String {
    let folder = std::path::absolute(app_file).ok();
    let name = folder.as_deref().and_then(Path::parent).and_then(Path::file_name);
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
