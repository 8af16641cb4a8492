//! How long a lease has been silent by our own clock, which nobody sets back (LAWS D4).
//!
//! A heartbeat is a time of the database's clock. Where that was set back after it, a dead holder looks alive until the
//! clock has come so far again: hours. Whoever waits for the lease therefore sees for itself whether anything beats.
//!
//! Responsible for: keeping what was seen last and since when. Not for: taking over. The engines' `lease` use it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stepback_core::model::Token;
use tokio::time::Instant;

/// The heartbeat that was seen last, and since when it has been the same.
#[derive(Default)]
pub(super) struct Silence(Mutex<Option<(Token, i64, Instant)>>);

impl Silence {
    /// Keeps what is seen now, and says whether nothing has beaten for all of the lease's life.
    pub(super) fn has_lasted(&self, token: Token, heartbeat_ms: i64, life: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((last, beat, since)) if (*last, *beat) == (token, heartbeat_ms) => since.elapsed() >= life,
            _ => {
                *seen = Some((token, heartbeat_ms, Instant::now()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn d4_silence_ends_with_every_beat_and_with_every_holder() {
        let (silence, life) = (Silence::default(), Duration::from_secs(15));
        let token = |number| Token { number, nonce: 7 };
        assert!(!silence.has_lasted(token(1), 100, life));
        tokio::time::advance(life / 2).await;
        assert!(!silence.has_lasted(token(1), 101, life), "it has beaten");
        tokio::time::advance(life / 2).await;
        assert!(!silence.has_lasted(token(1), 101, life));
        tokio::time::advance(life / 2).await;
        assert!(silence.has_lasted(token(1), 101, life));
        assert!(!silence.has_lasted(token(2), 101, life), "another holder");
    }
}
