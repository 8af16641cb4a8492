//! What a script may leave in its session, or find there (LAWS D8, D14): settings, temporary tables, cursors, prepared
//! statements, channels, advisory locks, and the last numbers of sequences, ours among them.
//!
//! Behind a pooler the session is others' too. What their driver has prepared stays, and so does a lock of theirs, unless
//! the script itself names advisory locks: whether it or somebody else took one the server does not say.

use super::message::do_block;

/// Everything that a script may have set, back to how the session began; cursors first, which hold temporary tables.
const RESET: &str =
    "RESET SESSION AUTHORIZATION; RESET ROLE; CLOSE ALL; UNLISTEN *; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES; ";

/// Statements that were prepared by SQL, and not by a driver, as statements of a `DO` body.
pub(super) const DEALLOCATE: &str = "DECLARE prepared text; BEGIN FOR prepared IN SELECT name FROM pg_catalog.pg_prepared_statements \
    WHERE from_sql LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', prepared); END LOOP; END; ";

const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock_all(); ";

/// What stands between a script and the rows of ours in its transaction; [`DEALLOCATE`] goes with these.
pub(super) fn reset(script: &str) -> String {
    format!("{RESET}{}", if takes_locks(script) { UNLOCK } else { "" })
}

/// What outlives the transaction of a script that failed, as a message.
pub(super) fn forget<'a>(mut scripts: impl Iterator<Item = &'a str>) -> String {
    let unlock = if scripts.any(takes_locks) { UNLOCK } else { "" };
    format!("{}; {unlock}", do_block(DEALLOCATE))
}

/// Whether the script names advisory locks.
fn takes_locks(script: &str) -> bool {
    let word = b"advisory";
    let mut parts = script.as_bytes().windows(word.len());
    parts.any(|part| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d14_locks_of_a_session_are_given_back_only_after_a_script_that_names_them() {
        assert!(!reset("SELECT 1").contains("unlock"));
        assert!(reset("SELECT PG_Advisory_Lock(1)").contains(UNLOCK));
        assert!(!forget(["SELECT 1", "SELECT 2"].into_iter()).contains("unlock"));
        assert!(forget(["SELECT 1", "SELECT pg_try_advisory_lock(2)"].into_iter()).contains(UNLOCK));
    }
}
