//! Checksums that other tools keep in their ledgers.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha384};

/// Another tool's checksum of a script. It is compared, and written as the tool would; our own name of a script is its
/// SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Checksum {
    /// SHA-384 over exactly the file's bytes, in lower-case hexadecimal digits: sqlx's.
    Sha384(String),
}

impl Checksum {
    /// sqlx's checksum of a script.
    pub fn sha384(text: &[u8]) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(96);
        for byte in Sha384::digest(text) {
            write!(hex, "{byte:02x}").expect("writing to memory does not fail");
        }
        Self::Sha384(hex)
    }

    /// Whether it is the checksum of this script.
    pub fn is_of(&self, text: &[u8]) -> bool {
        match self {
            Self::Sha384(_) => *self == Self::sha384(text),
        }
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha384(hex) => hex,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_sqlx_writes() {
        let known = "24454095d8d7876ca8e842f34296ca645c83e0f7b50f048c99db4b2ff4da659267afc4ef3e994f3d74e18c741165d931";
        let checksum = Checksum::sha384(b"SELECT 1;\n");
        assert_eq!(checksum.hex(), known);
        assert!(checksum.is_of(b"SELECT 1;\n") && !checksum.is_of(b"SELECT 1;\r\n"));
    }
}
