//! Appending an entry to the newest segment.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};
use stepback_core::journal::Entry;
use stepback_core::model::RunId;

use super::objects::{self, SEGMENT_BYTES, Segment};
use super::{ClusterJournal, MANAGER};
use crate::journal::JournalError;

/// Bytes of one entry's line, so that it fits into an object of its own.
const LINE_BYTES: usize = 512 * 1024;

/// What is known of a run's newest segment.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    segment: usize,
    version: String,
    sealed: bool,
    lines: String,
    last: Entry,
}

impl Tail {
    fn of(segment: Segment) -> Option<Self> {
        Some(Self {
            last: segment.entries.into_iter().next_back()?,
            segment: segment.index,
            version: segment.version,
            sealed: segment.sealed,
            lines: segment.lines,
        })
    }
}

/// Why a write gave no plain yes.
enum Missed {
    /// Somebody wrote in between, and nothing of ours was.
    Outrun,
    /// It may be there, or still arrive.
    Unknown(String),
    /// It was refused.
    No(JournalError),
}

impl ClusterJournal {
    /// Appends behind what is known, or behind what is read when nothing is; hands back what is known then.
    pub(super) async fn append_behind(
        &self,
        run: &RunId,
        entry: &Entry,
        known: Option<Tail>,
    ) -> Result<Tail, JournalError> {
        let line = entry.to_line() + "\n";
        if line.len() > LINE_BYTES {
            return Err(JournalError::TooLarge {
                bytes: line.len(),
                limit: LINE_BYTES,
            });
        }
        // Whoever appends behind more than we know has read it since.
        let tail = match known.filter(|tail| tail.last.sequence + 1 >= entry.sequence) {
            Some(tail) => Some(tail),
            None => self.read_tail(run).await?,
        };
        if let Some(tail) = &tail
            && tail.last.sequence >= entry.sequence
        {
            return self.find(run, entry).await?.ok_or_else(|| fenced(run));
        }
        match &tail {
            Some(tail) if tail.last.sequence + 1 == entry.sequence => {
                if tail.last.hash() != entry.previous {
                    return Err(fenced(run));
                }
            }
            None if entry.sequence == 1 => {}
            _ => {
                let last = tail.map_or(0, |tail| tail.last.sequence);
                return Err(objects::damaged(
                    run,
                    format!(
                        "entry {} is to be appended, but the last one there is {last}",
                        entry.sequence
                    ),
                ));
            }
        }
        let missed = match self.write(run, tail, line, entry).await {
            Ok(tail) => return Ok(tail),
            Err(missed) => missed,
        };
        // Only what is there now can tell what became of it.
        match missed {
            Missed::No(error) => Err(error),
            Missed::Outrun => match self.find(run, entry).await {
                Ok(Some(tail)) => Ok(tail),
                Ok(None) => Err(JournalError::Unknown(
                    "the segment was changed, but nobody has written our entry".to_owned(),
                )),
                Err(error) => Err(error),
            },
            Missed::Unknown(why) => match self.find(run, entry).await {
                Ok(Some(tail)) => Ok(tail),
                Ok(None) | Err(JournalError::Unreachable(_)) => Err(JournalError::Unknown(why)),
                Err(error) => Err(error),
            },
        }
    }

    async fn read_tail(&self, run: &RunId) -> Result<Option<Tail>, JournalError> {
        let maps = self.list(&objects::segments_of(run)).await?;
        let segments = objects::segments(run, maps)?;
        Ok(segments.into_iter().next_back().and_then(Tail::of))
    }

    /// The tail behind which our entry stands, when it does.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] where somebody else's stands in its place, or somebody with a higher token has written.
    async fn find(&self, run: &RunId, entry: &Entry) -> Result<Option<Tail>, JournalError> {
        let maps = self.list(&objects::segments_of(run)).await?;
        let segments = objects::segments(run, maps)?;
        let entries = segments.iter().flat_map(|segment| &segment.entries);
        let mut present = false;
        for other in entries {
            let taken = other.sequence == entry.sequence && other != entry;
            if taken || other.token > entry.token {
                return Err(fenced(run));
            }
            present |= other == entry;
        }
        Ok(if present {
            segments.into_iter().next_back().and_then(Tail::of)
        } else {
            None
        })
    }

