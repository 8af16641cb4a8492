//! The wish to stop: set by a signal, read between moves, and the end of a wait.

use tokio::sync::watch;

/// Read by the executor and by waits.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Held by whoever may ask for a stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A wish that has not been made yet.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
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
        *self.0.borrow()
    }

    /// Waits until a stop is asked for; for ever, when nobody can ask any more.
    pub async fn asked(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
