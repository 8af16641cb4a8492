//! One script as it lies on disk.

use std::fmt;
use std::sync::Arc;

use crate::model::{Digest, Engine};
use crate::sql;

/// A script: exactly the bytes of its file, which are UTF-8, and their SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    text: Arc<str>,
    sha256: Digest,
    file: String,
}

impl Script {
    /// A script of this text, and where it comes from (a file's name, or words such as `archive`).
    pub fn new(file: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self {
            sha256: Digest::of(text.as_bytes()),
            text,
            file: file.into(),
        }
    }

    /// The text, line endings and all.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The SHA-256 of exactly the file's bytes.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// The name of the file, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether running it would do nothing ([`sql::is_empty`]).
    pub fn is_empty(&self, dialect: Engine) -> bool {
        sql::is_empty(&self.text, dialect)
    }
}

impl fmt::Debug for Script {
    /// Without the text, which can be megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Script({}, {} bytes, {})",
            self.file,
            self.text.len(),
            self.sha256.short()
        )
    }
}
