//! The schema's half of a plan: where it goes, what is undone or applied, and how that is verified.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::appfile::AppFile;
use crate::model::{Direction, Finding, MigrationSet, ScriptRef, Target, Version, nearest_release};

use super::drift::{look_at_present, remember, verify};
use super::ledger::check_ledger;
use super::reconcile::{lacks_records, resolve_up_to};
use super::request::{Goal, Order, Request, Seen};
use super::rights::check_rights;
use super::scripts::Scripts;
use super::server::{check_direct_url, check_server};
use super::undone::undone;
use super::ups::{push_missing_records, push_ups};
use super::{Action, Gate};

/// The schema's half, with everything that was found.
pub(super) struct SchemaHalf {
    pub(super) from: Target,
    pub(super) to: Target,
    pub(super) actions: Vec<(Action, Gate)>,
    pub(super) findings: Vec<Finding>,
    /// The checksums of the scripts that are used, in order: part of the world.
    pub(super) scripts: Vec<ScriptRef>,
}

/// Plans the schema's half.
pub(super) fn plan_schema(request: &Request<'_>, seen: &Seen) -> SchemaHalf {
    let mut scripts = Scripts {
        seen,
        catalog: request.catalog,
        findings: Vec::new(),
    };
    let applied = seen.database.applied();
    let to = resolve(request, seen, &mut scripts.findings);
    let from = Target {
        release: current_release(request.app, seen),
        schema: applied.clone(),
    };
    if seen.database.read_only {
        scripts.findings.push(Finding::refusal(
            "read-only",
            seen.database.database.redacted.clone(),
            "the database refuses writes",
            "connect to the primary, or make the file writable",
        ));
    }
    check_server(&seen.database, &mut scripts.findings);
    check_direct_url(request.app, &mut scripts.findings);
    if request.is_app_only() {
        // The schema is not touched, so nothing about scripts can forbid the plan.
        let to = Target {
            release: to.release,
            schema: applied,
        };
        return SchemaHalf {
            from,
            to,
            actions: Vec::new(),
            findings: scripts.findings,
            scripts: Vec::new(),
        };
    }
    check_ledger(request.catalog, &seen.database, &mut scripts.findings);
    let goes_up = request.goal.goes_up();
    let missing: Vec<Version> = to
        .schema
        .0
        .iter()
        .filter(|version| !applied.contains(version))
        .cloned()
        .collect();
    if goes_up && (!missing.is_empty() || matches!(request.goal, Goal::Up(_))) {
        scripts.check_applied_files();
    }
    let downs = if goes_up {
        Vec::new()
    } else {
        plan_downs(request, seen, &to, &mut scripts)
    };
    if matches!(request.goal, Goal::Release(_)) && !missing.is_empty() {
        let list = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        scripts.findings.push(Finding::refusal(
            "target-behind",
            to.to_string(),
            format!("the release is recorded with migrations that are not applied: {list}"),
            "apply them first (`stepback migrate up --to VERSION`), or correct the release's `schema`",
        ));
    }
    warn_out_of_order(&missing, &applied, &mut scripts.findings);
    let ups: Vec<ScriptRef> = missing.iter().filter_map(|version| scripts.up(version)).collect();

    for (direction, scripts_of) in [(Direction::Down, &downs), (Direction::Up, &ups)] {
        check_rights(seen, direction, scripts_of, &mut scripts.findings);
    }

    let mut actions = Vec::new();
    if !downs.is_empty() {
        actions.push((
            Action::Revert {
                scripts: downs.clone(),
                accept_loss: request.accept_loss,
            },
            Gate::None,
        ));
        if ups.is_empty() {
            verify(seen, &to, &mut actions, &mut scripts.findings);
        }
    }
    if !ups.is_empty() {
        let drifted = remember(seen, &mut scripts.findings);
        push_ups(request.app, &to.schema, &missing, &ups, &drifted, &mut actions);
    } else if goes_up && missing.is_empty() && wants_records(request, seen) {
        push_missing_records(request.app, seen, &applied, &mut actions);
    }
    if to.schema == applied {
        look_at_present(
            seen,
            matches!(request.goal, Goal::Up(_)),
            &mut actions,
            &mut scripts.findings,
        );
    }
    SchemaHalf {
        from,
        to,
        actions,
        findings: scripts.findings,
        scripts: downs.into_iter().chain(ups).collect(),
    }
}

/// Whoever only wants a release to be there, and finds it there, has nothing written but what was left out.
fn wants_records(request: &Request<'_>, seen: &Seen) -> bool {
    match &request.goal {
        Goal::UpTo(release) => lacks_records(&seen.database, release),
        _ => true,
    }
}

