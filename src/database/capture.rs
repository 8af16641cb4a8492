//! What storing a migration in the archive comes to, the same on every engine (LAWS D3).
//!
//! Responsible for: deciding between leaving a row, binding it, and appending a revision. Not for: writing it.

use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{ArchiveRow, Capture, LedgerRow, LedgerTool, Version};

use super::DbError;

/// The row that a migration's scripts get in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// As the archive spells it already. A file that is renamed from `0002_a` to `2_a` is no other migration: rows are
    /// looked for by their text inside the transactions that run them.
    pub(super) version: Version,
    pub(super) revision: i64,
    /// The ledger row that it is bound to; `None`: it is staged.
    pub(super) ledger_sequence: Option<i64>,
}

impl Revision {
    fn after(present: Option<&ArchiveRow>, migration: &Migration, ledger_sequence: Option<i64>) -> Self {
        Self {
            version: present.map_or(&migration.version, |row| &row.migration.version).clone(),
            revision: present.map_or(1, |row| row.revision + 1),
            ledger_sequence,
        }
    }
}

/// One row a version, the newest, in the versions' order: of rows that are the newest of their spelling.
pub(super) fn newest_of_each(mut rows: Vec<ArchiveRow>) -> Vec<ArchiveRow> {
    rows.sort_by(|one, other| {
        let (first, second) = (&one.migration.version, &other.migration.version);
        first.cmp(second).then_with(|| other.age().cmp(&one.age()))
    });
    rows.dedup_by(|later, kept| later.migration.version == kept.migration.version);
    rows
}

/// The revision that is appended for a migration that is to be in the archive; `None`: its row stays as it is. A migration
/// that is applied was captured from what ran; the folder may have been edited since, so what is captured stays. What
/// `tool` has undone since it was captured is staged anew, though it be the same: bound to a ledger row that is gone, it would
/// be stale once the tool applies it again. A row of our own ledger is bound by whoever applies it.
pub(super) fn keep(
    migration: &Migration,
    archived: &[ArchiveRow],
    ledger: &[LedgerRow],
    tool: LedgerTool,
) -> Option<Revision> {
    let version = &migration.version;
    let present = archived.iter().find(|row| row.migration.version == *version);
    let applied = ledger.iter().find(|row| row.migration.version == *version);
    let down = migration.down.as_ref().map(Script::sha256);
    let same = present.is_some_and(|row| row.up_sha256 == migration.up.sha256() && row.down_sha256 == down);
    let captured = present.is_some_and(|row| row.capture == Capture::Captured);
    let is_bound_to_none = captured && applied.is_none() && tool != LedgerTool::Stepback;
    if (same && !is_bound_to_none) || (captured && applied.is_some()) {
        return None;
    }
    let bound = applied.filter(|row| is_of(row, migration));
    let ledger_sequence = bound.and_then(|row| row.sequence);
    Some(Revision::after(present, migration, ledger_sequence))
}

/// The revision with which a migration's scripts replace what is archived, bound to its ledger row.
///
/// # Errors
/// Where the ledger does not show this up script as applied.
pub(super) fn replacement(
    migration: &Migration,
    archived: &[ArchiveRow],
    ledger: &[LedgerRow],
) -> Result<Revision, DbError> {
    let version = &migration.version;
    let applied = ledger.iter().find(|row| row.migration.version == *version);
    let applied = applied
        .filter(|row| is_of(row, migration))
        .ok_or_else(|| DbError::not_applied(migration))?;
    let present = archived.iter().find(|row| row.migration.version == *version);
    Ok(Revision::after(present, migration, applied.sequence))
}

/// Whether a migration's up script is the one that was applied, as far as the ledger says.
fn is_of(row: &LedgerRow, migration: &Migration) -> bool {
    row.names_up(&migration.up.sha256(), migration.up.text().as_bytes()) != Some(false)
}

