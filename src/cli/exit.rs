//! How the process ends.

use std::process::ExitCode;

/// How the process ends (SPEC 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A mistake of ours.
    Internal = 1,
    /// Bad usage or a bad app file.
    Usage = 2,
    /// Refused; nothing was touched.
    Refused = 3,
    /// Halted part-way; a resume can continue.
    Halted = 4,
    /// Another run holds the lock.
    Locked = 5,
    /// Something cannot be reached; nothing was touched.
    Unreachable = 6,
    /// Interrupted; a resume can continue.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
