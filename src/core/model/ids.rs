//! Names of runs, plans and steps, and the proof of who may act: token and stamp.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;

/// One carrying-out of one plan: a ULID as text, so that runs sort by the time they were opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a plan's canonical JSON without this field: same inputs, same plan, same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub Digest);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(&text[..12])
    }
}

/// The position of a step in its plan, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number that proves who may act, one above every number seen before it, plus random bits so that
/// two coordinators which could not see each other never hold the same token (LAWS D4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token {
    /// Rises by at least one with every holder.
    pub number: u64,
    /// Random bits chosen by the holder.
    pub nonce: u32,
}

/// A text that is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a token (NUMBER-HEX)")]
pub struct TokenError(String);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.number, self.nonce)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TokenError(text.to_owned());
        let (number, nonce) = text.split_once('-').ok_or_else(wrong)?;
        // Every engine keeps it as a signed number of 64 bits.
        let number: i64 = number.parse().map_err(|_| wrong())?;
        Ok(Self {
            number: u64::try_from(number).map_err(|_| wrong())?,
            nonce: u32::from_str_radix(nonce, 16).map_err(|_| wrong())?,
        })
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}

/// What every write of ours carries: which run and step it belongs to, and by whose right it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The right to act.
    pub token: Token,
}

impl fmt::Display for Stamp {
    /// `RUN/STEP/TOKEN`, the form in which a stamp is written into an annotation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.run, self.step, self.token)
    }
}

impl FromStr for Stamp {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TokenError(text.to_owned());
        let mut parts = text.splitn(3, '/');
        let (run, step, token) = (parts.next(), parts.next(), parts.next());
        Ok(Self {
            run: RunId(run.filter(|run| !run.is_empty()).ok_or_else(wrong)?.to_owned()),
            step: StepId(step.and_then(|step| step.parse().ok()).ok_or_else(wrong)?),
            token: token.ok_or_else(wrong)?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_what_it_wrote() {
        let stamp = Stamp {
            run: RunId("01J8".into()),
            step: StepId(3),
            token: Token {
                number: 7,
                nonce: 0xbeef,
            },
        };
        assert_eq!(stamp.to_string(), "01J8/3/7-0000beef");
        assert_eq!(stamp.to_string().parse::<Stamp>().unwrap(), stamp);
        for wrong in ["", "01J8", "01J8/x/7-0", "01J8/3/7", "/3/7-00"] {
            assert!(wrong.parse::<Stamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_ordered_by_number_first() {
        let low = Token {
            number: 1,
            nonce: u32::MAX,
        };
        let high = Token { number: 2, nonce: 0 };
        assert!(low < high);
    }
}
