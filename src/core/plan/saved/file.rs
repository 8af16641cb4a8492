//! The file of a saved plan: versioned, and with a digest over every byte of it.
//!
//! The digest finds accidents and edits; it is no signature. What may run is decided by the archive's checksums when the
//! plan is carried out (LAWS D2, W8), whatever the file says.

use serde::{Deserialize, Serialize};

use super::SavedPlan;
use crate::model::Digest;
use crate::plan::FORMAT;

/// The version of the file's form. Raised when an older program must not carry the plan out.
pub const SAVED_FORMAT: u32 = 1;

const API_VERSION: &str = "stepback.dev/v1";
const KIND: &str = "SavedPlan";
/// What stands in the digest's place while the digest is made.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Why a file is not a saved plan that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedPlanError {
    /// It ends too early, or is no JSON at all.
    #[error("it is not whole, or was edited: {what}")]
    Torn {
        /// What the parser says.
        what: String,
    },
    /// It is something else.
    #[error("it is not a saved plan but {what}")]
    Other {
        /// What it is.
        what: String,
    },
    /// It was written by a newer program.
    #[error("its format is {found} (by {program}), and this program reads formats up to {known}")]
    Newer {
        /// Its format.
        found: u32,
        /// The newest format that is read here.
        known: u32,
        /// The program that wrote it.
        program: String,
    },
    /// It is not as it was written.
    #[error("it was changed since it was saved: its contents do not have the digest that it names")]
    Edited,
    /// It is whole, and still cannot be used.
    #[error("it cannot be read by this version: {what}")]
    Unfit {
        /// Why.
        what: String,
    },
    /// A script without its body.
    #[error("the body of {script} is not known")]
    NoBody {
        /// Which script.
        script: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    format: u32,
    digest: &'a str,
    #[serde(flatten)]
    content: &'a SavedPlan,
}

/// What every format has, so that one that is not known can still be told.
#[derive(Deserialize)]
struct Header {
    kind: Option<String>,
    format: Option<u32>,
    digest: Option<String>,
    origin: Option<Program>,
}

#[derive(Deserialize)]
struct Program {
    program: Option<String>,
}

impl SavedPlan {
    /// The text of the file.
    ///
    /// # Errors
    /// When serde_json cannot write it, which no value of this type makes it do.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let document = Document {
            api_version: API_VERSION,
            kind: KIND,
            format: SAVED_FORMAT,
            digest: BLANK,
            content: self,
        };
        let mut text = serde_json::to_string_pretty(&document)?;
        text.push('\n');
        let digest = Digest::of(&text).to_string();
        Ok(text.replacen(BLANK, &digest, 1))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is not exactly what a program that is not newer has written.
    pub fn read(text: &[u8]) -> Result<Self, SavedPlanError> {
        let header: Header = serde_json::from_slice(text).map_err(|error| SavedPlanError::Torn {
            what: error.to_string(),
        })?;
        if header.kind.as_deref() != Some(KIND) {
            let what = match header.kind.as_deref() {
                Some("Plan") => "a plan as `-o json` prints it, for programs to read".to_owned(),
                Some(kind) => format!("a document of kind {kind}"),
                None => "some other JSON".to_owned(),
            };
            return Err(SavedPlanError::Other { what });
        }
        let program = header.origin.and_then(|origin| origin.program);
        let newer = |found, known| SavedPlanError::Newer {
            found,
            known,
            program: program.clone().unwrap_or_else(|| "an unknown program".to_owned()),
        };
        // The digest's own form may change with the format, so the format is asked first.
        match header.format {
            Some(format) if format > SAVED_FORMAT => return Err(newer(format, SAVED_FORMAT)),
            Some(_) => {}
            None => return Err(SavedPlanError::Edited),
        }
        let digest = header.digest.unwrap_or_default();
        if !is_written_as(text, &digest) {
            return Err(SavedPlanError::Edited);
        }
        let unfit = |what: String| SavedPlanError::Unfit { what };
        let saved: Self = serde_json::from_slice(text).map_err(|error| unfit(error.to_string()))?;
        if saved.plan.format > FORMAT {
            return Err(newer(saved.plan.format, FORMAT));
        }
        saved.check()?;
        Ok(saved)
    }

    /// What the digest alone does not prove: that the names in the plan are those of the contents.
    fn check(&self) -> Result<(), SavedPlanError> {
        let unfit = |what: String| SavedPlanError::Unfit { what };
        let id = self.plan.compute_id().map_err(|error| unfit(error.to_string()))?;
        if id != self.plan.id {
            let by = &self.origin.program;
            return Err(unfit(format!("its plan has another id here than when {by} made it")));
        }
        for (sha256, body) in &self.scripts {
            if Digest::of(body) != *sha256 {
                return Err(unfit(format!("the body of script {} is another one", sha256.short())));
            }
        }
        for script in self.plan.scripts() {
            if !self.scripts.contains_key(&script.sha256) {
                return Err(SavedPlanError::NoBody {
                    script: script.migration.to_string(),
                });
            }
        }
        self.catalog().map(drop)
    }
}

/// Whether the text has this digest, where its own digest is left out.
fn is_written_as(text: &[u8], digest: &str) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let is_digest = digest.parse::<Digest>().is_ok();
    is_digest && Digest::of(text.replacen(digest, BLANK, 1)).to_string() == digest
}
