//! One durable line of the journal.

use serde::{Deserialize, Serialize};

use crate::model::{DatabaseIdentity, DeadPod, Digest, Evidence, PlanId, RunId, StepId, Token, presentable};

/// The version of the line's form. A newer one may be read and shown, but not continued.
///
/// An entry bears the lowest version that can say what it says: whatever is added to it, a field included, gets a higher
/// one, so that a program that does not know it sees that before anything else.
pub const FORMAT: u32 = 1;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The version of this form.
    #[serde(rename = "v")]
    pub format: u32,
    /// Its position in the journal, from 1.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// When it was written, by the coordinator's clock; for people, never for decisions.
    pub at: jiff::Timestamp,
    /// By whose right it was written.
    pub token: Token,
    /// The hash of the entry before it, empty in the first: a line cannot be taken out or put in unseen.
    #[serde(rename = "prev")]
    pub previous: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", rename_all_fields = "camelCase")]
pub enum What {
    /// The run exists.
    RunOpened {
        /// Its name.
        run: RunId,
        /// Its plan.
        plan: PlanId,
        /// Who opened it.
        by: By,
        /// The run that it takes back to where that one started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        aborts: Option<RunId>,
    },
    /// Another process continues, with a token of its own.
    RunResumed {
        /// Who.
        by: By,
        /// The database that the run is bound to from here on, where it is another one than before: restored, failed over
        /// to, or cloned, and accepted by name (LAWS D13).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rebound: Option<Box<DatabaseIdentity>>,
        /// The pods of which whoever resumes has said that they are dead: they are removed by force before anything else,
        /// by every process that carries the run on from here (LAWS W14).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dead: Vec<DeadPod>,
    },
    /// The step may have effects from here on.
    StepStarted {
        /// Which.
        step: StepId,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// All of the step's effects were seen.
    StepApplied {
        /// Which.
        step: StepId,
        /// What was seen.
        seen: String,
    },
    /// The step's gate held.
    StepPassed {
        /// Which.
        step: StepId,
        /// What was seen.
        seen: String,
    },
    /// The run stopped part-way and can be resumed.
    RunHalted {
        /// Why.
        halt: Halt,
    },
    /// The run is over.
    RunClosed {
        /// How it ended.
        outcome: Outcome,
    },
    /// The run ended because another one took over from it.
    RunHandedOver {
        /// The other run.
        to: RunId,
    },
    /// Something of a newer format that this program has no word for. Never written.
    #[serde(other)]
    Unknown,
}

/// How many bytes of one text an entry keeps: what a server or a probe says can be of any length, and an entry that is too
/// long for the journal could not be written at all (LAWS W10).
const TEXT: usize = 12 * 1024;

impl What {
    /// The same, with what others wrote cut to a size that every journal takes, and without what a terminal would obey or
    /// a URL's password would give away.
    #[must_use]
    pub fn presentable(self) -> Self {
        let fit = |text: String| presentable(&text, TEXT);
        match self {
            Self::StepApplied { step, seen } => Self::StepApplied { step, seen: fit(seen) },
            Self::StepPassed { step, seen } => Self::StepPassed { step, seen: fit(seen) },
            Self::RunHalted { halt } => Self::RunHalted {
                halt: Halt {
                    message: fit(halt.message),
                    hint: halt.hint.map(fit),
                    ..halt
                },
            },
            other => other,
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct By {
    /// The user, as the system names them.
    pub user: String,
    /// The host or pod.
    pub host: String,
    /// The process id there.
    pub process: u32,
    /// The program's version.
    pub program: String,
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} (process {})", self.user, self.host, self.process)
    }
}

/// Why a run stopped, as plain data: another process will read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    /// The step that the run stands at.
    pub step: Option<StepId>,
    /// What kind of reason.
    pub kind: HaltKind,
    /// What happened, a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What was to be read of the pod, where a gate about one did not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
}

/// The kinds of reason for a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltKind {
    /// A signal asked for it.
    Interrupted,
    /// The step could not be carried out.
    Failed,
    /// The gate failed.
    Unhealthy,
    /// The gate's limit passed.
    TimedOut,
    /// It cannot be told what has happened.
    Doubtful,
    /// Somebody else changed the world.
    Foreign,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step passed.
    Done,
    /// It stopped part-way; what it did stays, and nothing is left to resume. Only runs without workload steps and
    /// without a doubtful migration end like this by themselves; any that is not over does where somebody closes it as it
    /// stands.
    Stopped,
}

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line's hash is not that of its content: torn, or changed.
    #[error("the line's checksum does not match its content")]
    Hash,
    /// The content is not an entry of a format that this program reads.
    #[error("the line is not a journal entry: {0}")]
    Content(String),
}

impl Entry {
    /// The entry as one line without its line feed: a hash of 16 hex digits, a space, JSON.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("an entry has only string keys and finite numbers");
        format!("{} {json}", hash_of(&json))
    }

    /// Reads a line back. One of a newer format is read as far as it can be understood.
    ///
    /// # Errors
    /// When its hash does not match, or its content is not an entry.
    pub fn from_line(line: &str) -> Result<Self, LineError> {
        let (hash, json) = line.split_once(' ').ok_or(LineError::Hash)?;
        if hash != hash_of(json) {
            return Err(LineError::Hash);
        }
        let content = |error: serde_json::Error| LineError::Content(error.to_string());
        let head: Head = serde_json::from_str(json).map_err(content)?;
        let is_newer = head.format > FORMAT;
        match serde_json::from_str(json) {
            Ok(Self {
                what: What::Unknown, ..
            }) if !is_newer => Err(LineError::Content("its kind is unknown".to_owned())),
            Err(_) if is_newer => Ok(head.into()),
            read => read.map_err(content),
        }
    }

    /// The entry's hash, which the next entry names.
    pub fn hash(&self) -> String {
        let line = self.to_line();
        line[..16].to_owned()
    }
}

/// What every entry of every format begins with.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "v")]
    format: u32,
    #[serde(rename = "seq")]
    sequence: u64,
    at: jiff::Timestamp,
    token: Token,
    #[serde(rename = "prev")]
    previous: String,
}

impl From<Head> for Entry {
    fn from(head: Head) -> Self {
        Self {
            format: head.format,
            sequence: head.sequence,
            at: head.at,
            token: head.token,
            previous: head.previous,
            what: What::Unknown,
        }
    }
}

fn hash_of(json: &str) -> String {
    let mut hex = Digest::of(json.as_bytes()).to_string();
    hex.truncate(16);
    hex
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn w10_a_halt_of_any_length_can_be_recorded(
            message in "[a-zß\n\u{1b}]{0,40}",
            times in 0_usize..2000,
        ) {
            let halt = Halt {
                step: Some(StepId(1)),
                kind: HaltKind::Failed,
                message: message.repeat(times),
                hint: Some(message.repeat(times)),
                evidence: None,
            };
            let what = What::RunHalted { halt }.presentable();
            let line = serde_json::to_string(&what).unwrap();
            // An entry is to fit into a segment of 32 KiB, or little more.
            prop_assert!(line.len() < 40 * 1024, "{} bytes", line.len());
        }
    }
}
