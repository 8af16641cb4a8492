//! The right to act: the database's lease first, then the cluster's, and the takeover's stamps (LAWS W6).

use std::time::Duration;

use stepback_core::journal::{RunState, StepState};
use stepback_core::model::{
    LeaseSeen, RunId, RunRow, RunStatus, SeenDatabase, SeenWorkload, Stamp, StepId, Token, WorkloadRef, annotation,
};
use stepback_core::plan::{Plan, RunLimits};
use tokio::time::Instant;

use super::resume::unfit;
use super::{Coordinator, Held, RoadError, Unfit};
use crate::cluster::{ClusterError, Parts};
use crate::database::{DbError, LeaseRequest};
use crate::journal::Stored;
use crate::run::over_status::over_status;
use crate::run::{Event, Listen, Stop};

/// How long one wait for the database's lease is, before it is asked whether to stop.
const LISTEN: Duration = Duration::from_millis(500);

/// How far above the tokens of this database one that was written elsewhere may be: a database restored from a backup has
/// forgotten some. Stamps and journals can be edited by whoever may edit ConfigMaps and workloads (LAWS W8), and every
/// token must stay below the next one.
const FORGOTTEN: u64 = 1 << 32;

/// The highest token that this database knows.
#[derive(Clone, Copy)]
struct Reached(u64);

impl Reached {
    fn check(self, elsewhere: u64) -> Result<(), RoadError> {
        let Self(here) = self;
        if elsewhere > here.saturating_add(FORGOTTEN) {
            return Err(RoadError::ForgedToken { elsewhere, here });
        }
        Ok(())
    }
}

/// What the leases are taken for.
pub(super) struct Claim<'a> {
    pub(super) limits: RunLimits,
    pub(super) app: Option<&'a str>,
    /// Where the cluster Lease lies, when workloads take part.
    pub(super) namespace: Option<&'a str>,
}

impl Coordinator {
    /// Says whose lease is waited for, where somebody's is alive: the wait can take as long as that lease lives.
    fn say_who_holds(lease: Option<&LeaseSeen>, limit: Duration, listener: &mut dyn Listen) {
        if let Some(lease) = lease.filter(|lease| lease.is_alive()) {
            let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f32();
            listener.hear(Event::Held {
                reason: format!(
                    "{} holds the lease; if it is dead, the lease ends in {:.0} s (waiting at most {:.0} s)",
                    lease.holder,
                    seconds(lease.life_ms.saturating_sub(lease.age_ms)).ceil(),
                    limit.as_secs_f32(),
                ),
            });
        }
    }

    /// The workloads as they are; none where no cluster is connected.
    pub(super) async fn look_at(&self, workloads: &[WorkloadRef]) -> Result<Vec<SeenWorkload>, RoadError> {
        match self.cluster.as_ref().filter(|_| !workloads.is_empty()) {
            Some(cluster) => Ok(cluster.look(workloads).await?.workloads),
            None => Ok(Vec::new()),
        }
    }

    /// The highest token that is written on a workload: a lease must be issued above it.
    pub(super) async fn highest_stamp(&self, workloads: &[WorkloadRef]) -> Result<u64, RoadError> {
        Ok(highest_stamp(&self.look_at(workloads).await?))
    }

    /// Sees that no workload is in the hands of another run, such as one that halted on another database, or on this one
    /// before it was restored: its workloads would be started on a schema that is not theirs (LAWS W7).
    pub(super) async fn see_workloads_free(
        &self,
        database: &SeenDatabase,
        workloads: &[SeenWorkload],
    ) -> Result<(), RoadError> {
        for seen in workloads {
            let Some(text) = seen.annotation(annotation::STAMP) else {
                continue;
            };
            let Ok(stamp) = text.parse::<Stamp>() else {
                return Err(RoadError::NoStamp {
                    workload: seen.workload.clone(),
                    text: text.to_owned(),
                });
            };
            let own = database.open_run.as_ref().is_some_and(|row| row.run == stamp.run);
            let closed = |row: &RunRow| row.run == stamp.run && row.status == RunStatus::Closed;
            if own || (database.prepared && self.database.runs().await?.iter().any(closed)) {
                continue;
            }
            return Err(RoadError::WorkloadHeld {
                line: seen.annotation(annotation::STATE).map(str::to_owned),
                workload: seen.workload.clone(),
                run: stamp.run,
            });
        }
        Ok(())
    }

