//! How scripts and other long texts lie in our own tables, the same on every engine.
//!
//! Responsible for: compressing bodies and cutting them into chunks, putting them together again and verifying them,
//! and the checksum that binds an archive row to what it is about (LAWS D2, D3). Not for: the tables.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use stepback_core::model::{Digest, Engine, Version};

use super::DbError;

/// The most that one chunk holds, in bytes: every server's packet limit lets it through.
pub const CHUNK: usize = 1 << 20;

/// Compresses a body and cuts it into chunks of at most [`CHUNK`] bytes; at least one.
pub fn pack(body: &[u8]) -> Vec<Vec<u8>> {
    let packed = compress(body);
    packed.chunks(CHUNK).map(<[u8]>::to_vec).collect()
}

/// Compresses bytes with zlib.
pub fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// Undoes [`compress`].
///
/// # Errors
/// When the bytes are not zlib's.
pub fn decompress(packed: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut body = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut body)?;
    Ok(body)
}

/// Puts a script's chunks together and verifies the body against its name.
///
/// # Errors
/// When a chunk is missing or the body is not what its checksum says.
pub fn unpack(sha256: &Digest, chunks: usize, found: &[Vec<u8>]) -> Result<Vec<u8>, DbError> {
    let damaged = |message: String| DbError::Archive { message };
    if found.is_empty() {
        return Err(damaged(format!("does not hold script {}", sha256.short())));
    }
    if chunks != found.len() {
        return Err(damaged(format!(
            "holds {} of {chunks} parts of script {}",
            found.len(),
            sha256.short()
        )));
    }
    let body = decompress(&found.concat())
        .map_err(|error| damaged(format!("holds a damaged body of script {}: {error}", sha256.short())))?;
    if Digest::of(&body) != *sha256 {
        return Err(damaged(format!(
            "holds a body of script {} that is not what was captured",
            sha256.short()
        )));
    }
    Ok(body)
}

/// What an archive row is about, and is bound to.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    /// The engine.
    pub engine: Engine,
    /// The full name of the ledger.
    pub ledger: &'a str,
    /// The migration.
    pub version: &'a Version,
    /// SHA-256 of the up script.
    pub up: &'a Digest,
    /// SHA-256 of the down script, when there is one.
    pub down: Option<&'a Digest>,
    /// The ledger row; `None` while it is only staged.
    pub ledger_sequence: Option<i64>,
}

impl Binding<'_> {
    /// SHA-256 over everything that the row is bound to.
    pub fn digest(&self) -> Digest {
        let ledger = self
            .ledger_sequence
            .map(|sequence| sequence.to_string())
            .unwrap_or_default();
        Digest::of(format!("{}{ledger}\n", self.before_ledger_row()).as_bytes())
    }

    /// What [`Binding::digest`] is over, up to the ledger row and the line feed after it: for an engine that makes the
    /// digest itself of a row that it has just written.
    pub fn before_ledger_row(&self) -> String {
        let down = self.down.map(ToString::to_string).unwrap_or_default();
        let Self {
            engine,
            ledger,
            version,
            up,
            ..
        } = self;
        format!("{engine}\n{ledger}\n{version}\n{up}\n{down}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_any_size_comes_back() {
        for size in [0, 1, CHUNK, 3 * CHUNK + 7] {
            // Incompressible, so that the chunks are really needed.
            let mut state = 1u32;
            let body: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .take(size)
            .collect();
            let packed = pack(&body);
            assert!(packed.iter().all(|chunk| chunk.len() <= CHUNK));
            assert_eq!(unpack(&Digest::of(&body), packed.len(), &packed).unwrap(), body);
        }
    }

    #[test]
    fn d2_a_missing_or_changed_part_is_found() {
        let body = b"DROP TABLE a;".as_slice();
        let packed = pack(body);
        let name = Digest::of(body);
        assert!(unpack(&name, 1, &[]).is_err());
        assert!(unpack(&name, 2, &packed).is_err());
        assert!(unpack(&name, 1, &pack(b"DROP TABLE b;")).is_err());
        assert!(unpack(&name, 1, &[vec![1, 2, 3]]).is_err());
    }
}
