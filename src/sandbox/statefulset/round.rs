//! One round over one set: what is created, deleted or waited for, and in which order.
//!
//! The order of the questions is that of Kubernetes 1.37 (`pkg/controller/statefulset/stateful_set_control.go`, with
//! the feature `MaxUnavailableStatefulSet` on). Under `OrderedReady` the first thing that has to be waited for ends the
//! round; that is what makes a broken pod block a rollback, and two unready pods block a scale-down for ever.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;

use super::{
    SyncError,
    act::Actor,
    pod::{
        build, identity_matches, in_range, is_available, is_created, is_pending, is_running_and_ready, is_terminal,
        is_terminating, is_unavailable, ordinal, replicas, revision, start_ordinal, storage_matches,
    },
    revision::{Revisions, restore},
    status,
};

/// Whether a phase of the round may be followed by the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// Something has to be waited for.
    Stop,
}

pub(super) struct Round<'a> {
    actor: &'a Actor<'a>,
    set: &'a StatefulSet,
    /// The set with the template of the current revision, and with that of the update.
    current_set: StatefulSet,
    update_set: StatefulSet,
    revisions: &'a Revisions,
    now: Timestamp,
    min_ready: i32,
    /// One thing at a time, in order.
    ordered: bool,
    /// The pods of the set's ordinals in order; one that is missing is one to create.
    replicas: Vec<Pod>,
    /// The pods beyond, highest ordinal first.
    condemned: Vec<Pod>,
}

