//! Holding requests: a test stops the n-th matching request before its effect and decides what becomes of it.
//!
//! This is how a client process is killed just before or just after an effect, with no hook in the client. A held
//! request stays alive when its client dies: what a server has accepted, it may still carry out.

use http::Method;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// A request as a matcher sees it, before anything was done for it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The HTTP method.
    pub method: Method,
    /// The path, such as `/apis/apps/v1/namespaces/shop/statefulsets/web`.
    pub path: String,
    /// The query without its `?`; empty if there is none.
    pub query: String,
    /// The body as it was sent.
    pub body: Vec<u8>,
}

impl Asked {
    /// The body as JSON; `Null` where it is empty or something else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// The server ended before the request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox API stopped while a request was awaited or held")]
pub struct Stopped;

type Matcher = Box<dyn Fn(&Asked) -> bool + Send + Sync>;

struct Trap {
    matcher: Matcher,
    /// Matches still to pass before one is held.
    passing: usize,
    caught: oneshot::Sender<Caught>,
}

#[derive(Debug)]
struct Caught {
    asked: Arc<Asked>,
    decide: oneshot::Sender<Decision>,
}

/// What becomes of a held request.
#[derive(Debug)]
pub(super) enum Decision {
    /// Carry it out and answer.
    Answer(oneshot::Sender<u16>),
    /// Carry it out and cut the connection.
    Swallow(oneshot::Sender<u16>),
    /// Answer 500 and do nothing.
    Refuse,
    /// Cut the connection and do nothing.
    Cut,
}

/// The traps that are set.
#[derive(Default)]
pub(super) struct Gate {
    traps: Mutex<Vec<Trap>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn set(&self, nth: usize, matcher: Matcher) -> Hold {
        let (caught, arrival) = oneshot::channel();
        let trap = Trap {
            matcher,
            passing: nth.saturating_sub(1),
            caught,
        };
        self.traps.lock().unwrap_or_else(PoisonError::into_inner).push(trap);
        Hold { arrival, held: None }
    }

    /// Lets a request pass, or waits until the test has decided; `None`: nobody holds it.
    pub(super) async fn pass(&self, asked: &Asked) -> Option<Decision> {
        let decision = self.catch(asked)?;
        // A test that lets go of its hold lets the request through.
        decision.await.ok()
    }

    /// Forgets all traps: whoever awaits an arrival learns that the server has stopped.
    pub(super) fn close(&self) {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn catch(&self, asked: &Asked) -> Option<oneshot::Receiver<Decision>> {
        let mut traps = self.traps.lock().unwrap_or_else(PoisonError::into_inner);
        traps.retain(|trap| !trap.caught.is_closed());
        let mut catcher = None;
        for (place, trap) in traps.iter_mut().enumerate().filter(|(_, trap)| (trap.matcher)(asked)) {
            if trap.passing > 0 {
                trap.passing -= 1;
            } else if catcher.is_none() {
                catcher = Some(place);
            }
        }
        let trap = traps.remove(catcher?);
        let (decide, decision) = oneshot::channel();
        trap.caught
            .send(Caught {
                asked: Arc::new(asked.clone()),
                decide,
            })
            .ok()?;
        Some(decision)
    }
}

/// A request that is held, or will be once it arrives.
///
/// Dropping it lets the request through. Every decision waits for the arrival first.
#[derive(Debug)]
#[must_use = "dropping a hold lets its request through"]
pub struct Hold {
    arrival: oneshot::Receiver<Caught>,
    held: Option<Caught>,
}

impl Hold {
    /// Waits until the request is there; it has had no effect yet.
    ///
    /// # Errors
    /// [`Stopped`] when the server ends first.
    pub async fn arrived(&mut self) -> Result<Arc<Asked>, Stopped> {
        if self.held.is_none() {
            self.held = Some((&mut self.arrival).await.map_err(|_| Stopped)?);
        }
        self.held.as_ref().map(|caught| caught.asked.clone()).ok_or(Stopped)
    }

    /// Carries the request out and answers its client. Returns the answer's code, after the effect.
    ///
    /// # Errors
    /// [`Stopped`] when the server ends first.
    pub async fn let_through(self) -> Result<u16, Stopped> {
        let (done, code) = oneshot::channel();
        self.decide(Decision::Answer(done)).await?;
        code.await.map_err(|_| Stopped)
    }

    /// Carries the request out and cuts the client's connection instead of answering: a lost reply. Returns the code
    /// that the answer would have had, after the effect.
    ///
    /// # Errors
    /// [`Stopped`] when the server ends first.
    pub async fn perform_and_drop_reply(self) -> Result<u16, Stopped> {
        let (done, code) = oneshot::channel();
        self.decide(Decision::Swallow(done)).await?;
        code.await.map_err(|_| Stopped)
    }

    /// Answers with 500 and no effect.
    ///
    /// # Errors
    /// [`Stopped`] when the server ends first.
    pub async fn refuse(self) -> Result<(), Stopped> {
        self.decide(Decision::Refuse).await
    }

    /// Cuts the client's connection, with no effect.
    ///
    /// # Errors
    /// [`Stopped`] when the server ends first.
    pub async fn drop_request(self) -> Result<(), Stopped> {
        self.decide(Decision::Cut).await
    }

    async fn decide(mut self, decision: Decision) -> Result<(), Stopped> {
        self.arrived().await?;
        let caught = self.held.take().ok_or(Stopped)?;
        caught.decide.send(decision).map_err(|_| Stopped)
    }
}