fn plan_downs(request: &Request<'_>, seen: &Seen, to: &Target, scripts: &mut Scripts<'_>) -> Vec<ScriptRef> {
    let rows = match undone(&seen.database.ledger, &to.schema, request.order) {
        Ok(rows) => rows,
        Err(refusal) => {
            scripts.findings.push(*refusal);
            return Vec::new();
        }
    };
    if rows.is_empty() {
        return Vec::new();
    }
    let before = scripts.findings.len();
    let downs: Vec<ScriptRef> = rows.iter().filter_map(|row| scripts.down(row)).collect();
    // What has no statement to run destroys nothing, and has a finding of its own.
    let without = |migration: &String| {
        let mut found = scripts.findings[before..].iter();
        found.any(|finding| finding.subject == *migration && ["down-missing", "down-empty"].contains(&&*finding.code))
    };
    let named = rows.iter().map(|row| row.migration.to_string());
    let lossy: Vec<String> = named.filter(|migration| !without(migration)).collect();
    if !request.accept_loss && !lossy.is_empty() {
        let list = lossy.join(", ");
        let loss = Finding::refusal(
            "data-loss",
            match lossy.len() {
                1 => "1 migration".to_owned(),
                several => format!("{several} migrations"),
            },
            format!("down scripts can destroy data, and what these would destroy is not counted yet: {list}"),
            match &request.goal {
                Goal::Release(release) => format!(
                    "read the down scripts (`stepback plan --to {release} --data-loss accept --sql` prints them and changes \
                     nothing), make a backup, then say `--data-loss accept`"
                ),
                _ => {
                    "read the down scripts (`--data-loss accept -v` without `--yes` shows them before it asks), make a \
                      backup, then say `--data-loss accept`"
                        .to_owned()
                }
            },
        );
        scripts.findings.insert(before, loss);
    }
    downs
}

/// Which migrations are applied at the goal.
fn resolve(request: &Request<'_>, seen: &Seen, findings: &mut Vec<Finding>) -> Target {
    let applied = seen.database.applied();
    let known = |version: &Version| {
        applied.contains(version)
            || request.catalog.find(version).is_some()
            || seen.database.archived(version).is_some()
    };
    let mut unknown = |version: &Version| {
        if !known(version) {
            findings.push(Finding::refusal(
                "schema-unknown",
                version.to_string(),
                "no migration of this version is applied, archived or in the folder",
                "check the version; `stepback migrate status` lists them",
            ));
        } else if !applied.contains(version) && request.catalog.find(version).is_none() {
            findings.push(up_missing(version, seen));
        }
    };
    let up_to = |version: &Version| -> MigrationSet {
        let filed = request.catalog.migrations().iter().map(|migration| &migration.version);
        filed
            .chain(&applied.0)
            .filter(|other| *other <= version)
            .cloned()
            .collect()
    };
    match &request.goal {
        Goal::Schema(None) => Target {
            release: None,
            schema: MigrationSet::default(),
        },
        Goal::Schema(Some(version)) => {
            unknown(version);
            Target {
                release: None,
                schema: up_to(version),
            }
        }
        Goal::DownTo(version) => {
            unknown(version);
            if !applied.contains(version) && request.catalog.find(version).is_some() {
                findings.push(Finding::refusal(
                    "target-behind",
                    version.to_string(),
                    "it is not applied, so it cannot be reached by going down",
                    "to go either way: `stepback migrate goto VERSION`",
                ));
            }
            let schema = applied.0.into_iter().filter(|other| other <= version);
            Target {
                release: None,
                schema: schema.collect(),
            }
        }
        Goal::Down(count) => {
            let mut rows = seen.database.ledger.clone();
            // Newest applied last, so that the newest are cut off; the ledger's own order where it keeps one, unless the
            // order of versions was asked for.
            let by_version = request.order == Some(Order::Version);
            rows.sort_by(|one, other| {
                let applied = one.sequence.cmp(&other.sequence);
                let applied = if by_version { Ordering::Equal } else { applied };
                applied.then_with(|| one.migration.version.cmp(&other.migration.version))
            });
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            if count > rows.len() && !rows.is_empty() {
                findings.push(Finding::warning(
                    "down-short",
                    seen.database.database.ledger.table.clone(),
                    format!(
                        "{count} are to be undone, and only {} are applied: all of them are",
                        rows.len()
                    ),
                    "to undo fewer: `stepback migrate down -n COUNT`",
                ));
            }
            let keep = rows.len().saturating_sub(count);
            rows.truncate(keep);
            Target {
                release: None,
                schema: rows.into_iter().map(|row| row.migration.version).collect(),
            }
        }
        Goal::Up(version) => {
            let newest = version
                .clone()
                .or_else(|| request.catalog.newest().map(|newest| newest.version.clone()));
            if let Some(version) = version {
                unknown(version);
            }
            let filed = request
                .catalog
                .migrations()
                .iter()
                .map(|migration| migration.version.clone());
            let schema = filed
                .filter(|other| newest.as_ref().is_some_and(|newest| other <= newest))
                .chain(applied.0.iter().cloned());
            Target {
                release: None,
                schema: schema.collect(),
            }
        }
        Goal::UpTo(release) => resolve_up_to(request, seen, release, findings),
        Goal::Release(release) => resolve_release(request, seen, release, &up_to, findings),
    }
}