    /// Takes both leases for a run that was read, with a token above every one that its journal or its workloads bear.
    ///
    /// # Errors
    /// As [`Coordinator::take_leases`].
    pub(super) async fn take_leases_of(
        &self,
        stored: &Stored,
        stop: &Stop,
        listener: &mut dyn Listen,
    ) -> Result<Held, RoadError> {
        let newest = stored.entries.last().map_or(0, |entry| entry.token.number);
        let above = self.highest_stamp(&stored.plan.workloads()).await?.max(newest);
        self.take_leases(&stored.plan, above, stop, listener).await
    }

    /// Takes both leases for a plan, with a token above that one, and says whose lease is waited for.
    ///
    /// # Errors
    /// [`RoadError::Stopped`] when a stop was asked for before, or is until both are held: then none is.
    pub(super) async fn take_leases(
        &self,
        plan: &Plan,
        above: u64,
        stop: &Stop,
        listener: &mut dyn Listen,
    ) -> Result<Held, RoadError> {
        let claim = Claim {
            limits: plan.limits,
            app: plan.app.as_deref(),
            namespace: plan.cluster.as_ref().map(|cluster| cluster.namespace.as_str()),
        };
        self.take(&claim, above, stop, listener).await
    }

    /// As [`Coordinator::take_leases`], where there is no plan.
    pub(super) async fn take(
        &self,
        claim: &Claim<'_>,
        above: u64,
        stop: &Stop,
        listener: &mut dyn Listen,
    ) -> Result<Held, RoadError> {
        let seen = self.database.look().await?;
        let reached = Reached(seen.highest_token);
        reached.check(above)?;
        Self::say_who_holds(
            seen.lease.as_ref(),
            Duration::from_millis(claim.limits.lock_ms),
            listener,
        );
        let held = self.take_both(claim, above, reached, stop).await?;
        if stop.is_asked() {
            self.release().await;
            return Err(RoadError::Stopped);
        }
        Ok(held)
    }

    /// The database's lease first, because it issues the token; then the cluster's (LAWS W6).
    async fn take_both(&self, claim: &Claim<'_>, above: u64, reached: Reached, stop: &Stop) -> Result<Held, RoadError> {
        let life = Duration::from_millis(claim.limits.lease_ms);
        let wait = Duration::from_millis(claim.limits.lock_ms);
        let holder = self.by.to_string();
        let mut request = LeaseRequest {
            holder: holder.clone(),
            life,
            wait,
            above,
        };
        let (Some(namespace), Some(cluster)) = (claim.namespace, &self.cluster) else {
            let token = self.acquire(&request, stop).await?;
            return Ok(Held { token });
        };
        let name = format!("stepback-{}", claim.app.unwrap_or("app"));
        loop {
            let token = self.acquire(&request, stop).await?;
            let mut stop = stop.clone();
            let acquired = tokio::select! {
                biased;
                acquired = cluster.acquire(namespace, &name, &holder, token, life, wait) => acquired,
                // A Lease that is taken at this very moment ends by itself: nobody keeps it alive.
                () = stop.asked() => {
                    self.release().await;
                    return Err(RoadError::Stopped);
                }
            };
            match acquired {
                Ok(()) => return Ok(Held { token }),
                // The cluster has seen a higher token than the database remembers: it may have been restored from a
                // backup. A token must be above every one seen anywhere, so it is issued again.
                Err(ClusterError::Fenced { token: seen, .. }) if seen.number > request.above => {
                    self.release().await;
                    reached.check(seen.number)?;
                    request.above = seen.number;
                }
                Err(error) => {
                    self.release().await;
                    return Err(error.into());
                }
            }
        }
    }

