//! Findings that a person may accept by name, and what accepting them does.
//!
//! Responsible for: which codes those are, and turning their refusals into warnings that say so. Not for: finding
//! anything. What cannot be undone, or would be a guess about data, is not among them; what a down destroys has words of
//! its own (`--data-loss accept`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Finding, Severity};

/// The codes that can be accepted: whoever runs the plan can know better than what can be seen of the cluster.
pub const ACCEPTABLE: &[&str] = &[
    "autoscaler-active",
    "cluster-differs",
    "configuration-missing",
    "owner-argocd",
    "owner-flux",
    "owner-helm",
    "owner-operator",
    "pod-refused",
    "revision-differs",
];

/// Codes of findings that somebody has accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Accepted(BTreeSet<String>);

/// A code that means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAcceptable {
    /// It says what a down destroys, and that is accepted in another way.
    #[error("what a down destroys is accepted with --data-loss accept")]
    DataLoss,
    /// No finding of this code can be accepted.
    #[error(
        "no finding of that code can be accepted{}; those that can: {}",
        nearest.map(|nearest| format!(" (did you mean {nearest}?)")).unwrap_or_default(),
        ACCEPTABLE.join(", ")
    )]
    Other {
        /// The code that is written most like it.
        nearest: Option<&'static str>,
    },
}

/// Reads a code as it is typed.
///
/// # Errors
/// [`NotAcceptable`] where no finding of this code can be accepted.
pub fn parse_code(text: &str) -> Result<String, NotAcceptable> {
    if ACCEPTABLE.contains(&text) {
        return Ok(text.to_owned());
    }
    if text == "data-loss" {
        return Err(NotAcceptable::DataLoss);
    }
    let distance = |code: &&&str| strsim::damerau_levenshtein(text, code);
    let nearest = ACCEPTABLE.iter().min_by_key(distance);
    Err(NotAcceptable::Other {
        nearest: nearest.filter(|code| distance(code) <= 3).copied(),
    })
}

impl Accepted {
    /// Adds those that another has accepted.
    pub fn extend(&mut self, more: &Self) {
        self.0.extend(more.0.iter().cloned());
    }

    /// The codes, by name.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing was accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A refusal that was accepted becomes a warning that says so; one that could be says how.
    pub(super) fn apply(&self, findings: &mut [Finding]) {
        let refused = |finding: &&mut Finding| {
            finding.severity == Severity::Refusal && ACCEPTABLE.contains(&finding.code.as_str())
        };
        for finding in findings.iter_mut().filter(refused) {
            if self.0.contains(&finding.code) {
                finding.severity = Severity::Warning;
                finding.accepted = true;
            } else {
                finding.remedy = format!("{}; to go on as it is: --accept {}", finding.remedy, finding.code);
            }
        }
    }
}

impl FromIterator<String> for Accepted {
    fn from_iter<I: IntoIterator<Item = String>>(codes: I) -> Self {
        Self(codes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_accepted_is_a_code() {
        assert_eq!(parse_code("owner-helm").as_deref(), Ok("owner-helm"));
        let said = |code| parse_code(code).unwrap_err().to_string();
        assert!(said("owner-hlem").contains("did you mean owner-helm?"));
        let other = said("down-missing");
        assert!(!other.contains("did you mean"), "{other}");
        assert!(other.contains("owner-argocd, owner-flux"), "{other}");
        assert!(said("data-loss").contains("--data-loss accept"));
    }

    #[test]
    fn what_is_accepted_warns_and_what_could_be_says_how() {
        let finding = |code| Finding::refusal(code, "it", "something", "do");
        let mut findings = [finding("owner-helm"), finding("owner-flux"), finding("down-missing")];
        let accepted: Accepted = ["owner-helm", "down-missing"].map(str::to_owned).into_iter().collect();
        accepted.apply(&mut findings);
        let [helm, flux, down] = &findings;
        assert_eq!((helm.severity, helm.accepted), (Severity::Warning, true));
        assert_eq!(flux.remedy, "do; to go on as it is: --accept owner-flux");
        assert_eq!((down.severity, down.accepted), (Severity::Refusal, false));
    }
}
