//! The wish to stop: set by a signal, read between moves, and the end of a wait.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// For how long, in all, whoever was asked to stop goes on writing down that it did, and giving leases back, where nobody
/// answers.
pub const LEAVING: Duration = Duration::from_secs(5);

/// Read by the executor and by waits.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: watch::Receiver<bool>,
    leaves: Arc<OnceLock<Instant>>,
}

/// Held by whoever may ask for a stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A wish that has not been made yet.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    let stop = Stop {
        asked: receiver,
        leaves: Arc::default(),
    };
    (Stopper(sender), stop)
}

impl Stopper {
    /// Asks for a stop.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether a stop was asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until a stop is asked for; for ever, when nobody can ask any more.
    pub async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// When whoever was asked to stop is to be gone, once nothing is carried out any more: counted from the first time that
    /// this is asked, for all that is left to be done together. `None` while no stop was asked for.
    pub fn leaves_at(&self) -> Option<Instant> {
        self.is_asked()
            .then(|| *self.leaves.get_or_init(|| Instant::now() + LEAVING))
    }

    /// Waits until a stop was asked for and the time to leave has come.
    pub async fn left(&mut self) {
        self.asked().await;
        if let Some(at) = self.leaves_at() {
            tokio::time::sleep_until(at).await;
        }
    }
}
