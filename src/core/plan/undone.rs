//! What is undone is a set, then an order (LAWS D1).

use crate::model::{Finding, LedgerRow, MigrationSet};

use super::request::Order;

/// The applied migrations outside `target`, in the order in which they are undone: newest applied first; where the
/// ledger keeps no order, highest version first.
///
/// # Errors
/// A refusal where the two orders contradict each other and it matters for what is undone.
pub fn undone(
    ledger: &[LedgerRow],
    target: &MigrationSet,
    chosen: Option<Order>,
) -> Result<Vec<LedgerRow>, Box<Finding>> {
    let mut by_version: Vec<LedgerRow> = ledger
        .iter()
        .filter(|row| !target.contains(&row.migration.version))
        .cloned()
        .collect();
    by_version.sort_by(|one, other| other.migration.version.cmp(&one.migration.version));
    let mut by_application = by_version.clone();
    // Stable: ties and rows without a sequence stay ordered by version.
    by_application.sort_by_key(|row| std::cmp::Reverse(row.sequence));
    match chosen {
        Some(Order::Applied) => return Ok(by_application),
        Some(Order::Version) => return Ok(by_version),
        None => {}
    }
    // An applied migration that stays although it was applied after one that goes is a contradiction too: the one that
    // goes may be what the one that stays stands on.
    let oldest_undone = by_application.iter().filter_map(|row| row.sequence).min();
    let stays_above = ledger.iter().find(|row| {
        target.contains(&row.migration.version)
            && row.sequence.is_some()
            && row.sequence > oldest_undone
            && oldest_undone.is_some()
    });
    let versions = |rows: &[LedgerRow]| {
        rows.iter()
            .map(|row| row.migration.version.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if by_application != by_version || stays_above.is_some() {
        let applied: Vec<LedgerRow> = {
            let mut rows = ledger.to_vec();
            rows.sort_by_key(|row| row.sequence);
            rows
        };
        return Err(Box::new(Finding::refusal(
            "order-unclear",
            "ledger",
            format!(
                "migrations were applied in the order {}, which is not that of their versions, so the order of undoing \
                 them matters: newest applied first is {}, highest version first is {}",
                versions(&applied),
                versions(&by_application),
                versions(&by_version),
            ),
            "look at the down scripts and say `--order applied` or `--order version`",
        )));
    }
    Ok(by_application)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MigrationId, Version};

    fn ledger(versions: &[&str]) -> Vec<LedgerRow> {
        let rows = versions.iter().zip(1..);
        rows.map(|(version, sequence)| LedgerRow {
            sequence: Some(sequence),
            migration: MigrationId {
                version: Version::parse(version).unwrap(),
                name: String::new(),
            },
            up_sha256: None,
            up_checksum: None,
            dirty: false,
            applied_at: String::new(),
        })
        .collect()
    }

    fn set(versions: &[&str]) -> MigrationSet {
        versions
            .iter()
            .map(|version| Version::parse(version).unwrap())
            .collect()
    }

    fn names(rows: &[LedgerRow]) -> Vec<String> {
        rows.iter().map(|row| row.migration.version.to_string()).collect()
    }

    #[test]
    fn d1_newest_applied_first() {
        assert_eq!(
            names(&undone(&ledger(&["1", "2", "3"]), &set(&["1"]), None).unwrap()),
            ["3", "2"]
        );
        assert_eq!(
            names(&undone(&ledger(&["9", "10"]), &set(&[]), None).unwrap()),
            ["10", "9"]
        );
        assert!(undone(&ledger(&["1"]), &set(&["1", "2"]), None).unwrap().is_empty());
    }

    #[test]
    fn d1_a_contradicting_order_that_matters_is_refused() {
        let applied = ledger(&["1", "3", "2"]);
        // To 2: version 3 goes, and 2, which was applied after it, stays.
        assert_eq!(
            undone(&applied, &set(&["1", "2"]), None).unwrap_err().code,
            "order-unclear"
        );
        assert_eq!(
            names(&undone(&applied, &set(&["1", "2"]), Some(Order::Applied)).unwrap()),
            ["3"]
        );
        // To 1: both go, and their order is unclear.
        assert!(undone(&applied, &set(&["1"]), None).is_err());
        assert_eq!(
            names(&undone(&applied, &set(&["1"]), Some(Order::Applied)).unwrap()),
            ["2", "3"]
        );
        assert_eq!(
            names(&undone(&applied, &set(&["1"]), Some(Order::Version)).unwrap()),
            ["3", "2"]
        );
    }

    #[test]
    fn d1_a_contradiction_below_the_target_does_not_matter() {
        assert_eq!(
            names(&undone(&ledger(&["2", "1", "3"]), &set(&["1", "2"]), None).unwrap()),
            ["3"]
        );
    }

    #[test]
    fn d1_a_migration_outside_the_recorded_set_goes_even_below_its_newest_version() {
        let rows = undone(&ledger(&["1", "3", "2"]), &set(&["1", "3"]), Some(Order::Applied)).unwrap();
        assert_eq!(names(&rows), ["2"]);
    }
}
