//! The schema's fingerprint: whether it is recorded, and what differs from the record after the downs (LAWS D12).

use std::collections::BTreeMap;

use stepback_core::model::{Difference, Digest, Drift, Failure, Fingerprint, MigrationSet, Observed};

use super::World;
use crate::database::DbError;

/// How many differences are shown with their definitions; of more, the names are.
const SHOWN: usize = 12;

/// What the comparison after the downs leaves out: what the run did not make (LAWS D12).
pub(super) struct LeftOut<'a> {
    /// What differed from its record when the run began.
    pub(super) drifted: &'a [String],
    /// What had been changed by hand when that record was made.
    pub(super) inherited: &'a Drift,
    /// Where there was no record, everything as it was.
    pub(super) before: Option<&'a BTreeMap<String, Digest>>,
}

impl LeftOut<'_> {
    fn has(&self, difference: &Difference, expected: &Fingerprint) -> bool {
        let object = &difference.object;
        // What had been changed when the target was recorded too is in its fingerprint.
        let since = |was| expected.drifted.get(object) != Some(was);
        let is_as_before = |before: &BTreeMap<String, Digest>| before.get(object).copied() == difference.found_digest();
        self.drifted.contains(object)
            || self.inherited.get(object).is_some_and(since)
            || self.before.is_some_and(is_as_before)
    }
}

impl World<'_> {
    /// Whether the schema's fingerprint, as it is, is the one that is recorded for this state.
    pub(super) async fn observe_taken(&self, schema: &MigrationSet, drifted: &Drift) -> Result<Observed, Failure> {
        let failed = |error: DbError| error.to_failure();
        let Some(recorded) = self.database.recorded_fingerprint(schema).await.map_err(failed)? else {
            return Ok(Observed::Untouched);
        };
        let found = self.database.fingerprint().await.map_err(failed)?;
        Ok(if recorded.digest() == found.digest() && recorded.drifted == *drifted {
            Observed::Done(format!("fingerprint {} is recorded", found.digest().short()))
        } else {
            Observed::Untouched
        })
    }

    pub(super) async fn verify(
        &self,
        schema: &MigrationSet,
        planned: &Digest,
        left_out: &LeftOut<'_>,
    ) -> Result<Observed, Failure> {
        let failed = |error: DbError| error.to_failure();
        let Some(expected) = self.database.recorded_fingerprint(schema).await.map_err(failed)? else {
            return Ok(Observed::Doubtful(
                "the fingerprint that the plan compares with is no longer recorded".into(),
            ));
        };
        if expected.digest() != *planned {
            return Ok(Observed::Doubtful(
                "another fingerprint is recorded for this state than the plan compares with".into(),
            ));
        }
        let found = self.database.fingerprint().await.map_err(failed)?;
        if !expected.is_comparable(&found) {
            return Ok(Observed::Done(format!(
                "not compared: the fingerprint was recorded on {}, this is {}",
                expected.server, found.server
            )));
        }
        let made: Vec<_> = expected
            .differences(&found)
            .into_iter()
            .filter(|difference| !left_out.has(difference, &expected))
            .collect();
        if made.is_empty() {
            let reordered = expected.reordered(&found);
            return Ok(Observed::Done(if reordered.is_empty() {
                format!("fingerprint {} as recorded", found.digest().short())
            } else {
                format!("as recorded, but for the order of columns in {}", reordered.join(", "))
            }));
        }
        let mut text = "the schema differs from how it was recorded for this state:".to_owned();
        for difference in made.iter().take(SHOWN) {
            text.push_str("\n  ");
            text.push_str(&difference.to_string());
        }
        if let Some(rest) = made.get(SHOWN..).filter(|rest| !rest.is_empty()) {
            let names: Vec<&str> = rest.iter().map(|difference| difference.object.as_str()).collect();
            text.push_str(&format!("\n  and {} more: {}", rest.len(), names.join(", ")));
        }
        Ok(Observed::Foreign(text))
    }
}
