//! What the halted run has undone is applied again.

use std::collections::BTreeMap;

use super::super::ledger::check_ledger;
use super::super::rights::check_rights;
use super::super::{Action, Gate, Plan, Seen, Step};
use super::{Halted, Steps};
use crate::catalog::Catalog;
use crate::model::{Direction, Finding, ScriptRef, Version};

/// What the run has undone and is not applied now, oldest first and from the archive; then the comparison with the
/// schema from before.
pub(super) fn plan_ups(halted: &Halted<'_>, seen: &Seen, findings: &mut Vec<Finding>) -> Steps {
    check_applied(halted, seen, findings);
    check_ledger(&Catalog::default(), &seen.database, findings);
    if seen.database.read_only {
        findings.push(Finding::refusal(
            "read-only",
            seen.database.database.redacted.clone(),
            "the database refuses writes",
            "connect to the primary, or make the file writable",
        ));
    }
    let applied = seen.database.applied();
    let undone = halted.plan.scripts().into_iter().rev();
    let undone = undone
        .filter(|script| script.direction == Direction::Down && !applied.contains(&script.migration.version))
        .map(|script| ScriptRef {
            migration: script.migration.clone(),
            direction: Direction::Up,
            sha256: script.up_sha256,
            up_sha256: script.up_sha256,
        });
    let scripts: Vec<ScriptRef> = undone.collect();
    if scripts.is_empty() {
        return Steps::new();
    }
    for script in &scripts {
        if !matches!(seen.bodies.get(&script.sha256), Some(Ok(_))) {
            findings.push(Finding::refusal(
                "up-missing",
                script.migration.to_string(),
                "the run has undone it, and the archive does not hold its up script",
                "continue the run with `stepback resume` instead",
            ));
        }
    }
    check_rights(seen, Direction::Up, &scripts, findings);
    let lossy = |step: &Step| matches!(step.action, Action::Revert { accept_loss: true, .. });
    if !halted.plan.steps.iter().any(lossy) {
        return with_verify(halted.plan, seen, scripts);
    }
    findings.push(Finding::warning(
        "abort-empty",
        match scripts.as_slice() {
            [one] => one.migration.to_string(),
            several => format!("{} migrations", several.len()),
        },
        "the run has undone what is applied again now: tables and columns come back, but not what was in them",
        "restore that data from a backup; or go on with `stepback resume`, which needs none of it",
    ));
    with_verify(halted.plan, seen, scripts)
}

fn with_verify(halted: &Plan, seen: &Seen, scripts: Vec<ScriptRef>) -> Steps {
    let ups = (Action::Apply { scripts }, Gate::None);
    std::iter::once(ups).chain(verify(halted, seen)).collect()
}

/// The ledger can only be on the way from where the run started to where it goes: whatever else somebody did to it
/// cannot be taken back by us.
fn check_applied(halted: &Halted<'_>, seen: &Seen, findings: &mut Vec<Finding>) {
    let applied = seen.database.applied();
    let begun: Vec<&ScriptRef> = halted
        .plan
        .steps
        .iter()
        .filter(|step| halted.has_begun(step.id))
        .flat_map(|step| match &step.action {
            Action::Revert { scripts, .. } | Action::Apply { scripts } => scripts.iter(),
            _ => [].iter(),
        })
        .collect();
    let moved = |version: &Version, direction| {
        let mut scripts = begun.iter();
        scripts.any(|script| script.direction == direction && script.migration.version == *version)
    };
    for version in applied.0.difference(&halted.plan.from.schema.0) {
        findings.push(if moved(version, Direction::Up) {
            Finding::refusal(
                "abort-applied",
                version.to_string(),
                "the run has applied it, and undoing it may lose data",
                "continue the run with `stepback resume`, and go back afterwards with `stepback migrate down`",
            )
        } else {
            foreign(
                version,
                "it is applied, and the run knows nothing of it",
                "undo it first",
            )
        });
    }
    for version in halted.plan.from.schema.0.difference(&applied.0) {
        if !moved(version, Direction::Down) {
            let what = "it was applied when the run was opened, is not applied now, and the run has not undone it";
            findings.push(foreign(version, what, "apply it again first"));
        }
    }
}

fn foreign(version: &Version, what: &str, remedy: &str) -> Finding {
    let remedy = format!("find out who migrated (`stepback migrate status`), and {remedy}");
    Finding::refusal("abort-foreign", version.to_string(), what, remedy)
}

/// The comparison with the schema's fingerprint from before, where the schema was then as it had been recorded.
fn verify(halted: &Plan, seen: &Seen) -> Option<(Action, Gate)> {
    let key = halted.from.schema.digest();
    let (_, expected) = seen.database.fingerprints.iter().find(|(schema, _)| *schema == key)?;
    let action = Action::Verify {
        schema: halted.from.schema.clone(),
        expected: *expected,
        drifted: Vec::new(),
        before: None,
        inherited: BTreeMap::new(),
    };
    (halted.world.get("schema") == Some(expected)).then_some((action, Gate::None))
}
