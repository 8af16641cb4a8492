//! The app file, `stepback.yaml`: its shape, its rules, and messages that name line and column.
//!
//! Responsible for: turning the file's text into an [`AppFile`] that is consistent in itself, or into every error at once.
//! Not for: reading the file, or resolving where the URL comes from (the root crate does both). Everybody may use it.

mod check;
mod database;
mod draft;
mod error;
mod probes;
mod read;
mod releases;
mod schema;
mod shape;
mod tree;
mod url;
mod workloads;

pub use check::check_against;
pub use draft::{Draft, DraftWorkload};
pub use error::{AppFileError, AppFileErrors, Place, Problem};
pub use schema::JSON_SCHEMA;
pub use shape::{
    Accepts, AppFile, Ask, DataEngine, DataLoss, Database, Limits, OnFailure, Probe, Release, Strategy, Tls, Tool,
    Trust, UrlSource, UserKind, UserRef, WorkloadKind, WorkloadRef,
};

use read::{Fields, Log, Spot};

impl AppFile {
    /// Reads the text of an app file. `file_name` is only for messages.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file; only broken YAML hides what comes after it.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, AppFileErrors> {
        let mut log = Log {
            file: file_name.to_owned(),
            errors: Vec::new(),
        };
        let file = match tree::read(text) {
            Ok(root) => read_file(
                &Spot {
                    node: &root,
                    path: String::new(),
                },
                &mut log,
            ),
            Err((place, problem)) => {
                log.add(place, problem);
                None
            }
        };
        debug_assert!(
            file.is_some() || !log.errors.is_empty(),
            "what could not be read must have been reported"
        );
        AppFileErrors::collect(log.errors)?;
        Ok(file.expect("a file without errors was read whole"))
    }
}

fn read_file(root: &Spot<'_>, log: &mut Log) -> Option<AppFile> {
    let mut fields = root.fields(log)?;
    if let Some(version) = fields.need("apiVersion", "stepback.dev/v1", log) {
        version.one_of(&[("stepback.dev/v1", ())], log);
    }
    if let Some(kind) = fields.need("kind", "App", log) {
        kind.one_of(&[("App", ())], log);
    }
    let name = fields
        .need("metadata", "a mapping with the app's name", log)
        .and_then(|at| read_name(&at, log));
    let spec = fields.need("spec", "a mapping", log).and_then(|at| at.fields(log));
    fields.finish(log);
    let mut spec = spec?;

    let workloads = spec
        .get("workloads")
        .map(|at| workloads::read(&at, log))
        .unwrap_or_default();
    let database = spec
        .need("database", "a mapping", log)
        .and_then(|at| database::read(&at, &workloads, log));
    let also_uses = spec
        .get("alsoUses")
        .map(|at| workloads::read_users(&at, log))
        .unwrap_or_default();
    let releases = spec
        .get("releases")
        .map(|at| releases::read(&at, &workloads, log))
        .unwrap_or_default();
    let migrates_at_start = spec
        .get("migratesAtStart")
        .and_then(|at| at.bool(log))
        .unwrap_or_default();
    let strategy = read_strategy(&mut spec, migrates_at_start, log);
    let data_loss = [
        ("refuse", DataLoss::Refuse),
        ("salvage", DataLoss::Salvage),
        ("accept", DataLoss::Accept),
    ];
    let data_loss = spec
        .get("dataLoss")
        .and_then(|at| at.one_of(&data_loss, log))
        .unwrap_or_default();
    let probes = spec
        .get("probes")
        .map(|at| probes::read(&at, &workloads, log))
        .unwrap_or_default();
    let limits = spec.get("limits").map(|at| read_limits(&at, log)).unwrap_or_default();
    let on_failure = [("halt", OnFailure::Halt), ("abort", OnFailure::Abort)];
    let on_failure = spec
        .get("onFailure")
        .and_then(|at| at.one_of(&on_failure, log))
        .unwrap_or_default();
    spec.finish(log);

    Some(AppFile {
        file: log.file.clone(),
        name: name?,
        database: database?,
        workloads,
        also_uses,
        releases,
        migrates_at_start,
        strategy,
        data_loss,
        probes,
        limits,
        on_failure,
    })
}

fn read_name(at: &Spot<'_>, log: &mut Log) -> Option<String> {
    let mut fields = at.fields(log)?;
    let name = fields.need("name", "the app's name", log);
    fields.finish(log);
    name?.parse("the app's name", log, label)
}

/// A name that Kubernetes takes everywhere, because objects are called by it (RFC 1123 label).
fn label(text: &str) -> Result<String, String> {
    let is_label = text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    is_label.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` is no name for an object: at most 63 lower-case letters, digits and dashes, no dash at the ends"
        )
    })
}

fn read_strategy(spec: &mut Fields<'_>, migrates_at_start: bool, log: &mut Log) -> Strategy {
    let choices = [
        ("auto", Strategy::Auto),
        ("offline", Strategy::Offline),
        ("app-first", Strategy::AppFirst),
        ("schema-first", Strategy::SchemaFirst),
        ("app-only", Strategy::AppOnly),
    ];
    let Some(at) = spec.get("strategy") else {
        return Strategy::default();
    };
    let Some(strategy) = at.one_of(&choices, log) else {
        return Strategy::default();
    };
    if migrates_at_start && !matches!(strategy, Strategy::Auto | Strategy::Offline) {
        let why = "an app that migrates at start (migratesAtStart: true) can only be taken back offline; \
                   write `strategy: auto` or `strategy: offline`";
        log.invalid(&at, why);
    }
    strategy
}

fn read_limits(at: &Spot<'_>, log: &mut Log) -> Limits {
    let default = Limits::default();
    let Some(mut fields) = at.fields(log) else {
        return default;
    };
    let mut limit = |key: &'static str, default| fields.get(key).and_then(|at| at.duration(log)).unwrap_or(default);
    let limits = Limits {
        step: limit("step", default.step),
        pod: limit("pod", default.pod),
        statement: limit("statement", default.statement),
        lock_wait: limit("lockWait", default.lock_wait),
        lock: limit("lock", default.lock),
        lease: limit("lease", default.lease),
    };
    fields.finish(log);
    limits
}

#[cfg(test)]
mod tests;
