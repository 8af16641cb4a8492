//! From a ledger to how far a list of scripts has come.

use std::collections::BTreeMap;

use crate::model::{Direction, LedgerRow, MigrationSet, Observed, Progress, ScriptRef, Version};

/// How far `scripts` have come in a run that goes from one set of applied migrations to another, as the ledger says.
/// A ledger that no prefix of the scripts can have made was changed by somebody else: scripts done out of turn, a
/// migration that neither set has, one of both sets that is gone, one applied from another script.
pub fn observe_scripts(
    direction: Direction,
    scripts: &[ScriptRef],
    from: &MigrationSet,
    to: &MigrationSet,
    ledger: &[LedgerRow],
) -> Observed {
    let applied: BTreeMap<&Version, &LedgerRow> = ledger.iter().map(|row| (&row.migration.version, row)).collect();
    let is_done = |script: &ScriptRef| match direction {
        Direction::Down => !applied.contains_key(&script.migration.version),
        Direction::Up => applied.contains_key(&script.migration.version),
    };
    let done = scripts.iter().take_while(|script| is_done(script)).count();
    if let Some(out_of_turn) = scripts[done..].iter().find(|script| is_done(script)) {
        return Observed::Foreign(format!(
            "{} is {} although {} before it is not",
            out_of_turn.migration,
            if direction == Direction::Down {
                "reverted"
            } else {
                "applied"
            },
            scripts[done].migration,
        ));
    }
    let ours = |version: &Version| {
        from.contains(version)
            || to.contains(version)
            || scripts.iter().any(|script| script.migration.version == *version)
    };
    if let Some(row) = ledger.iter().find(|row| !ours(&row.migration.version)) {
        return Observed::Foreign(format!("{} is applied, which the plan does not know", row.migration));
    }
    let lost = from
        .0
        .intersection(&to.0)
        .find(|version| !applied.contains_key(version));
    if let Some(version) = lost {
        return Observed::Foreign(format!(
            "{version} is not applied any more, and the plan does not undo it"
        ));
    }
    let changed = scripts.iter().find(|script| {
        let row = applied.get(&script.migration.version);
        row.and_then(|row| row.up_sha256)
            .is_some_and(|sha256| sha256 != script.up_sha256)
    });
    if let Some(script) = changed {
        return Observed::Foreign(format!(
            "{} was applied from another up script than the plan knows",
            script.migration
        ));
    }
    if let Some(row) = ledger.iter().find(|row| row.dirty) {
        return Observed::Foreign(format!("the ledger marks {} as begun and not finished", row.migration));
    }
    let of = u32::try_from(scripts.len()).unwrap_or(u32::MAX);
    match u32::try_from(done).unwrap_or(u32::MAX) {
        done if done == of => Observed::Done(format!("{of} of {of} in the ledger")),
        0 => Observed::Untouched,
        done => Observed::Partial(Progress { done, of }),
    }
}

/// Whether scripts of a step that has passed are still done. Later steps of the same plan may have moved on, so only
/// these scripts' own rows are asked.
pub fn recheck_scripts(direction: Direction, scripts: &[ScriptRef], ledger: &[LedgerRow]) -> Observed {
    let is_done = |script: &&ScriptRef| {
        let applied = ledger
            .iter()
            .any(|row| row.migration.version == script.migration.version);
        applied == (direction == Direction::Up)
    };
    let done = scripts.iter().filter(is_done).count();
    let (done, of) = (
        u32::try_from(done).unwrap_or(u32::MAX),
        u32::try_from(scripts.len()).unwrap_or(u32::MAX),
    );
    match done {
        done if done == of => Observed::Done(format!("{of} of {of} in the ledger")),
        0 => Observed::Untouched,
        done => Observed::Partial(Progress { done, of }),
    }
}

#[cfg(test)]
mod tests;