/// A version that the archive alone knows. It remembers what was undone, and not what belongs between that and what is
/// applied: of several branches it holds the scripts of each. Only a release's record says it.
fn up_missing(version: &Version, seen: &Seen) -> Finding {
    let recorded = seen.database.releases.iter().rev();
    let release = recorded
        .filter(|row| row.schema.newest() == Some(version))
        .map(|row| &row.release)
        .next();
    let folder = "give the folder that holds it, and what comes before it, with --dir";
    Finding::refusal(
        "up-missing",
        version.to_string(),
        "it is not applied, and the migrations folder does not have it; the archive has its script, but does not say which \
         migrations belong before it",
        match release {
            Some(release) => format!(
                "release {release} was recorded with it, and with what belongs before it: `stepback reconcile --to \
                 {release}` takes them from the archive; or {folder}"
            ),
            None => folder.to_owned(),
        },
    )
}

/// The migrations of a release: the set that it was recorded with (LAWS D1); with no record, everything applied up to
/// its schema. Where the two sources disagree, that is a finding and not a silent choice.
fn resolve_release(
    request: &Request<'_>,
    seen: &Seen,
    release: &semver::Version,
    up_to: &dyn Fn(&Version) -> MigrationSet,
    findings: &mut Vec<Finding>,
) -> Target {
    let recorded = seen.database.paired(release).map(|row| row.schema.clone());
    let filed = request
        .app
        .and_then(|app| app.release(release))
        .map(|release| release.schema.clone());
    let schema = match (recorded, filed) {
        (Some(recorded), Some(filed))
            if recorded.newest() != Some(&filed) && !(filed.is_zero() && recorded.0.is_empty()) =>
        {
            findings.push(Finding::refusal(
                "pairing-differs",
                format!("release {release}"),
                format!(
                    "the app file pairs it with schema {filed}, the database recorded it with {}",
                    recorded
                        .newest()
                        .map_or("an empty schema".to_owned(), ToString::to_string)
                ),
                "correct `schema` of this release in the app file",
            ));
            recorded
        }
        (Some(recorded), _) => recorded,
        (None, Some(filed)) => {
            let applied = seen.database.applied();
            let set: MigrationSet = up_to(&filed)
                .0
                .into_iter()
                .filter(|version| applied.contains(version))
                .collect();
            if set.newest() != Some(&filed) && !filed.is_zero() {
                findings.push(Finding::refusal(
                    "target-behind",
                    format!("release {release}"),
                    format!("its schema {filed} is not applied, so the way to it is not down"),
                    "migrate up to it first, or correct the release's `schema`",
                ));
            }
            set
        }
        (None, None) => {
            let filed = request.app.iter().flat_map(|app| &app.releases);
            let recorded = seen.database.releases.iter().map(|row| &row.release);
            let known: BTreeSet<_> = filed.map(|release| &release.version).chain(recorded).collect();
            let names: Vec<String> = known.iter().map(ToString::to_string).collect();
            findings.push(Finding::refusal(
                "release-unknown",
                format!("release {release}"),
                "neither the app file nor the database knows it",
                match nearest_release(release, known) {
                    None => "no release is known: add it to the app file, under `spec.releases`".to_owned(),
                    Some(meant) => format!("did you mean {meant}? known are {}", names.join(", ")),
                },
            ));
            seen.database.applied()
        }
    };
    Target {
        release: Some(release.clone()),
        schema,
    }
}

/// The release that is current: the newest recorded one with exactly the applied migrations, else the app file's with
/// the newest applied one.
fn current_release(app: Option<&AppFile>, seen: &Seen) -> Option<semver::Version> {
    let applied = seen.database.applied();
    let recorded = seen.database.releases.iter().rev().find(|row| row.schema == applied);
    recorded.map(|row| row.release.clone()).or_else(|| {
        let newest = applied.newest()?;
        let releases = app?.releases.iter().filter(|release| release.schema == *newest);
        releases.map(|release| release.version.clone()).max()
    })
}

fn warn_out_of_order(missing: &[Version], applied: &MigrationSet, findings: &mut Vec<Finding>) {
    let Some(newest) = applied.newest() else { return };
    let late: Vec<String> = missing
        .iter()
        .filter(|version| *version < newest)
        .map(ToString::to_string)
        .collect();
    if !late.is_empty() {
        findings.push(Finding::warning(
            "out-of-order",
            late.join(", "),
            format!("older than {newest}, which is applied already"),
            "check that they do not depend on its absence",
        ));
    }
}