    /// Writes the line into the newest segment, or into a new one once that is full and sealed.
    async fn write(&self, run: &RunId, tail: Option<Tail>, line: String, entry: &Entry) -> Result<Tail, Missed> {
        let Some(tail) = tail else {
            return self.open_segment(run, 0, line, entry).await;
        };
        let full = tail.lines.len() + line.len() > SEGMENT_BYTES;
        if full && !tail.sealed {
            // Whoever still believes in this segment's old version can write neither here nor to the next one.
            let body = json!({ "metadata": { "resourceVersion": tail.version }, "immutable": true });
            self.patch(run, tail.segment, body).await?;
        }
        if full || tail.sealed {
            return self.open_segment(run, tail.segment + 1, line, entry).await;
        }
        let lines = tail.lines + &line;
        let body = json!({ "metadata": { "resourceVersion": tail.version }, "data": { "lines": lines } });
        let written = self.patch(run, tail.segment, body).await?;
        Ok(Tail {
            segment: tail.segment,
            version: written.metadata.resource_version.unwrap_or_default(),
            sealed: false,
            lines,
            last: entry.clone(),
        })
    }

    async fn open_segment(&self, run: &RunId, index: usize, line: String, entry: &Entry) -> Result<Tail, Missed> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let segment = objects::new_segment(run, index, line.clone());
        let created = self.maps.create(&params, &segment).await;
        let created = created.map_err(|error| missed(run, index, error))?;
        Ok(Tail {
            segment: index,
            version: created.metadata.resource_version.unwrap_or_default(),
            sealed: false,
            lines: line,
            last: entry.clone(),
        })
    }

    async fn patch(&self, run: &RunId, index: usize, body: Value) -> Result<ConfigMap, Missed> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = objects::segment_name(run, index);
        let patched = self.maps.patch(&name, &params, &Patch::Merge(body)).await;
        patched.map_err(|error| missed(run, index, error))
    }
}

fn fenced(run: &RunId) -> JournalError {
    JournalError::Fenced(run.clone())
}

fn missed(run: &RunId, index: usize, error: kube::Error) -> Missed {
    let status = match error {
        kube::Error::Api(status) => status,
        other => return Missed::Unknown(other.to_string()),
    };
    match status.code {
        // Another version, or a name that is taken.
        409 => Missed::Outrun,
        // A segment that was sealed in between: one of its fields may not be what it would be. An admission policy answers
        // with the same code, and names no field.
        422 if names_a_field(&status) => Missed::Outrun,
        404 => Missed::No(objects::damaged(
            run,
            format!("segment {index} of its entries was deleted: {}", status.message),
        )),
        _ => match super::refusal(&status, &objects::segment_name(run, index)) {
            Some(refusal) => Missed::No(refusal),
            None => Missed::Unknown(status.message.clone()),
        },
    }
}

fn names_a_field(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| !cause.field.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    /// What an answer of a server means.
    fn means(code: u16, message: &str, cause: Value) -> Missed {
        let status = json!({ "code": code, "message": message, "details": { "causes": [cause] } });
        let status: Status = from_value(status).expect("it is well formed");
        let run = RunId("01J8ZQ4M5N6P7Q8R9S0T1V2W3X".to_owned());
        missed(&run, 3, kube::Error::Api(status.boxed()))
    }

    #[test]
    fn what_cannot_pass_is_refused_at_once_and_what_may_pass_is_tried_again() {
        // Admission webhooks answer with what they like; 400 where they name none.
        let denied = "admission webhook \"no.example\" denied the request: not on Fridays";
        for code in [400, 403, 405, 413, 422] {
            let meant = means(code, denied, json!({ "message": denied }));
            let Missed::No(JournalError::Refused(why) | JournalError::Forbidden(why)) = meant else {
                panic!("{code} may not be retried")
            };
            assert!(why.contains("not on Fridays"), "{why}");
        }
        let full = "configmaps \"run-3\" is forbidden: exceeded quota: maps, requested: count/configmaps=1, used: \
                    count/configmaps=9, limited: count/configmaps=9";
        let full = means(403, full, json!({}));
        assert!(matches!(&full, Missed::No(JournalError::Refused(why)) if why.contains("exceeded quota")));
        let ending = "unable to create new content in namespace a because it is being terminated";
        let ending = means(
            403,
            ending,
            json!({ "reason": "NamespaceTerminating", "field": "metadata.namespace" }),
        );
        assert!(matches!(&ending, Missed::No(JournalError::Refused(why)) if why.contains("being terminated")));
        assert!(matches!(
            means(401, "", json!({})),
            Missed::No(JournalError::Forbidden(_))
        ));
        assert!(matches!(
            means(404, "", json!({})),
            Missed::No(JournalError::Damaged { .. })
        ));

        let sealed = json!({ "reason": "FieldValueForbidden", "field": "data" });
        assert!(matches!(means(422, "field is immutable", sealed), Missed::Outrun));
        assert!(matches!(means(409, "", json!({})), Missed::Outrun));
        for code in [429, 500, 502, 503, 504] {
            assert!(
                matches!(means(code, "busy", json!({})), Missed::Unknown(why) if why == "busy"),
                "{code}"
            );
        }
    }
}
