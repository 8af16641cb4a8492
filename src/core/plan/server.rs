//! What of the database's server a person should know of before anything of ours is written there: what it may forget
//! (LAWS D13), and whom it sends our tables to (LAWS D16).
//!
//! All of it are warnings: the database was run like that before, and going back may be what saves it.

use crate::appfile::AppFile;
use crate::model::{Finding, LogicalSlot, Replication, SeenDatabase};

/// What decodes for a publication.
const PGOUTPUT: &str = "pgoutput";

/// Finds a server that can lose what it has committed, and those that would be sent our tables when these are made: once
/// they are there, that was settled.
pub(super) fn check_server(seen: &SeenDatabase, findings: &mut Vec<Finding>) {
    findings.extend(weak(&seen.server.weak));
    if seen.prepared {
        return;
    }
    match &seen.server.replication {
        Replication::To { publications, slots } => {
            let schema = &seen.database.state_schema;
            findings.extend(publications.iter().map(|name| published(name, schema)));
            findings.extend(slots.iter().map(|slot| decoded(slot, schema)));
        }
        Replication::Unknown(why) => findings.push(Finding::warning(
            "replication-unknown",
            "server",
            format!("whether stepback's own tables will be replicated is not known: {why}"),
            "ask a DBA for publications FOR ALL TABLES and for logical replication slots",
        )),
    }
}

/// Says that the app file's second URL is not used. It would be for scripts that need a session of their own, which are
/// refused, so that nothing goes another way than the file says.
pub(super) fn check_direct_url(app: Option<&AppFile>, findings: &mut Vec<Finding>) {
    if app.is_some_and(|app| app.database.direct_url.is_some()) {
        findings.push(Finding::warning(
            "not-supported",
            "directUrl",
            "this version does not use it: everything goes over `url`, and scripts that cannot run in a transaction are \
             refused",
            "nothing, where `url` leads to the database; behind a pooler only transactions are used",
        ));
    }
}

fn weak(settings: &[String]) -> Option<Finding> {
    if settings.is_empty() {
        return None;
    }
    let names = settings.iter().filter_map(|setting| setting.split(' ').next());
    let on: String = names.map(|name| format!("ALTER SYSTEM SET {name} = on; ")).collect();
    Some(Finding::warning(
        "durability-weak",
        "server",
        format!(
            "{}: a crash of its machine can lose or damage what it has committed, the ledger and a step that was passed \
             included",
            settings.join(", ")
        ),
        format!("{on}SELECT pg_reload_conf(); or know that a backup is all there is after such a crash"),
    ))
}

/// A subscriber that lacks a table stops at the first row of it (seen on PostgreSQL 15).
fn published(name: &str, schema: &str) -> Finding {
    Finding::warning(
        "publication-all",
        format!("publication {name}"),
        format!(
            "it publishes every table, so stepback's own too once they are made in schema {schema}: a subscriber that \
             has no such tables stops at their first row, and so does its replication"
        ),
        "make them at the subscribers first (`stepback init --sql --engine postgres` prints them), or publish tables by \
         name",
    )
}

fn decoded(slot: &LogicalSlot, schema: &str) -> Finding {
    let LogicalSlot { name, plugin } = slot;
    let sent = if plugin == PGOUTPUT {
        format!(
            "whoever reads it is sent what its publications name: stepback's own tables (schema {schema}) too, where \
             these name every table; what a migration does to a table is sent to nobody"
        )
    } else {
        format!(
            "{plugin} sends its reader every table's rows, stepback's own too once they are made in schema {schema}; \
             what a migration does to a table is sent to nobody"
        )
    };
    Finding::warning(
        "logical-slot",
        format!("replication slot {name}"),
        sent,
        "see that the reader bears, or leaves out, tables that it does not know, and change its own as the migrations \
         do",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(replication: Replication) -> Vec<String> {
        let mut seen = super::super::tests::seen().database;
        seen.prepared = false;
        seen.server.replication = replication;
        let mut findings = Vec::new();
        check_server(&seen, &mut findings);
        seen.prepared = true;
        let before = findings.len();
        check_server(&seen, &mut findings);
        assert_eq!(findings.len(), before, "our tables are there, so that was settled");
        let said = |finding: &Finding| format!("{} {}: {}", finding.code, finding.subject, finding.message);
        findings.iter().map(said).collect()
    }

    #[test]
    fn d16_whoever_would_be_sent_our_tables_is_named_before_they_are_made() {
        assert_eq!(said(Replication::default()), [""; 0]);
        let slot = |name: &str, plugin: &str| LogicalSlot {
            name: name.to_owned(),
            plugin: plugin.to_owned(),
        };
        let found = said(Replication::To {
            publications: vec!["everything".to_owned()],
            slots: vec![slot("branch", PGOUTPUT), slot("audit", "wal2json")],
        });
        assert_eq!(found.len(), 3);
        assert!(found[0].starts_with("publication-all publication everything: it publishes every table"));
        assert!(found[1].contains("slot branch: whoever reads it is sent what its publications name"));
        assert!(found[2].contains("slot audit: wal2json sends its reader every table's rows"));
        let unknown = said(Replication::Unknown("role shop may not read pg_publication".to_owned()));
        assert!(
            unknown[0].starts_with("replication-unknown server: whether"),
            "{unknown:?}"
        );
    }

    #[test]
    fn d13_a_server_that_forgets_is_a_warning_whatever_is_there() {
        assert_eq!(weak(&[]), None);
        let found = weak(&["fsync = off".to_owned(), "full_page_writes = off".to_owned()]).unwrap();
        assert!(
            found
                .message
                .starts_with("fsync = off, full_page_writes = off: a crash")
        );
        assert!(
            found
                .remedy
                .starts_with("ALTER SYSTEM SET fsync = on; ALTER SYSTEM SET full_page_writes = on; SELECT")
        );
    }
}
