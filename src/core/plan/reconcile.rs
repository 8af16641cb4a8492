//! Which way it is to a release, whichever side of it the database is on.
//!
//! Responsible for: the goal of a `reconcile`, from the ledger alone, and the migrations that a release is to have. Not
//! for: the steps, nor what forbids them: whatever is not plainly behind or there is a way down, whose plan says what is
//! wrong with it.

use crate::appfile::AppFile;
use crate::catalog::Catalog;
use crate::model::{Finding, MigrationSet, SeenDatabase, Target};

use super::request::{Goal, Request, Seen};

/// The goal of whoever wants this release, whatever is there: the way down where something is applied that the release
/// does not have, else up to it. Where nothing is missing, the plan for the latter has no step, or records what an earlier
/// run could not.
pub fn goal_of(app: Option<&AppFile>, catalog: &Catalog, seen: &SeenDatabase, release: &semver::Version) -> Goal {
    let applied = seen.applied();
    match migrations_of(app, catalog, seen, release) {
        Some(wanted) if applied.0.is_subset(&wanted.0) && !pairings_differ(app, seen, release) => {
            Goal::UpTo(release.clone())
        }
        _ => Goal::Release(release.clone()),
    }
}

/// Whether everything that the release has is applied, and nothing else.
pub fn is_at(app: Option<&AppFile>, catalog: &Catalog, seen: &SeenDatabase, release: &semver::Version) -> bool {
    migrations_of(app, catalog, seen, release).is_some_and(|wanted| wanted == seen.applied())
}

/// The set that the release was recorded with (LAWS D1), else everything up to its schema in the app file; `None` where
/// nobody knows it.
fn migrations_of(
    app: Option<&AppFile>,
    catalog: &Catalog,
    seen: &SeenDatabase,
    release: &semver::Version,
) -> Option<MigrationSet> {
    if let Some(row) = seen.paired(release) {
        return Some(row.schema.clone());
    }
    let schema = &app?.release(release)?.schema;
    let filed = catalog.migrations().iter().map(|migration| migration.version.clone());
    let known = filed.chain(seen.applied().0).filter(|version| version <= schema);
    // Its newest belongs to it even where nobody has its script: that is for the plan to say.
    let newest = std::iter::once(schema.clone()).filter(|schema| !schema.is_zero());
    Some(known.chain(newest).collect())
}

fn pairings_differ(app: Option<&AppFile>, seen: &SeenDatabase, release: &semver::Version) -> bool {
    let filed = app.and_then(|app| app.release(release)).map(|release| &release.schema);
    let recorded = seen.paired(release).map(|row| &row.schema);
    match (filed, recorded) {
        (Some(filed), Some(recorded)) => match recorded.newest() {
            Some(newest) => newest != filed,
            None => !filed.is_zero(),
        },
        _ => false,
    }
}

/// Where the way up to a release ends. What is applied beside it stays: this way undoes nothing.
pub(super) fn resolve_up_to(
    request: &Request<'_>,
    seen: &Seen,
    release: &semver::Version,
    findings: &mut Vec<Finding>,
) -> Target {
    let applied = seen.database.applied();
    let wanted = migrations_of(request.app, request.catalog, &seen.database, release).unwrap_or_default();
    let filed = request.catalog.migrations().iter().map(|migration| &migration.version);
    let left_out: Vec<String> = filed
        .filter(|version| wanted.newest().is_some_and(|newest| *version < newest))
        .filter(|version| !wanted.contains(version) && !applied.contains(version))
        .map(ToString::to_string)
        .collect();
    if !left_out.is_empty() {
        findings.push(Finding::warning(
            "pairing-differs",
            format!("release {release}"),
            format!(
                "the folder holds migrations that it was recorded without: {}",
                left_out.join(", ")
            ),
            "they are not applied; give the release that needs them a version of its own",
        ));
    }
    Target {
        release: Some(release.clone()),
        schema: wanted.0.into_iter().chain(applied.0).collect(),
    }
}

/// Whether a run that was cut off has left unrecorded what the present schema looks like, or that it is this release's.
/// Where nothing of ours is in the database yet, nothing was left out.
pub(super) fn lacks_records(seen: &SeenDatabase, release: &semver::Version) -> bool {
    let digest = seen.applied().digest();
    let has_fingerprint = seen.fingerprints.iter().any(|(schema, _)| *schema == digest);
    seen.prepared && !(has_fingerprint && seen.paired(release).is_some())
}
