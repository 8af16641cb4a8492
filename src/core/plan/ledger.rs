//! What forbids to touch the ledger at all, whatever the goal is.

use crate::catalog::{Catalog, Layout};
use crate::model::{Finding, LedgerTool, SeenDatabase};

/// Finds rows that were begun and not finished, and a folder that is another tool's although the ledger is not.
pub(super) fn check_ledger(catalog: &Catalog, seen: &SeenDatabase, findings: &mut Vec<Finding>) {
    let ledger = &seen.database.ledger;
    for row in seen.ledger.iter().filter(|row| row.dirty) {
        findings.push(Finding::refusal(
            "ledger-dirty",
            row.migration.to_string(),
            format!(
                "{} marks it as begun and not finished, so what of it is there is unknown",
                ledger.table
            ),
            "look at what its up script left behind, finish or undo it by hand, and correct or delete the row",
        ));
    }
    if catalog.layout() == Layout::Sqlx && ledger.tool == LedgerTool::Stepback && !seen.ledger_table.chosen {
        findings.push(Finding::refusal(
            "ledger-unclear",
            "ledger",
            "the migrations folder is in sqlx's layout, but the database has no ledger of sqlx's",
            "if sqlx migrates this database too, say `--ledger sqlx`: its table is made and kept as sqlx does it; if \
             nobody else does, `--ledger stepback`",
        ));
    }
}
