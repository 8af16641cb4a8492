//! What was changed by hand, and what is compared after the downs (LAWS D12).
//!
//! Responsible for: telling what the run will have made of the schema from what others made of it. A fingerprint that is
//! recorded over drift remembers it, because an earlier state was recorded without. Not for: comparing (`run`).

use crate::model::{Digest, Drift, Finding, Fingerprint, MigrationSet, Severity, Target};

use super::request::{Request, Seen};
use super::schema::plan_schema;
use super::{Action, Gate};

/// What differs from how the schema was recorded; `None` where that is not known.
fn drift(seen: &Seen) -> Option<Drift> {
    let known = seen.recorded.as_ref()?;
    let differences = known
        .is_comparable(&seen.fingerprint)
        .then(|| known.differences(&seen.fingerprint))?;
    let drift = differences.into_iter();
    Some(drift.map(|one| (one.object.clone(), one.found_digest())).collect())
}

/// What had been changed by hand when the schema was last recorded.
fn inherited(seen: &Seen) -> Drift {
    seen.recorded
        .as_ref()
        .map_or_else(Drift::new, |known| known.drifted.clone())
}

fn list<'a>(objects: impl IntoIterator<Item = &'a String>) -> String {
    let objects: Vec<&str> = objects.into_iter().map(String::as_str).collect();
    objects.join(", ")
}

fn drifted(drift: &Drift, remedy: &str) -> Finding {
    Finding::warning(
        "drift",
        "schema",
        format!(
            "differs from how it was recorded when it was migrated: {}",
            list(drift.keys())
        ),
        remedy,
    )
}

/// What the fingerprints that ups record must remember.
pub(super) fn remember(seen: &Seen, findings: &mut Vec<Finding>) -> Drift {
    let mut remembered = inherited(seen);
    let now = drift(seen).unwrap_or_default();
    if !now.is_empty() {
        findings.push(drifted(
            &now,
            "find out who changed them; they are remembered as changed by hand, and a later way back to an earlier \
             schema is compared without them",
        ));
    }
    remembered.extend(now);
    remembered
}

/// Where the target's migrations are those that are applied: a comparison that was never made is made now, and a
/// difference is said.
pub(super) fn look_at_present(
    seen: &Seen,
    goes_up: bool,
    actions: &mut Vec<(Action, Gate)>,
    findings: &mut Vec<Finding>,
) {
    let unverified = seen.unverified.as_ref().filter(|_| !goes_up);
    if let Some(action) = unverified {
        findings.push(Finding::warning(
            "not-verified",
            "schema",
            "the run that led here did not pass the comparison after its downs",
            "it is compared again; mend the schema where it still differs",
        ));
        actions.push((action.clone(), Gate::None));
    } else if let Some(drift) = drift(seen).filter(|drift| !drift.is_empty()) {
        findings.push(drifted(&drift, "find out who changed them"));
    }
}

/// The schema whose recorded fingerprint the result of this plan's downs is compared with, so that it can be looked at
/// beforehand.
pub fn compared_schema(request: &Request<'_>, seen: &Seen) -> Option<MigrationSet> {
    let actions = plan_schema(request, seen).actions.into_iter();
    actions.rev().find_map(|(action, _)| match action {
        Action::Verify { schema, .. } => Some(schema),
        _ => None,
    })
}

/// What was recorded by another major version of the server, or by another version of ours, is in another form.
fn not_comparable(recorded: &Fingerprint, now: &Fingerprint) -> Finding {
    let why = if recorded.format == now.format {
        format!("on {}, and this is {}", recorded.server, now.server)
    } else {
        "by a version of stepback that took it in another form".to_owned()
    };
    Finding::warning(
        "fingerprint-unknown",
        "schema",
        format!("its fingerprint was recorded {why}, so the result of the downs cannot be compared"),
        "compare by hand, or go to a schema that was recorded since",
    )
}

/// Compares with the fingerprint that was recorded for the target, where there is one.
pub(super) fn verify(
    seen: &Seen,
    Target {
        release,
        schema: target,
    }: &Target,
    actions: &mut Vec<(Action, Gate)>,
    findings: &mut Vec<Finding>,
) {
    let known = drift(seen);
    let now = known.clone().unwrap_or_default();
    if !now.is_empty() {
        findings.push(drifted(
            &now,
            "these objects are left out of the comparison after the downs; find out who changed them",
        ));
    }
    let wanted = target.digest();
    let Some((_, expected)) = seen.database.fingerprints.iter().find(|(schema, _)| *schema == wanted) else {
        findings.push(match release {
            Some(_) => Finding::warning(
                "fingerprint-unknown",
                "schema",
                "no fingerprint was recorded when the release's schema was last current, so the result of the downs \
                 cannot be compared",
                "compare by hand; `stepback migrate up` records one where it stops and at every release's schema",
            ),
            // Between two ends of an up there never is one: nothing is lost, and nobody can do anything about it now.
            None => Finding::new(
                Severity::Note,
                "fingerprint-unknown",
                "schema",
                "none was recorded of the target: the result is not compared",
                "",
            ),
        });
        return;
    };
    let recorded = seen.compared.as_ref();
    if let Some(recorded) = recorded.filter(|recorded| !recorded.is_comparable(&seen.fingerprint)) {
        findings.push(not_comparable(recorded, &seen.fingerprint));
    }
    let mut inherited = inherited(seen);
    inherited.retain(|object, _| !now.contains_key(object));
    if !inherited.is_empty() {
        findings.push(Finding::warning(
            "drift",
            "schema",
            format!(
                "was changed by hand before it was last migrated up: {}",
                list(inherited.keys())
            ),
            "what was changed since the target was recorded is left out of the comparison after the downs",
        ));
    }
    if known.is_none() {
        findings.push(Finding::warning(
            "drift-unknown",
            "schema",
            match seen.recorded {
                Some(_) => {
                    "its fingerprint was recorded on another version of the server, or by another version of stepback, so \
                     changes by hand are not known"
                }
                None => {
                    "no fingerprint is recorded for the migrations that are applied, so changes by hand are not known"
                }
            },
            "what the downs leave as it is will not be compared; `stepback migrate up` records a fingerprint",
        ));
    }
    let before = known.is_none().then(|| {
        let objects = seen.fingerprint.objects.iter();
        objects
            .map(|(object, definition)| (object.clone(), Digest::of(definition.as_bytes())))
            .collect()
    });
    let action = Action::Verify {
        schema: target.clone(),
        expected: *expected,
        drifted: now.into_keys().collect(),
        inherited,
        before,
    };
    actions.push((action, Gate::None));
}