/// The staged rows that the ledger shows by now, with the ledger row that each may be bound to. Whether it is the same up
/// script is told by its text, where the ledger is another tool's.
pub(super) fn applied_since<'a>(
    archive: &'a [ArchiveRow],
    ledger: &'a [LedgerRow],
) -> Vec<(&'a ArchiveRow, &'a LedgerRow)> {
    let staged = archive
        .iter()
        .filter(|row| row.capture == Capture::Staged && row.intact);
    staged
        .filter_map(|row| {
            let applied = ledger
                .iter()
                .find(|applied| applied.migration.version == row.migration.version)?;
            applied.sequence.map(|_| (row, applied))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use stepback_core::model::{Checksum, Digest, MigrationId};

    use super::*;

    fn migration(up: &str, down: &str) -> Migration {
        Migration {
            version: Version::parse("1").unwrap(),
            name: "a".to_owned(),
            up: Script::new("up.sql", up),
            down: Some(Script::new("down.sql", down)),
        }
    }

    fn archived(capture: Capture, ledger_sequence: Option<i64>) -> ArchiveRow {
        ArchiveRow {
            migration: id(),
            revision: 4,
            capture,
            up_sha256: Digest::of("up"),
            down_sha256: Some(Digest::of("down")),
            down_empty: false,
            ledger_sequence,
            intact: true,
        }
    }

    fn id() -> MigrationId {
        MigrationId {
            version: Version::parse("1").unwrap(),
            name: "a".to_owned(),
        }
    }

    fn applied(up: &str) -> LedgerRow {
        LedgerRow {
            sequence: Some(7),
            migration: id(),
            up_sha256: None,
            up_checksum: Some(Checksum::sha384(up.as_bytes())),
            dirty: false,
            applied_at: String::new(),
        }
    }

    #[test]
    fn d3_what_is_captured_stays_and_what_is_staged_is_replaced() {
        let (same, edited) = (migration("up", "down"), migration("up", "DOWN"));
        let keep = |migration: &Migration, present: Option<&ArchiveRow>, applied: Option<&LedgerRow>| {
            let kept = keep(
                migration,
                present.map_or(&[], std::slice::from_ref),
                applied.map_or(&[], std::slice::from_ref),
                LedgerTool::Stepback,
            );
            kept.map(|kept| (kept.revision, kept.ledger_sequence))
        };
        let append = |revision, ledger_sequence| Some((revision, ledger_sequence));
        assert_eq!(keep(&same, None, None), append(1, None));
        assert_eq!(keep(&same, None, Some(&applied("up"))), append(1, Some(7)));
        // Not what was applied: stored, and never taken for it.
        assert_eq!(keep(&same, None, Some(&applied("other"))), append(1, None));
        let (staged, captured) = (archived(Capture::Staged, None), archived(Capture::Captured, Some(7)));
        assert_eq!(keep(&same, Some(&staged), None), None);
        assert_eq!(keep(&edited, Some(&staged), None), append(5, None));
        assert_eq!(keep(&edited, Some(&staged), Some(&applied("up"))), append(5, Some(7)));
        assert_eq!(keep(&edited, Some(&captured), Some(&applied("up"))), None);
        assert_eq!(keep(&edited, Some(&captured), None), append(5, None));
    }

    #[test]
    fn d3_what_another_tool_has_undone_is_staged_anew() {
        let same = migration("up", "DOWN");
        let (staged, captured) = (archived(Capture::Staged, None), archived(Capture::Captured, Some(7)));
        let same = Migration { down: None, ..same };
        let kept = |archived: &ArchiveRow, ledger: &[LedgerRow], tool| {
            let row = ArchiveRow {
                down_sha256: None,
                ..archived.clone()
            };
            let kept = keep(&same, std::slice::from_ref(&row), ledger, tool);
            kept.map(|kept| (kept.revision, kept.ledger_sequence))
        };
        assert_eq!(kept(&captured, &[], LedgerTool::Sqlx), Some((5, None)));
        assert_eq!(kept(&staged, &[], LedgerTool::Sqlx), None);
        assert_eq!(kept(&captured, &[applied("up")], LedgerTool::Sqlx), None);
        assert_eq!(kept(&captured, &[], LedgerTool::Stepback), None);
    }

    #[test]
    fn d3_one_migration_has_one_spelling_in_the_archive() {
        let respelled = Migration {
            version: Version::parse("001").unwrap(),
            ..migration("up", "DOWN")
        };
        let (staged, captured) = (archived(Capture::Staged, None), archived(Capture::Captured, Some(7)));
        let kept = keep(&respelled, std::slice::from_ref(&staged), &[], LedgerTool::Stepback).unwrap();
        assert_eq!((kept.version.as_str(), kept.revision), ("1", 5));
        let replaced = replacement(&respelled, std::slice::from_ref(&captured), &[applied("up")]).unwrap();
        assert_eq!((replaced.version.as_str(), replaced.revision), ("1", 5));

        let row = |text: &str, revision, ledger_sequence| ArchiveRow {
            migration: MigrationId {
                version: Version::parse(text).unwrap(),
                name: String::new(),
            },
            revision,
            ..archived(Capture::Captured, ledger_sequence)
        };
        let rows = vec![
            row("2", 1, None),
            row("01", 1, Some(1)),
            row("1", 2, Some(2)),
            row("001", 2, Some(3)),
        ];
        let told = newest_of_each(rows);
        let told: Vec<&str> = told.iter().map(|row| row.migration.version.as_str()).collect();
        assert_eq!(told, ["001", "2"]);
    }

    #[test]
    fn d3_only_what_is_staged_and_intact_waits_for_the_ledger() {
        let (staged, captured) = (archived(Capture::Staged, None), archived(Capture::Captured, Some(7)));
        let forged = ArchiveRow {
            intact: false,
            ..staged.clone()
        };
        let ledger = [applied("up")];
        assert_eq!(applied_since(std::slice::from_ref(&staged), &ledger).len(), 1);
        assert_eq!(applied_since(&[captured, forged], &ledger), []);
        assert_eq!(applied_since(&[staged], &[]), []);
    }
}
