//! Our own ledger, made with our own tables.

use stepback_core::model::{Digest, MigrationId};

use super::{Entry, Statements};

pub(super) const POSTGRES: Statements = Statements {
    create: "",
    select: "SELECT sequence, version, name, up_sha256 AS checksum, applied_at, false AS dirty FROM {l} ORDER BY sequence",
    find: "SELECT sequence, version, name, up_sha256 AS checksum, applied_at, false AS dirty FROM {l} WHERE version = $1",
    holds: "SELECT 1 FROM {l} AS l WHERE l.version = $1 AND l.up_sha256 = $3 AND l.sequence = \
            (SELECT a.ledger_sequence FROM {s}.archive a WHERE a.ledger = {k} AND a.version = $4 ORDER BY a.revision DESC LIMIT 1)",
    insert: "INSERT INTO {l} (version, name, up_sha256, applied_at) VALUES ($1, $2, $3, {now})",
    delete: "DELETE FROM {l} WHERE version = $1 AND up_sha256 = $3",
};

pub(super) const SQLITE: Statements = Statements {
    create: "",
    select: "SELECT sequence, version, name, up_sha256 AS checksum, applied_at, 0 AS dirty FROM {l} ORDER BY sequence",
    find: "SELECT sequence, version, name, up_sha256 AS checksum, applied_at, 0 AS dirty FROM {l} WHERE version = ?1",
    holds: "",
    insert: "INSERT INTO {l} (version, name, up_sha256, applied_at) VALUES (?1, ?2, ?3, ?4) RETURNING sequence",
    delete: "DELETE FROM {l} WHERE version = ?1 AND up_sha256 = ?3",
};

pub(super) fn entry(migration: &MigrationId, up_sha256: &Digest) -> Entry {
    Entry {
        version: migration.version.as_str().to_owned(),
        name: migration.name.clone(),
        checksum: up_sha256.to_string(),
    }
}
