//! What `migrate capture` stores, and what forbids it (LAWS D3). Nothing that was captured is overwritten.

use serde::Serialize;

use crate::catalog::{Catalog, Migration, Script};
use crate::model::{ArchiveRow, Capture, Finding, LedgerRow, LedgerTool, MigrationId, SeenDatabase, Version};

use super::server::check_server;
use super::{Accepted, Refusals};

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureRequest {
    /// Whether migrations that are not applied yet are stored too.
    pub stage: bool,
    /// The version whose scripts replace what was captured.
    pub replace: Option<Version>,
}

/// What becomes of a migration's scripts in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Becomes {
    /// Stored, and bound to the ledger row of what was applied.
    Captured,
    /// Stored for when it will be applied.
    Staged,
    /// Stored as a revision above what was captured before.
    Replaced,
    /// It is there already.
    Unchanged,
}

impl Becomes {
    /// The word in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Staged => "staged",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A migration of the folder, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// Which.
    pub migration: MigrationId,
    /// What.
    pub becomes: Becomes,
}

/// Everything that is to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToCapture {
    /// The migrations to store.
    pub store: Vec<Migration>,
    /// The one that replaces what was captured.
    pub replace: Option<Migration>,
    /// What becomes of each.
    pub items: Vec<Captured>,
    /// Findings that do not forbid it.
    pub findings: Vec<Finding>,
}

/// Decides what of a folder is stored.
///
/// # Errors
/// All findings, when one of them forbids it.
pub fn plan_capture(request: &CaptureRequest, catalog: &Catalog, seen: &SeenDatabase) -> Result<ToCapture, Refusals> {
    let mut capture = ToCapture::default();
    let mut findings = Vec::new();
    check_server(seen, &mut findings);
    for migration in catalog.migrations() {
        let applied = seen
            .ledger
            .iter()
            .find(|row| row.migration.version == migration.version);
        let archived = seen.archived(&migration.version);
        let replaces = request.replace.as_ref() == Some(&migration.version);
        let becomes = match applied {
            Some(row) => of_applied(migration, row, archived, replaces, &mut findings),
            None if request.stage => Some(of_pending(migration, archived, seen.database.ledger.tool)),
            None => None,
        };
        let Some(becomes) = becomes else { continue };
        if migration.down.is_none() && becomes != Becomes::Unchanged {
            findings.push(Finding::warning(
                "down-missing",
                label(migration),
                "it has no down script, so it cannot be undone",
                "write a new migration that takes it back when that is needed",
            ));
        }
        capture.items.push(Captured {
            migration: id(migration),
            becomes,
        });
        if becomes == Becomes::Replaced {
            capture.replace = Some(migration.clone());
        } else {
            capture.store.push(migration.clone());
        }
    }
    if let Some(version) = request.replace.as_ref().filter(|_| capture.replace.is_none()) {
        refuse_replacement(version, catalog, seen, &mut findings);
    }
    for row in &seen.ledger {
        let version = &row.migration.version;
        if catalog.find(version).is_none() && seen.archived(version).is_none() {
            findings.push(Finding::warning(
                "down-unknown",
                row.migration.to_string(),
                "it is applied, but neither the archive nor the migrations folder has its scripts",
                "capture it from the folder of the release that applied it",
            ));
        }
    }
    capture.findings = Refusals::judge(findings, &Accepted::default())?;
    Ok(capture)
}

fn of_applied(
    migration: &Migration,
    row: &LedgerRow,
    archived: Option<&ArchiveRow>,
    replaces: bool,
    findings: &mut Vec<Finding>,
) -> Option<Becomes> {
    let subject = label(migration);
    let up = &migration.up;
    if row.names_up(&up.sha256(), up.text().as_bytes()) == Some(false) {
        let message = format!(
            "{} is not the up script that was applied, so its down may not fit",
            up.file()
        );
        let remedy = "capture from the folder of the release that applied it";
        findings.push(Finding::refusal("up-edited", subject, message, remedy));
        return None;
    }
    if replaces {
        return Some(Becomes::Replaced);
    }
    let Some(archived) = archived.filter(|archived| archived.capture == Capture::Captured) else {
        return Some(Becomes::Captured);
    };
    if archived.ledger_sequence != row.sequence {
        let message = "it was applied again since its scripts were captured";
        let remedy = format!(
            "if this folder is the one that it was applied from: `stepback migrate capture --replace {} --reason TEXT`",
            migration.version
        );
        findings.push(Finding::refusal("stale-capture", subject, message, remedy));
        return None;
    }
    if is_same(migration, archived) {
        return Some(Becomes::Unchanged);
    }
    let message = "the folder's down script is not the one that was captured";
    let remedy = format!(
        "restore the file, or replace what was captured: `stepback migrate capture --replace {} --reason TEXT`",
        migration.version
    );
    findings.push(Finding::refusal("down-edited", subject, message, remedy));
    None
}

/// What another tool has undone since it was captured is staged anew: bound to a ledger row that is gone, it would be stale
/// once the tool applies it again.
fn of_pending(migration: &Migration, archived: Option<&ArchiveRow>, tool: LedgerTool) -> Becomes {
    let is_bound = |row: &ArchiveRow| row.capture == Capture::Captured && tool != LedgerTool::Stepback;
    match archived {
        Some(archived) if is_same(migration, archived) && !is_bound(archived) => Becomes::Unchanged,
        _ => Becomes::Staged,
    }
}

/// Why a version cannot be replaced, where nothing else says it.
fn refuse_replacement(version: &Version, catalog: &Catalog, seen: &SeenDatabase, findings: &mut Vec<Finding>) {
    if catalog.find(version).is_none() {
        findings.push(Finding::refusal(
            "schema-unknown",
            version.to_string(),
            "it is to be replaced, and the migrations folder does not have it",
            "give the folder that has it with --dir",
        ));
    } else if !seen.applied().contains(version) {
        findings.push(Finding::refusal(
            "schema-unknown",
            version.to_string(),
            "it is to be replaced, and it is not applied",
            "what is not applied is replaced by `stepback migrate capture --stage`",
        ));
    }
}

fn is_same(migration: &Migration, archived: &ArchiveRow) -> bool {
    let down = migration.down.as_ref().map(Script::sha256);
    archived.up_sha256 == migration.up.sha256() && archived.down_sha256 == down
}

fn id(migration: &Migration) -> MigrationId {
    MigrationId {
        version: migration.version.clone(),
        name: migration.name.clone(),
    }
}

fn label(migration: &Migration) -> String {
    migration.label()
}
