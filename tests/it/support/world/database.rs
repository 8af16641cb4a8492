//! The database of the simulated world: a ledger whose rows are the schema, what was recorded, lease and run row.

use std::collections::BTreeMap;

use stepback::database::Record;
use stepback_core::model::{
    Digest, Direction, Fingerprint, LedgerRow, MigrationSet, RunRow, ScriptRef, Token, Version,
};

#[derive(Clone, Debug, Default)]
pub struct Database {
    pub ledger: Vec<LedgerRow>,
    /// What scripts did, in order: `-5` for the down of 5.
    pub history: Vec<String>,
    pub fingerprints: BTreeMap<Digest, Fingerprint>,
    pub releases: Vec<(semver::Version, MigrationSet)>,
    pub lease: Option<Token>,
    pub released: bool,
    pub run: Option<RunRow>,
    /// How many pods there may be while a script runs.
    pub pods_while_scripts_run: Option<usize>,
}

impl Database {
    pub fn has(&self, version: &Version) -> bool {
        self.ledger.iter().any(|row| row.migration.version == *version)
    }

    pub fn acquire(&mut self, above: u64) {
        let number = self.lease.map_or(0, |token| token.number).max(above) + 1;
        let nonce = u32::try_from(number).unwrap_or(0).wrapping_mul(0x9e37_79b9);
        self.lease = Some(Token { number, nonce });
        self.released = false;
    }

    /// The script with its ledger row, in one transaction.
    pub fn run_script(&mut self, direction: Direction, script: &ScriptRef) -> Result<(), String> {
        let version = &script.migration.version;
        let had = self.has(version);
        match direction {
            Direction::Down => {
                self.history.push(format!("-{version}"));
                self.ledger.retain(|row| row.migration.version != *version);
            }
            Direction::Up => {
                self.history.push(format!("+{version}"));
                let last = self.ledger.iter().filter_map(|row| row.sequence).max();
                self.ledger.push(LedgerRow {
                    sequence: Some(last.unwrap_or(0) + 1),
                    migration: script.migration.clone(),
                    up_sha256: Some(script.up_sha256),
                    up_checksum: None,
                    dirty: false,
                    applied_at: String::new(),
                });
            }
        }
        if had == (direction == Direction::Down) {
            Ok(())
        } else {
            Err(format!("the {direction:?} of {version} had its effect twice"))
        }
    }

    pub fn keep(&mut self, record: &Record) {
        match record {
            Record::Release { release, schema } => {
                if !self.is_kept(record) {
                    self.releases.push((release.clone(), schema.clone()));
                }
            }
            Record::Fingerprint { schema, fingerprint } => {
                self.fingerprints.insert(schema.digest(), fingerprint.clone());
            }
        }
    }

    pub fn is_kept(&self, record: &Record) -> bool {
        match record {
            Record::Release { release, schema } => self.releases.iter().any(|(r, s)| r == release && s == schema),
            Record::Fingerprint { schema, fingerprint } => self.fingerprints.get(&schema.digest()) == Some(fingerprint),
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(self.ledger.iter().map(|row| &row.migration.version))
    }
}

/// A table for each migration.
pub fn fingerprint_of<'a>(versions: impl Iterator<Item = &'a Version>) -> Fingerprint {
    Fingerprint {
        format: 1,
        server: "a simulated one".into(),
        objects: versions
            .map(|version| (format!("table t{version}"), "(id)".to_owned()))
            .collect(),
        drifted: BTreeMap::new(),
    }
}