impl<'a> Round<'a> {
    pub fn new(
        actor: &'a Actor<'a>,
        revisions: &'a Revisions,
        pods: Vec<Pod>,
        now: Timestamp,
    ) -> Result<Self, SyncError> {
        let set = actor.set;
        let spec = &set.spec;
        let mut round = Self {
            actor,
            set,
            current_set: restore(set, &revisions.current)?,
            update_set: restore(set, &revisions.update)?,
            revisions,
            now,
            min_ready: spec.min_ready_seconds.unwrap_or(0),
            ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
            replicas: Vec::new(),
            condemned: Vec::new(),
        };
        let mut slots = vec![None; usize::try_from(replicas(set)).unwrap_or(0)];
        let start = start_ordinal(set);
        for pod in pods {
            match ordinal(&pod) {
                Some(ordinal) if in_range(set, ordinal) => {
                    let slot = usize::try_from(ordinal - start)
                        .ok()
                        .and_then(|index| slots.get_mut(index));
                    if let Some(slot) = slot {
                        *slot = Some(pod);
                    }
                }
                Some(_) => round.condemned.push(pod),
                None => {}
            }
        }
        round.condemned.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod)));
        let place = |(ordinal, slot): (i32, Option<Pod>)| slot.unwrap_or_else(|| round.newborn(ordinal));
        round.replicas = (start..).zip(slots).map(place).collect();
        Ok(round)
    }

    /// A pod for a place that has none: on the current revision below the partition, on the update otherwise.
    fn newborn(&self, ordinal: i32) -> Pod {
        let start = start_ordinal(&self.current_set);
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let on_current = match rolling {
            Some(rolling) => ordinal < start + rolling.partition.unwrap_or(0),
            None if self.strategy() == "RollingUpdate" => {
                let current = self.set.status.as_ref().and_then(|status| status.current_replicas);
                ordinal < start + current.unwrap_or(0)
            }
            None => false,
        };
        if on_current {
            build(&self.current_set, &self.revisions.current.name_any(), ordinal)
        } else {
            build(&self.update_set, &self.revisions.update.name_any(), ordinal)
        }
    }

    fn strategy(&self) -> &str {
        let strategy = self.set.spec.update_strategy.as_ref();
        strategy
            .and_then(|strategy| strategy.type_.as_deref())
            .unwrap_or("RollingUpdate")
    }

    /// Carries the round out. The status is true of the moment even where the round ended in an error.
    pub async fn run(&self) -> (StatefulSetStatus, Result<(), SyncError>) {
        let mut status = status::begin(self.set, self.revisions);
        let living = || self.replicas.iter().chain(&self.condemned);
        status::count(&mut status, self.min_ready, self.now, living());
        if self.set.metadata.deletion_timestamp.is_some() {
            return (status, Ok(()));
        }
        let done = match self.settle().await {
            Ok(Flow::GoOn) if self.strategy() == "OnDelete" => Ok(()),
            Ok(Flow::GoOn) => self.replace_outdated(&mut status).await,
            Ok(Flow::Stop) => Ok(()),
            Err(error) => Err(error),
        };
        (status, done)
    }

    /// Scaling, which comes before updating: replicas in order, then the condemned from the top.
    async fn settle(&self) -> Result<Flow, SyncError> {
        for pod in &self.replicas {
            if self.process_replica(pod).await? == Flow::Stop && self.ordered {
                return Ok(Flow::Stop);
            }
        }
        for pod in &self.condemned {
            if !self.actor.claims_match(&self.update_set, pod).await? {
                self.actor.own_claims(&self.update_set, pod).await?;
            }
        }
        let first_unavailable = self
            .replicas
            .iter()
            .chain(self.condemned.iter().rev())
            .find(|pod| self.is_unavailable(pod))
            .map(ResourceExt::name_any);
        for pod in &self.condemned {
            let is_first_unavailable = first_unavailable.as_ref() == pod.metadata.name.as_ref();
            if self.process_condemned(pod, is_first_unavailable).await? == Flow::Stop && self.ordered {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::GoOn)
    }

    async fn process_replica(&self, pod: &Pod) -> Result<Flow, SyncError> {
        // A pod that ended is replaced, however it ended; its successor is made when it is gone.
        if is_terminal(pod) {
            if !is_terminating(pod) {
                self.actor.delete(pod).await?;
            }
            return Ok(Flow::Stop);
        }
        if !is_created(pod) {
            if self.actor.has_stale_claim(pod).await? {
                return Ok(Flow::Stop);
            }
            self.actor.create(pod).await?;
            return Ok(Flow::Stop);
        }
        if is_pending(pod) {
            self.actor.complete_claims(pod).await?;
        }
        if self.ordered && (is_terminating(pod) || !is_running_and_ready(pod) || !self.is_available(pod)) {
            return Ok(Flow::Stop);
        }
        let claims_match = self.actor.claims_match(&self.update_set, pod).await.unwrap_or(true);
        if !(identity_matches(self.set, pod) && storage_matches(self.set, pod) && claims_match) {
            self.actor.update(&self.update_set, pod).await?;
        }
        Ok(Flow::GoOn)
    }

    async fn process_condemned(&self, pod: &Pod, is_first_unavailable: bool) -> Result<Flow, SyncError> {
        if is_terminating(pod) {
            return Ok(Flow::Stop);
        }
        let healthy = is_running_and_ready(pod) && self.is_available(pod);
        if self.ordered && !healthy && !is_first_unavailable {
            return Ok(Flow::Stop);
        }
        self.actor.delete(pod).await?;
        Ok(Flow::Stop)
    }

    /// The rolling update: pods of another revision go, from the highest ordinal down to the partition, as many at a
    /// time as may be unavailable.
    async fn replace_outdated(&self, status: &mut StatefulSetStatus) -> Result<(), SyncError> {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
        let budget = max_unavailable(
            rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
            self.replicas.len(),
        );
        let unavailable = self.replicas.iter().filter(|pod| self.is_unavailable(pod)).count();
        let outdated = |pod: &&Pod| revision(pod) != self.revisions.update.name_any() && !is_terminating(pod);
        // The partition counts places, not ordinals: a set that starts at 5 has its first place at 0.
        let candidates = || {
            let from = usize::try_from(partition).unwrap_or(0).min(self.replicas.len());
            self.replicas[from..].iter().rev().filter(outdated)
        };
        let broken: Vec<_> = if self.ordered {
            Vec::new()
        } else {
            // Replacing a pod that is down already costs nothing.
            candidates().filter(|pod| !self.is_available(pod)).collect()
        };
        let left = budget.saturating_sub(unavailable);
        let healthy = candidates()
            .filter(|pod| self.ordered || !self.is_unavailable(pod))
            .take(left);
        for pod in broken.into_iter().chain(healthy) {
            self.actor.delete(pod).await?;
            status.current_replicas = status.current_replicas.map(|count| count - 1);
        }
        Ok(())
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, self.min_ready, self.now)
    }

    fn is_unavailable(&self, pod: &Pod) -> bool {
        is_unavailable(pod, self.min_ready, self.now)
    }
}

/// How many pods an update may have down at a time: a number or a share of the replicas, rounded down, at least one.
fn max_unavailable(value: Option<&IntOrString>, replicas: usize) -> usize {
    let number = match value {
        None => 1,
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(1),
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<usize>().ok());
            percent.map_or(1, |percent| replicas * percent / 100)
        }
    };
    number.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_pod_may_be_down() {
        assert_eq!(max_unavailable(None, 3), 1);
        assert_eq!(max_unavailable(Some(&IntOrString::Int(2)), 3), 2);
        assert_eq!(max_unavailable(Some(&IntOrString::String("10%".into())), 3), 1);
        assert_eq!(max_unavailable(Some(&IntOrString::String("50%".into())), 5), 2);
    }
}
