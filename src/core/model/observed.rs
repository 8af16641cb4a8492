//! What was seen of a step, and how its gate settled.

use serde::{Deserialize, Serialize};

use super::Progress;

/// What the world says about a started step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observed {
    /// Nothing of it has happened.
    Untouched,
    /// Some of it has happened; the rest can be carried out.
    Partial(Progress),
    /// All of it has happened. The sentence says what was seen.
    Done(String),
    /// It cannot be told; a person must look. The sentence says why.
    Doubtful(String),
    /// The world was changed by somebody else. The sentence says how.
    Foreign(String),
}

/// How a gate settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Settled {
    /// Everything that the gate asks for holds. The sentence says what was seen.
    Healthy(String),
    /// It can never hold. The sentence says why.
    Failed(String),
    /// It can never hold, because somebody else has changed what it is about. The sentence says what.
    Foreign(String),
    /// The limit passed. The sentence is the last reason for waiting.
    TimedOut(String),
    /// We were asked to stop while waiting. The sentence is the last reason for waiting.
    Stopped(String),
    /// The pod that is to be gone stays unless it is removed: the controller leaves it standing. The sentence says why.
    LeftStanding(String),
}

/// A pure judgement of a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds. The sentence says what was seen.
    Healthy(String),
    /// Not yet. The sentence says why.
    Waiting(String),
    /// Never. The sentence says why.
    Failed(String),
    /// Never, because somebody else has changed what it is about. The sentence says what.
    Foreign(String),
    /// Not by itself: the controller leaves the pod standing that is to be gone. The sentence says why.
    LeftStanding(String),
}

/// Why a perform did not succeed, as plain data: another process will read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What to do about it, when that is known.
    pub hint: Option<String>,
    /// Whether trying again can help.
    pub retry: bool,
    /// Whether another coordinator has taken over: ends us with exit code 5, never tried again.
    pub fenced: bool,
}

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// May hurt; does not forbid the plan.
    Warning,
    /// Forbids the plan.
    Refusal,
}

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// A stable code, such as `down-missing`; documented in `docs/findings.md`.
    pub code: String,
    /// How severe.
    pub severity: Severity,
    /// What it is about: a migration, a workload, a table.
    pub subject: String,
    /// What was found, in a sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it would forbid the plan, had nobody accepted it by name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
}

impl Finding {
    /// Its severity, or that it was accepted, in a word.
    pub fn word(&self) -> &'static str {
        match self.severity {
            Severity::Refusal => "refused",
            Severity::Warning if self.accepted => "accepted",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }

    /// A finding of that severity.
    pub fn new(
        severity: Severity,
        code: &str,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            subject: subject.into(),
            message: message.into(),
            remedy: remedy.into(),
            accepted: false,
        }
    }

    /// A finding that forbids the plan.
    pub fn refusal(
        code: &str,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Refusal, code, subject, message, remedy)
    }

    /// A finding that does not.
    pub fn warning(
        code: &str,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, code, subject, message, remedy)
    }
}
