//! The cluster Lease: a `coordination.k8s.io/v1` Lease that says who coordinates.
//!
//! A holder that is late by our clock counts as gone: were it alive after all, it has lost the database's lease to us, and
//! the tokens keep it out, the one on every object and the one that stays here: each write sees it here first (LAWS W6).

use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::{Value, json};
use stepback_core::model::Token;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::{as_us, failure};
use crate::cluster::{ClusterError, MANAGER};

/// Where the token stands on the Lease. It stays when the Lease is given back, so that tokens only rise.
const TOKEN: &str = "stepback.dev/token";

/// How long giving the Lease back waits for a heartbeat that is under way.
const LAST_BEAT: Duration = Duration::from_secs(5);

/// How often giving the Lease back looks again when somebody writes to it at the same moment.
const TRIES: u32 = 4;

/// Who wants the Lease, and for how long at a time.
#[derive(Clone)]
pub(super) struct Claim {
    api: Api<Lease>,
    name: String,
    object: String,
    holder: String,
    token: Token,
    life: Duration,
}

/// A Lease that is held and kept alive. Dropping it ends the heartbeat.
pub(super) struct Held {
    claim: Claim,
    /// Dropping it, or sending, asks the heartbeat to end.
    stop: oneshot::Sender<()>,
    heartbeat: JoinHandle<()>,
}

/// What a Lease says.
enum State {
    Missing,
    /// Nobody holds it, or we do already.
    Free(Lease),
    /// Somebody with a lower token does.
    Taken(Lease),
}

