//! What storing a migration in the archive comes to, the same on every engine (LAWS D3).
//!
//! Responsible for: deciding between leaving a row, binding it, and appending a revision. Not for: writing it.

use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{ArchiveRow, Capture, LedgerRow};

use super::DbError;

/// What to do with a migration that is to be in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Its row stays as it is.
    AsItIs,
    /// A revision is appended, bound to this ledger row, or staged.
    Append {
        revision: i64,
        ledger_sequence: Option<i64>,
    },
}

/// Decides. A migration that is applied was captured from what ran; the folder may have been edited since, so what is
/// captured stays.
pub(super) fn keep(migration: &Migration, present: Option<&ArchiveRow>, applied: Option<&LedgerRow>) -> Keep {
    let down = migration.down.as_ref().map(Script::sha256);
    let same = present.is_some_and(|row| row.up_sha256 == migration.up.sha256() && row.down_sha256 == down);
    let captured = present.is_some_and(|row| row.capture == Capture::Captured);
    if same || (captured && applied.is_some()) {
        return Keep::AsItIs;
    }
    let bound = applied.filter(|row| is_of(row, migration));
    Keep::Append {
        revision: present.map_or(1, |row| row.revision + 1),
        ledger_sequence: bound.and_then(|row| row.sequence),
    }
}

/// The revision under which a migration's scripts replace what is archived, and the ledger row that they are bound to.
///
/// # Errors
/// Where the ledger does not show this up script as applied.
pub(super) fn replacement(
    migration: &Migration,
    archived: &[ArchiveRow],
    ledger: &[LedgerRow],
) -> Result<(i64, Option<i64>), DbError> {
    let version = &migration.version;
    let applied = ledger.iter().find(|row| row.migration.version == *version);
    let applied = applied
        .filter(|row| is_of(row, migration))
        .ok_or_else(|| DbError::not_applied(migration))?;
    let present = archived.iter().find(|row| row.migration.version == *version);
    Ok((present.map_or(1, |row| row.revision + 1), applied.sequence))
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
    use stepback_core::model::{Checksum, Digest, MigrationId, Version};

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
        let append = |revision, ledger_sequence| Keep::Append {
            revision,
            ledger_sequence,
        };
        assert_eq!(keep(&same, None, None), append(1, None));
        assert_eq!(keep(&same, None, Some(&applied("up"))), append(1, Some(7)));
        // Not what was applied: stored, and never taken for it.
        assert_eq!(keep(&same, None, Some(&applied("other"))), append(1, None));
        let (staged, captured) = (archived(Capture::Staged, None), archived(Capture::Captured, Some(7)));
        assert_eq!(keep(&same, Some(&staged), None), Keep::AsItIs);
        assert_eq!(keep(&edited, Some(&staged), None), append(5, None));
        assert_eq!(keep(&edited, Some(&staged), Some(&applied("up"))), append(5, Some(7)));
        assert_eq!(keep(&edited, Some(&captured), Some(&applied("up"))), Keep::AsItIs);
        assert_eq!(keep(&edited, Some(&captured), None), append(5, None));
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
