//! The steps up, and what is recorded on the way: how the schema looks, and which release it is. Not for: which scripts
//! these are (`scripts`), nor where the way ends (`schema`).

use crate::appfile::AppFile;
use crate::model::{Drift, MigrationSet, ScriptRef, Version};

use super::request::Seen;
use super::{Action, Gate};

/// What an `up` that was interrupted left unrecorded: fingerprint and pairings of the migrations that are applied. Nothing
/// else would ever record them, as there is nothing left to apply.
pub(super) fn push_missing_records(
    app: Option<&AppFile>,
    seen: &Seen,
    applied: &MigrationSet,
    actions: &mut Vec<(Action, Gate)>,
) {
    let Some(newest) = applied.newest() else { return };
    let digest = applied.digest();
    if !seen.database.fingerprints.iter().any(|(schema, _)| *schema == digest) {
        let schema = applied.clone();
        let drifted = Drift::new();
        actions.push((Action::TakeFingerprint { schema, drifted }, Gate::None));
    }
    let releases = app.into_iter().flat_map(|app| app.releases_at(newest));
    for release in releases.filter(|release| seen.database.paired(&release.version).is_none()) {
        let action = Action::RecordRelease {
            release: release.version.clone(),
            schema: applied.clone(),
        };
        actions.push((action, Gate::None));
    }
}

/// Applies in one step up to each release's newest migration, and records fingerprint and pairing there, where what is
/// applied then is that release's.
pub(super) fn push_ups(
    app: Option<&AppFile>,
    target: &MigrationSet,
    missing: &[Version],
    ups: &[ScriptRef],
    drifted: &Drift,
    actions: &mut Vec<(Action, Gate)>,
) {
    let mut now: MigrationSet = target
        .0
        .iter()
        .filter(|version| !missing.contains(version))
        .cloned()
        .collect();
    let mut pending: Vec<ScriptRef> = Vec::new();
    for (index, up) in ups.iter().enumerate() {
        let version = &up.migration.version;
        now.0.insert(version.clone());
        pending.push(up.clone());
        // One that comes late, below what is applied already, is no release's newest: beside it lies what that release
        // does not have (LAWS D1).
        let is_newest = now.newest() == Some(version);
        let app = app.filter(|_| is_newest);
        let releases: Vec<_> = app.into_iter().flat_map(|app| app.releases_at(version)).collect();
        if releases.is_empty() && index + 1 < ups.len() {
            continue;
        }
        actions.push((
            Action::Apply {
                scripts: std::mem::take(&mut pending),
            },
            Gate::None,
        ));
        let take = Action::TakeFingerprint {
            schema: now.clone(),
            drifted: drifted.clone(),
        };
        actions.push((take, Gate::None));
        for release in releases {
            let action = Action::RecordRelease {
                release: release.version.clone(),
                schema: now.clone(),
            };
            actions.push((action, Gate::None));
        }
    }
}