impl Claim {
    pub fn new(client: &Client, namespace: &str, name: &str, holder: &str, token: Token, life: Duration) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            object: format!("Lease {namespace}/{name}"),
            holder: holder.to_owned(),
            token,
            life,
        }
    }

    /// Takes the Lease, waiting for its holder to give it back or to expire.
    pub async fn acquire(self, wait: Duration) -> Result<Held, ClusterError> {
        let deadline = Instant::now() + wait;
        // Since when a holder has not moved, by our own clock.
        let mut still: Option<(Lease, Instant)> = None;
        loop {
            let lease = match self.read().await? {
                State::Missing => match self.create().await {
                    // Somebody was faster: look again.
                    Err(ClusterError::Conflict { .. }) => continue,
                    created => return Ok(self.hold(created?)),
                },
                State::Free(lease) => match self.take(&lease).await {
                    Err(ClusterError::Conflict { .. }) => continue,
                    taken => return Ok(self.hold(taken?)),
                },
                State::Taken(lease) => lease,
            };
            let since = match &still {
                Some((before, since)) if before.spec == lease.spec => *since,
                _ => Instant::now(),
            };
            still = Some((lease.clone(), since));
            let left = self.time_left(&lease, since);
            if left.is_zero() {
                match self.take(&lease).await {
                    Err(ClusterError::Conflict { .. }) => continue,
                    taken => return Ok(self.hold(taken?)),
                }
            }
            if Instant::now() >= deadline {
                return Err(ClusterError::Held {
                    name: self.object.clone(),
                    holder: holder_of(&lease).to_owned(),
                });
            }
            let until = (Instant::now() + left).min(deadline);
            tokio::select! {
                changed = self.change_of(&lease) => changed?,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    async fn read(&self) -> Result<State, ClusterError> {
        let found = self.api.get_opt(&self.name).await.map_err(|error| self.error(error))?;
        let Some(lease) = found else { return Ok(State::Missing) };
        let token = self.token_of(&lease)?;
        if let Some(token) = token
            && token > self.token
        {
            return Err(ClusterError::Fenced {
                object: self.object.clone(),
                token,
            });
        }
        let holder = holder_of(&lease);
        Ok(if holder.is_empty() || self.is_ours(&lease) {
            State::Free(lease)
        } else {
            State::Taken(lease)
        })
    }

    fn token_of(&self, lease: &Lease) -> Result<Option<Token>, ClusterError> {
        let text = lease.metadata.annotations.as_ref().and_then(|all| all.get(TOKEN));
        text.map(|text| text.parse())
            .transpose()
            .map_err(|error| ClusterError::Changed {
                object: self.object.clone(),
                message: format!("its annotation {TOKEN}: {error}"),
            })
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder_of(lease) == self.holder && matches!(self.token_of(lease), Ok(Some(token)) if token == self.token)
    }

    /// How long the holder may still be silent: by its own word, and by what we have seen of it.
    fn time_left(&self, lease: &Lease, since: Instant) -> Duration {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let life = seconds.map_or(self.life, Duration::from_secs);
        let Some(renewed) = spec.renew_time else {
            return Duration::ZERO;
        };
        let silent = Duration::try_from(Timestamp::now().duration_since(renewed.0)).unwrap_or_default();
        life.saturating_sub(silent.max(since.elapsed()))
    }

    async fn create(&self) -> Result<Lease, ClusterError> {
        let now = micro_time(Timestamp::now());
        let mut body = self.body(&now, 0);
        body["metadata"]["name"] = self.name.clone().into();
        let lease: Lease = serde_json::from_value(body).map_err(|error| self.unreadable(&error))?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.api
            .create(&params, &lease)
            .await
            .map_err(|error| self.error(error))
    }

    async fn take(&self, lease: &Lease) -> Result<Lease, ClusterError> {
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let mut body = self.body(&micro_time(Timestamp::now()), transitions.saturating_add(1));
        body["metadata"]["resourceVersion"] = json!(lease.metadata.resource_version);
        self.patch(body).await
    }

    fn body(&self, now: &str, transitions: i32) -> Value {
        json!({
            "metadata": {
                "labels": { "app.kubernetes.io/managed-by": "stepback" },
                "annotations": { TOKEN: self.token.to_string() },
            },
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.life.as_secs().max(1),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        })
    }

    async fn patch(&self, body: Value) -> Result<Lease, ClusterError> {
        let params = as_us();
        let patched = self.api.patch(&self.name, &params, &Patch::Merge(body)).await;
        patched.map_err(|error| self.error(error))
    }

    /// Waits until the Lease is another one than this.
    async fn change_of(&self, lease: &Lease) -> Result<(), ClusterError> {
        let mut states = std::pin::pin!(watcher::watch_object(self.api.clone(), &self.name));
        while let Some(state) = states
            .try_next()
            .await
            .map_err(|error| failure::of_watch(error, &self.object))?
        {
            let version = state.and_then(|state| state.metadata.resource_version);
            if version != lease.metadata.resource_version {
                return Ok(());
            }
        }
        Err(ClusterError::Unreachable(format!("the watch of {} ended", self.object)))
    }

    fn hold(self, lease: Lease) -> Held {
        let (stop, stopped) = oneshot::channel();
        let heartbeat = tokio::spawn(self.clone().beat(lease, stopped));
        Held {
            claim: self,
            stop,
            heartbeat,
        }
    }

    /// Renews the Lease three times in its life, until it is asked to stop or the Lease is somebody else's.
    async fn beat(self, mut lease: Lease, mut stopped: oneshot::Receiver<()>) {
        let pace = (self.life / 3).max(Duration::from_millis(1));
        let mut beats = tokio::time::interval_at(Instant::now() + pace, pace);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                _ = beats.tick() => {}
            }
            // A heartbeat that cannot be written is no loss yet, and no reason to stop trying. One that is not answered
            // makes room for the next: waiting for it, the Lease would expire. It may land later, and is ours then.
            match tokio::time::timeout(pace, self.renew_or_look(&lease)).await {
                Ok(Some(known)) => lease = known,
                Ok(None) => return,
                Err(_) => tracing::warn!("cannot renew {}: no answer within {pace:?}", self.object),
            }
        }
    }

    /// The Lease, renewed where that could be done; `None` where it is not ours any more.
    async fn renew_or_look(&self, lease: &Lease) -> Option<Lease> {
        match self.renew(lease).await {
            Ok(renewed) => return Some(renewed),
            Err(ClusterError::Conflict { .. }) => match self.api.get_opt(&self.name).await {
                Ok(Some(found)) if self.is_ours(&found) => return Some(found),
                Ok(_) => {
                    tracing::warn!("{} is not ours any more", self.object);
                    return None;
                }
                Err(error) => tracing::warn!("cannot look at {}: {error}", self.object),
            },
            Err(ClusterError::Gone { .. }) => {
                tracing::warn!("{} was deleted", self.object);
                return None;
            }
            Err(error) => tracing::warn!("cannot renew {}: {error}", self.object),
        }
        Some(lease.clone())
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, ClusterError> {
        self.patch(json!({
            "metadata": { "resourceVersion": lease.metadata.resource_version },
            "spec": { "renewTime": micro_time(Timestamp::now()) },
        }))
        .await
    }

    fn error(&self, error: kube::Error) -> ClusterError {
        failure::of(error, &self.object)
    }

    fn unreadable(&self, error: &serde_json::Error) -> ClusterError {
        ClusterError::Refused(format!("{}: {error}", self.object))
    }
}

impl Held {
    /// Fails unless the Lease carries our token still, whoever keeps it alive.
    ///
    /// # Errors
    /// [`ClusterError::Fenced`] when it carries another one, [`ClusterError::Changed`] when it carries none.
    pub async fn check(&self) -> Result<(), ClusterError> {
        let claim = &self.claim;
        let found = claim
            .api
            .get_opt(&claim.name)
            .await
            .map_err(|error| claim.error(error))?;
        let Some(lease) = found else {
            return Err(ClusterError::Gone {
                object: claim.object.clone(),
                message: "somebody deleted it, so it cannot tell whether we may still act".to_owned(),
            });
        };
        match claim.token_of(&lease)? {
            Some(token) if token == claim.token => Ok(()),
            Some(token) => Err(ClusterError::Fenced {
                object: claim.object.clone(),
                token,
            }),
            // None of ours takes it off: no coordinator's doing, and no reason to keep silent about it.
            None => Err(ClusterError::Changed {
                object: claim.object.clone(),
                message: format!("its annotation {TOKEN} is gone, so it cannot tell whether we may still act"),
            }),
        }
    }

    /// Gives the Lease back; nothing happens when it is not ours any more.
    pub async fn release(self) -> Result<(), ClusterError> {
        let Self {
            claim,
            stop,
            mut heartbeat,
        } = self;
        drop(stop);
        // A beat that is under way is let finish: it must not land behind the end of our holding. It could not even
        // then take the Lease back, for it carries the version that it knew.
        if tokio::time::timeout(LAST_BEAT, &mut heartbeat).await.is_err() {
            heartbeat.abort();
        }
        for _ in 0..TRIES {
            let found = claim
                .api
                .get_opt(&claim.name)
                .await
                .map_err(|error| claim.error(error))?;
            let Some(lease) = found.filter(|lease| claim.is_ours(lease)) else {
                return Ok(());
            };
            let body = json!({
                "metadata": { "resourceVersion": lease.metadata.resource_version },
                "spec": { "holderIdentity": null, "renewTime": null, "acquireTime": null },
            });
            match claim.patch(body).await {
                Ok(_) | Err(ClusterError::Gone { .. }) => return Ok(()),
                Err(ClusterError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ClusterError::Conflict {
            object: claim.object.clone(),
        })
    }
}

fn holder_of(lease: &Lease) -> &str {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// A time as a Lease holds it: exactly six digits behind the point, or the API server refuses it.
fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_behind_the_point() {
        let time = |text: &str| micro_time(text.parse().unwrap());
        assert_eq!(time("2026-11-23T09:19:48.123456789Z"), "2026-11-23T09:19:48.123456Z");
        assert_eq!(time("2026-11-23T09:19:48Z"), "2026-11-23T09:19:48.000000Z");
    }
}