    /// Takes the database's lease, listening for a stop between two waits: an attempt to take it is never dropped.
    async fn acquire(&self, request: &LeaseRequest, stop: &Stop) -> Result<Token, RoadError> {
        let deadline = Instant::now() + request.wait;
        loop {
            if stop.is_asked() {
                return Err(RoadError::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = LeaseRequest {
                wait: left.min(LISTEN),
                ..request.clone()
            };
            match self.database.acquire(&attempt).await {
                Err(DbError::Held(_) | DbError::Busy { .. } | DbError::ToolLock { .. }) if left > LISTEN => {}
                acquired => return Ok(acquired?),
            }
        }
    }

    /// As [`Coordinator::release`], but whoever was asked to stop waits for no answer for longer than it is to be here.
    pub(super) async fn release_leaving(&self, stop: &Stop) {
        match stop.leaves_at() {
            None => self.release().await,
            Some(at) => {
                // The cluster may be silent: the database is still told.
                if tokio::time::timeout_at(at, self.release_cluster()).await.is_err() {
                    tracing::warn!("the cluster lease was not given back: no answer; it ends by itself");
                }
                if tokio::time::timeout(LISTEN, self.release_database()).await.is_err() {
                    tracing::warn!("the lease was not given back: no answer; it ends by itself");
                }
            }
        }
    }

    /// Gives both leases back, in reverse. What cannot be given back dies by itself.
    pub(super) async fn release(&self) {
        self.release_cluster().await;
        self.release_database().await;
    }

    async fn release_cluster(&self) {
        if let Some(cluster) = &self.cluster
            && let Err(error) = cluster.release().await
        {
            tracing::warn!(%error, "the cluster lease could not be given back; it ends by itself");
        }
    }

    async fn release_database(&self) {
        if let Err(error) = self.database.release().await {
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
    }

    /// A takeover first stamps its token on every workload of the plan, so that a sleeper's write meets it (LAWS W6).
    pub(super) async fn stamp_takeover(
        &self,
        held: &Held,
        run: &RunId,
        plan: &Plan,
        state: &RunState,
    ) -> Result<(), RoadError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let step = state.current().unwrap_or(StepId(0));
        for (workload, uid) in plan.workload_uids() {
            let given_back = plan.steps.iter().any(|step| {
                matches!(&step.action, stepback_core::plan::Action::GiveBack { workload: other, .. } if *other == workload)
                    && matches!(state.step(step.id), Some(StepState::Applied | StepState::Passed))
            });
            // What was given back must stay free of our marks; a sleeper's write to it meets the cluster Lease.
            if given_back {
                continue;
            }
            let stamp = Stamp {
                run: run.clone(),
                step,
                token: held.token,
            };
            let line = format!("run {run}: resumed at step {step}; to continue: stepback resume {run}");
            match over_status(|| cluster.stamp(&workload, &uid, &stamp, &line)).await {
                Err(gone @ ClusterError::Gone { .. }) => {
                    return Err(unfit(run, Unfit::WorkloadGone(gone.to_string())));
                }
                stamped => stamped?,
            }
            let current = plan.step(step).filter(|step| step.action.workload() == Some(&workload));
            let Some(current) = current else { continue };
            // A removal of this step may be in flight; that pod's version must be another when it arrives.
            let removed = current
                .action
                .removes(&cluster.look_at(&workload, Parts::default()).await?);
            if let Some((pod, removal)) = removed {
                over_status(|| cluster.stamp_pod(&workload, &uid, &pod, &removal, &stamp)).await?;
            }
        }
        Ok(())
    }
}

/// The highest token that is written on one of these.
pub(super) fn highest_stamp(seen: &[SeenWorkload]) -> u64 {
    let stamps = seen
        .iter()
        .filter_map(|seen| seen.annotation(annotation::STAMP)?.parse::<Stamp>().ok());
    stamps.map(|stamp| stamp.token.number).max().unwrap_or(0)
}
