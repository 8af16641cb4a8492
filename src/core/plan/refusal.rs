//! Why a plan cannot be made: everything at once.

use crate::model::{Finding, Severity};

use super::accept::Accepted;

/// A list of findings of which at least one forbids the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals(Vec<Finding>);

impl Refusals {
    /// Splits findings into refusals (with everything else that was found) or the findings of a possible plan.
    pub fn judge(mut findings: Vec<Finding>, accepted: &Accepted) -> Result<Vec<Finding>, Self> {
        accepted.apply(&mut findings);
        if findings.iter().any(|finding| finding.severity == Severity::Refusal) {
            findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            return Err(Self(findings));
        }
        Ok(findings)
    }

    /// All findings, refusals first.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// Those that forbid it.
    pub fn refusing(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.severity == Severity::Refusal)
    }

    /// The codes of the refusals.
    pub fn codes(&self) -> Vec<&str> {
        let refusals = self.refusing();
        refusals.map(|finding| finding.code.as_str()).collect()
    }
}
