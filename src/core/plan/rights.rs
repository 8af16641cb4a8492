//! Rights that a plan would use and the role does not have: in the database (LAWS D15) and in the cluster.

use std::collections::BTreeSet;

use crate::model::{Direction, Finding, MissingRights, OwnedTable, ScriptRef};
use crate::sql::{NamedTables, Statement, named_tables, quoted, split};

use super::Refusals;
use super::accept::Accepted;
use super::request::Seen;

/// Finds what the role may not do in the cluster. What only shows a pod that fails its gate, or remembers which release a
/// revision is, is no reason to stay down.
pub(super) fn check_cluster_rights(seen: &Seen, findings: &mut Vec<Finding>) {
    findings.extend(seen.missing_rights.iter().map(missing_in_cluster));
    findings.extend(seen.missing_pairing.iter().map(|missing| {
        Finding::warning(
            "rights-missing",
            "cluster",
            missing,
            "have it granted, or no revision is paired with the release: a later way back to it needs `images` in the app \
             file",
        )
    }));
    findings.extend(seen.missing_evidence.iter().map(|missing| {
        Finding::warning(
            "rights-missing",
            "cluster",
            missing,
            "have it granted, or the log and the events of a pod that fails its gate are not shown",
        )
    }));
}

fn missing_in_cluster(missing: &String) -> Finding {
    Finding::refusal(
        "rights-missing",
        "cluster",
        missing,
        "have the role granted, or run as somebody who has it; `kubectl auth can-i` asks the same",
    )
}

/// The refusal of whoever may not even look at the cluster: all that is missing, a sentence each; `None` where nothing is.
pub fn refuse_rights(missing: &[String]) -> Option<Refusals> {
    Refusals::judge(missing.iter().map(missing_in_cluster).collect(), &Accepted::default()).err()
}

/// Finds what the role that connects may not do, as far as the catalog says it: write our own tables and the ledger, and
/// change tables that the scripts name; and who could have it run something else.
pub(super) fn check_rights(seen: &Seen, direction: Direction, scripts: &[ScriptRef], findings: &mut Vec<Finding>) {
    let missing = &seen.database.missing_rights;
    if scripts.is_empty() {
        return;
    }
    if let Some(schema) = missing.own_tables.first().and_then(|table| table.split_once('.')) {
        let (schema, role) = (quoted(schema.0), quoted(&missing.role));
        findings.push(Finding::refusal(
            "rights-missing",
            format!("role {}", missing.role),
            format!(
                "it may not write stepback's own tables: {}",
                missing.own_tables.join(", ")
            ),
            format!(
                "as their owner: GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL \
                 TABLES IN SCHEMA {schema} TO {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
            ),
        ));
    }
    let needed = match direction {
        Direction::Up => "INSERT",
        Direction::Down => "DELETE",
    };
    if missing.ledger.iter().any(|right| right == needed) {
        let (ledger, role) = (&seen.database.database.ledger, quoted(&missing.role));
        findings.push(Finding::refusal(
            "rights-missing",
            format!("role {}", missing.role),
            format!("it may not {needed} rows of the ledger {ledger}, which each migration does in its transaction"),
            format!("as its owner: GRANT SELECT, INSERT, DELETE ON {ledger} TO {role}"),
        ));
    }
    if direction == Direction::Down {
        findings.extend(warn_of_archive_writers(missing));
    }
    let mut said = BTreeSet::new();
    for script in scripts {
        let Some(Ok(body)) = seen.bodies.get(&script.sha256) else {
            continue;
        };
        for table in changed_tables(seen, &String::from_utf8_lossy(body)) {
            if !said.insert((&table.schema, &table.name)) {
                continue;
            }
            // An index cannot be given away but with its table.
            let owned = table.index_of.as_ref().unwrap_or(&table.name);
            let name = format!("{}.{}", quoted(&table.schema), quoted(owned));
            let what = match &table.index_of {
                Some(of) => format!("index {}.{} of table {of}", table.schema, table.name),
                None => format!("table {}.{}", table.schema, table.name),
            };
            let (owner, role) = (quoted(&table.owner), quoted(&missing.role));
            findings.push(Finding::refusal(
                "rights-missing",
                script.migration.to_string(),
                format!(
                    "it changes {what}, whose owner is {}, and role {} is neither that one nor a member of it",
                    table.owner, missing.role
                ),
                format!(
                    "connect as {}; or GRANT {owner} TO {role}; or ALTER TABLE {name} OWNER TO {role}",
                    table.owner
                ),
            ));
        }
    }
}

/// The most roles that are named.
const NAMED: usize = 5;

/// Whoever can write the archive can have this role run a script of theirs as a down (LAWS D15).
fn warn_of_archive_writers(missing: &MissingRights) -> Option<Finding> {
    let writers = &missing.archive_writers;
    let named = writers.get(..NAMED).unwrap_or(writers).join(", ");
    let more = match writers.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!writers.is_empty()).then(|| {
        Finding::warning(
            "archive-writers",
            format!("role {}", missing.role),
            format!(
                "its downs come from the archive, which others than it can write: {named}{more}; what they put there runs \
                 with its rights"
            ),
            "take INSERT and UPDATE on `archive` and `script` away from whoever applies no migrations; or read the downs \
             (`-v`) before they run",
        )
    })
}

/// The tables and indexes of others that the script alters or drops: only their owner may, whatever was granted.
fn changed_tables<'a>(seen: &'a Seen, body: &str) -> Vec<&'a OwnedTable> {
    let engine = seen.database.database.engine;
    let statements = split(body, engine).unwrap_or_default();
    let needs_owner = |statement: &&Statement<'_>| {
        let mut words = statement.text.split_whitespace().map(str::to_ascii_uppercase);
        let first = words.next();
        matches!(first.as_deref(), Some("ALTER" | "DROP")) && matches!(words.next().as_deref(), Some("TABLE" | "INDEX"))
    };
    let named: Vec<NamedTables> = statements
        .iter()
        .filter(needs_owner)
        .map(|statement| named_tables(statement.text, engine))
        .filter(|named| matches!(named, NamedTables::Known(_)))
        .collect();
    let tables = seen.database.missing_rights.owned_by_others.iter();
    tables
        .filter(|table| {
            named
                .iter()
                .any(|named| named.may_name(Some(&table.schema), &table.name))
        })
        .collect()
}
