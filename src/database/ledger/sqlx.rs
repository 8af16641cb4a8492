//! sqlx's ledger, `_sqlx_migrations` unless the app says otherwise: as `sqlx_postgres::migrate` and
//! `sqlx_sqlite::migrate` 0.9 read and write it.
//!
//! One row an applied version, deleted when it is undone. It keeps no order but `installed_on`, whose microseconds since
//! 1970 are the sequence here: on PostgreSQL the beginning of the migration's transaction, on SQLite whole seconds, so
//! that ties are ordered by version. `execution_time` are nanoseconds.

use flate2::Crc;
use stepback_core::model::{Checksum, MigrationId};

use super::{Entry, Statements};

/// The columns that tell the table, in alphabetical order: these and no others (Flyway's table has all of them too).
pub(in crate::database) const COLUMNS: &str = "checksum,description,execution_time,installed_on,success,version";

/// The table's name where the app does not say otherwise.
pub(in crate::database) const TABLE: &str = "_sqlx_migrations";

macro_rules! postgres_columns {
    () => {
        "SELECT (extract(epoch FROM installed_on) * 1000000)::bigint AS sequence, version::text AS version, \
         description AS name, pg_catalog.encode(checksum, 'hex') AS checksum, \
         pg_catalog.to_char(installed_on AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS applied_at, \
         NOT success AS dirty FROM {l}"
    };
}

macro_rules! sqlite_sequence {
    () => {
        "CAST(strftime('%s', installed_on) AS INTEGER) * 1000000 + CAST(substr(strftime('%f', installed_on), 4) AS INTEGER) * 1000"
    };
}

macro_rules! sqlite_columns {
    () => {
        concat!(
            "SELECT ",
            sqlite_sequence!(),
            " AS sequence, CAST(version AS TEXT) AS version, description AS name, lower(hex(checksum)) AS checksum, \
             coalesce(strftime('%Y-%m-%dT%H:%M:%SZ', installed_on), CAST(installed_on AS TEXT)) AS applied_at, \
             NOT success AS dirty FROM {l} AS l"
        )
    };
}

pub(super) const POSTGRES: Statements = Statements {
    create: "CREATE TABLE IF NOT EXISTS {l} (\n    version BIGINT PRIMARY KEY,\n    description TEXT NOT NULL,\n    \
             installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),\n    success BOOLEAN NOT NULL,\n    \
             checksum BYTEA NOT NULL,\n    execution_time BIGINT NOT NULL\n)",
    select: concat!(postgres_columns!(), " AS l ORDER BY l.installed_on, l.version"),
    find: concat!(postgres_columns!(), " AS l WHERE l.version = $1::bigint"),
    holds: "SELECT 1 FROM {l} AS l WHERE l.version = $1::bigint AND l.checksum = pg_catalog.decode($3, 'hex') AND l.success \
            AND (extract(epoch FROM l.installed_on) * 1000000)::bigint = \
            (SELECT a.ledger_sequence FROM {s}.archive a WHERE a.ledger = {k} AND a.version = $4 ORDER BY a.revision DESC LIMIT 1)",
    insert: "INSERT INTO {l} (version, description, success, checksum, execution_time) VALUES ($1::bigint, $2, true, \
             pg_catalog.decode($3, 'hex'), \
             (extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000000000)::bigint)",
    delete: "DELETE FROM {l} WHERE version = $1::bigint AND checksum = pg_catalog.decode($3, 'hex')",
};

pub(super) const SQLITE: Statements = Statements {
    create: "CREATE TABLE IF NOT EXISTS {l} (\n    version BIGINT PRIMARY KEY,\n    description TEXT NOT NULL,\n    \
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,\n    success BOOLEAN NOT NULL,\n    \
             checksum BLOB NOT NULL,\n    execution_time BIGINT NOT NULL\n)",
    select: concat!(sqlite_columns!(), " ORDER BY 1, l.version"),
    find: concat!(sqlite_columns!(), " WHERE l.version = CAST(?1 AS INTEGER)"),
    holds: "",
    insert: concat!(
        "INSERT INTO {l} (version, description, success, checksum, execution_time) \
         VALUES (CAST(?1 AS INTEGER), ?2, TRUE, unhex(?3), CAST(?4 AS INTEGER)) RETURNING ",
        sqlite_sequence!()
    ),
    delete: "DELETE FROM {l} WHERE version = CAST(?1 AS INTEGER) AND checksum = unhex(?3)",
};

/// The row of a migration, as sqlx derives it from the file's name and text.
pub(super) fn entry(migration: &MigrationId, up: &[u8]) -> Result<Entry, String> {
    let version: i64 = migration
        .version
        .as_str()
        .parse()
        .map_err(|_| "its version is no number of 64 bits, so sqlx's ledger cannot hold it".to_owned())?;
    Ok(Entry {
        version: version.to_string(),
        name: migration.name.replace('_', " "),
        checksum: Checksum::sha384(up).hex().to_owned(),
    })
}

/// The name that a file must have had for sqlx to describe it so, but for blanks that were there before.
pub(super) fn file_name(description: &str) -> String {
    description.replace(' ', "_")
}

/// The advisory lock that sqlx holds on PostgreSQL while it migrates a database (`generate_lock_id`).
pub(in crate::database) fn lock_id(database: &str) -> i64 {
    let mut crc = Crc::new();
    crc.update(database.as_bytes());
    0x3d32_ad9e * i64::from(crc.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_sqlxs() {
        assert_eq!(lock_id("app"), 3_469_795_979_745_788_610);
    }

    #[test]
    fn a_row_is_what_sqlx_derives() {
        let migration = MigrationId {
            version: "0009".parse().unwrap(),
            name: "create_orders_v1.5".to_owned(),
        };
        let entry = entry(&migration, b"SELECT 1;\n").unwrap();
        assert_eq!(
            (entry.version.as_str(), entry.name.as_str()),
            ("9", "create orders v1.5")
        );
        assert!(entry.checksum.starts_with("24454095d8d7876c"), "{}", entry.checksum);
        for version in ["1.2", "9223372036854775808"] {
            let version = MigrationId {
                version: version.parse().unwrap(),
                name: String::new(),
            };
            assert!(super::entry(&version, b"").is_err());
        }
    }
}
