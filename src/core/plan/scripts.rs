//! Which script undoes or applies a migration, and why one cannot be used. Nothing is skipped: a migration without a
//! usable script is a refusal.

use crate::catalog::{Catalog, Migration};
use crate::model::{ArchiveRow, Capture, Direction, Engine, Finding, LedgerRow, MigrationId, ScriptRef, Version};
use crate::sql::{is_empty, transactional};

use super::request::Seen;

/// Looks up scripts and collects what is wrong with them.
pub(super) struct Scripts<'a> {
    pub(super) seen: &'a Seen,
    pub(super) catalog: &'a Catalog,
    pub(super) findings: Vec<Finding>,
}

impl Scripts<'_> {
    fn engine(&self) -> Engine {
        self.seen.database.database.engine
    }

    /// The down script of an applied migration.
    pub(super) fn down(&mut self, row: &LedgerRow) -> Option<ScriptRef> {
        let subject = row.migration.to_string();
        let archived = self.seen.database.archived(&row.migration.version);
        let filed = self.catalog.find(&row.migration.version);
        match (archived.filter(|archived| self.is_captured(row, archived)), filed) {
            (Some(archived), filed) => self.archived_down(row, archived, filed),
            (None, Some(filed)) => self.filed_down(row, filed),
            (None, None) => {
                self.refuse(
                    "down-unknown",
                    subject,
                    "it is applied, but neither the archive nor the migrations folder has its scripts",
                    "give the folder of the release that applied it with --dir, or capture its scripts first",
                );
                None
            }
        }
    }

    /// Whether an archive row holds what was applied. What was staged counts as captured as soon as the ledger shows that
    /// very script (LAWS D3): another tool applied it, and nobody was there to say so.
    fn is_captured(&self, row: &LedgerRow, archived: &ArchiveRow) -> bool {
        archived.capture == Capture::Captured || self.names_archived_up(row, archived) == Some(true)
    }

    /// Whether the ledger names the archive's up script: `None` where it cannot be told.
    fn names_archived_up(&self, row: &LedgerRow, archived: &ArchiveRow) -> Option<bool> {
        let body = match (&row.up_checksum, self.seen.bodies.get(&archived.up_sha256)) {
            (None, _) => &[][..],
            (Some(_), Some(Ok(body))) => body,
            (Some(_), _) => return None,
        };
        row.names_up(&archived.up_sha256, body)
    }

    fn archived_down(
        &mut self,
        row: &LedgerRow,
        archived: &ArchiveRow,
        filed: Option<&Migration>,
    ) -> Option<ScriptRef> {
        let subject = row.migration.to_string();
        if !archived.intact {
            self.refuse(
                "archive-damaged",
                subject,
                "its row in the archive was changed since it was captured",
                "compare the archive with a backup; nothing of it is run",
            );
            return None;
        }
        if archived.capture == Capture::Captured && archived.ledger_sequence != row.sequence {
            self.refuse(
                "stale-capture",
                subject,
                "it was applied again since its scripts were captured, so the captured down may not fit",
                "capture its scripts again from the release that applied it: `stepback migrate capture --replace VERSION --reason TEXT`",
            );
            return None;
        }
        if self.names_archived_up(row, archived) == Some(false) {
            self.refuse(
                "up-differs",
                subject,
                "the ledger names another up script than the archive",
                "find out which one was applied before anything is undone",
            );
            return None;
        }
        let filed_down = filed.and_then(|filed| filed.down.as_ref());
        if let (Some(captured), Some(file)) = (archived.down_sha256, filed_down)
            && file.sha256() != captured
        {
            self.refuse(
                "down-edited",
                subject,
                format!(
                    "{} is not the down script that was captured when it was applied",
                    file.file()
                ),
                "restore the file, or leave the folder out with --dir pointing at an empty one: what was captured runs",
            );
            return None;
        }
        let Some(sha256) = archived.down_sha256 else {
            self.refuse(
                "down-missing",
                subject,
                "it was applied without a down script, so it cannot be undone",
                "write a new migration that takes it back",
            );
            return None;
        };
        let body = self.seen.bodies.get(&sha256).cloned();
        // Earlier versions took `BEGIN; COMMIT;` for something when they captured it.
        let is_empty = match &body {
            Some(Ok(body)) => std::str::from_utf8(body).is_ok_and(|text| is_empty(text, self.engine())),
            _ => false,
        };
        if archived.down_empty || is_empty {
            self.refuse_empty(subject);
            return None;
        }
        match body {
            Some(Ok(body)) => self.check_runs(&subject, &body),
            Some(Err(why)) => {
                self.refuse(
                    "archive-damaged",
                    subject.clone(),
                    why,
                    "compare the archive with a backup",
                );
                None
            }
            None => {
                let why = "the archive does not hold the body of its down script";
                self.refuse(
                    "archive-damaged",
                    subject.clone(),
                    why,
                    "compare the archive with a backup",
                );
                None
            }
        }?;
        // Spelled as the archive spells it: another tool's ledger holds a number.
        Some(ScriptRef {
            migration: archived.migration.clone(),
            direction: Direction::Down,
            sha256,
            up_sha256: archived.up_sha256,
        })
    }

    fn filed_down(&mut self, row: &LedgerRow, filed: &Migration) -> Option<ScriptRef> {
        let subject = row.migration.to_string();
        if row.names_up(&filed.up.sha256(), filed.up.text().as_bytes()) == Some(false) {
            self.refuse(
                "up-edited",
                subject,
                format!(
                    "{} is not the up script that was applied, so its down may not fit",
                    filed.up.file()
                ),
                "restore the file as it was when it was applied",
            );
            return None;
        }
        let Some(down) = &filed.down else {
            self.refuse(
                "down-missing",
                subject,
                "it has no down script, so it cannot be undone",
                "write the down script, or a new migration that takes it back",
            );
            return None;
        };
        if down.is_empty(self.engine()) {
            self.refuse_empty(subject);
            return None;
        }
        self.check_runs(&subject, down.text().as_bytes())?;
        Some(ScriptRef {
            migration: self.spelled(filed),
            direction: Direction::Down,
            sha256: down.sha256(),
            up_sha256: filed.up.sha256(),
        })
    }

    /// A migration of the folder, its version as the archive spells it, where it is there: what is captured of it now is
    /// another revision of that row.
    fn spelled(&self, filed: &Migration) -> MigrationId {
        let archived = self.seen.database.archived(&filed.version);
        MigrationId {
            version: archived.map_or(&filed.version, |row| &row.migration.version).clone(),
            name: filed.name.clone(),
        }
    }

    /// The up script of a migration that is to be applied.
    pub(super) fn up(&mut self, version: &Version) -> Option<ScriptRef> {
        let archived = self.seen.database.archived(version);
        if let Some(filed) = self.catalog.find(version) {
            let migration = self.spelled(filed);
            self.check_runs(&migration.to_string(), filed.up.text().as_bytes())?;
            if filed.down.as_ref().is_none_or(|down| down.is_empty(self.engine())) {
                self.findings.push(Finding::warning(
                    "no-way-back",
                    migration.to_string(),
                    "it has no down script, or an empty one: once it is applied, no rollback can undo it",
                    "write the down script first; what is captured when it is applied is what a rollback has",
                ));
            }
            let sha256 = filed.up.sha256();
            return Some(ScriptRef {
                migration,
                direction: Direction::Up,
                sha256,
                up_sha256: sha256,
            });
        }
        let Some(archived) = archived.filter(|archived| archived.intact) else {
            self.refuse(
                "up-missing",
                version.to_string(),
                "it is to be applied, but neither the migrations folder nor the archive has it",
                "give the folder that holds it with --dir",
            );
            return None;
        };
        match self.seen.bodies.get(&archived.up_sha256).cloned() {
            Some(Ok(body)) => self.check_runs(&archived.migration.to_string(), &body)?,
            other => {
                let why = match other {
                    Some(Err(why)) => why,
                    _ => "the archive does not hold the body of its up script".to_owned(),
                };
                self.refuse(
                    "archive-damaged",
                    archived.migration.to_string(),
                    why,
                    "compare the archive with a backup",
                );
                return None;
            }
        }
        Some(ScriptRef {
            migration: archived.migration.clone(),
            direction: Direction::Up,
            sha256: archived.up_sha256,
            up_sha256: archived.up_sha256,
        })
    }

    /// Applied migrations whose file has changed: what lies in the folder is not what the database was made from.
    pub(super) fn check_applied_files(&mut self) {
        let edited: Vec<(MigrationId, String)> = self
            .seen
            .database
            .ledger
            .iter()
            .filter_map(|row| {
                let filed = self.catalog.find(&row.migration.version)?;
                let differs = row.names_up(&filed.up.sha256(), filed.up.text().as_bytes()) == Some(false);
                differs.then(|| (row.migration.clone(), filed.up.file().to_owned()))
            })
            .collect();
        for (migration, file) in edited {
            self.refuse(
                "up-edited",
                migration.to_string(),
                format!("{file} was changed after it was applied"),
                "restore the file, and put the change into a new migration",
            );
        }
    }

    fn check_runs(&mut self, subject: &str, body: &[u8]) -> Option<()> {
        match transactional(body, self.engine()) {
            Ok(_) => Some(()),
            Err(problem) => {
                let remedy = "mend the script; a captured one is mended by a new migration";
                self.refuse("script-unfit", subject, problem.to_string(), remedy);
                None
            }
        }
    }

    fn refuse_empty(&mut self, subject: String) {
        self.refuse(
            "down-empty",
            subject,
            "its down script holds no statement, so running it would move the ledger and nothing else",
            "write a new migration that takes it back; one that was captured empty stays empty",
        );
    }

    fn refuse(&mut self, code: &str, subject: impl Into<String>, message: impl Into<String>, remedy: &str) {
        self.findings.push(Finding::refusal(code, subject, message, remedy));
    }
}
