//! Why a controller does not make a pod, by what it records of its set.

use std::collections::BTreeMap;

use super::judge::unseen_generation;
use super::pods::standing_in_the_way;
use super::set_back::not_counted;
use crate::model::{PodEvent, SeenWorkload};
use crate::plan::Gate;

/// The pod that a gate waits for and that its controller has every reason to make: it is counted, and none stands in the
/// way of it. What is recorded of the set tells why it is missing all the same.
pub fn to_be_made<'a>(gate: &'a Gate, seen: &SeenWorkload) -> Option<&'a str> {
    let Gate::PodHealthy { pod, .. } = gate else {
        return None;
    };
    let set = seen.set.as_ref()?;
    let held = seen.pod(pod).is_some()
        || unseen_generation(set).is_some()
        || not_counted(seen, pod).is_some()
        || standing_in_the_way(seen, pod).is_some();
    (!held).then_some(pod)
}

/// How often a controller has failed to make a pod, by the reason that it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedCreates {
    counts: BTreeMap<String, u64>,
    newest: Option<String>,
}

impl FailedCreates {
    /// Of these events of the set `set`, oldest first, those about this pod. A claim that cannot be made is told of the
    /// pod too (`pkg/controller/statefulset/stateful_pod_control.go`, `CreateStatefulPod`), and counted once.
    pub fn of(events: &[PodEvent], set: &str, pod: &str) -> Self {
        let about = format!("Pod {pod} in StatefulSet {set} failed error: ");
        let mut found = Self::default();
        for event in events.iter().filter(|event| event.reason == "FailedCreate") {
            // Where it records many that differ, it puts "(combined from similar events): " before them; since 1.37 the
            // verb is written with a capital.
            let Some((verb, why)) = event.message.split_once(&about) else {
                continue;
            };
            if !verb.to_lowercase().ends_with("create ") {
                continue;
            }
            *found.counts.entry(why.to_owned()).or_default() += u64::try_from(event.count).unwrap_or(0);
            found.newest = Some(why.to_owned());
        }
        found
    }

    /// The reason of the last one.
    pub fn newest(&self) -> Option<&str> {
        self.newest.as_deref()
    }

    /// How many came since these were read. Counted: whose clock wrote the times does not matter, and what was recorded
    /// before is not taken for new. Events that were dropped in between take nothing away.
    pub fn since(&self, before: &Self) -> u64 {
        let new = self.counts.iter().map(|(why, count)| {
            let before = before.counts.get(why).copied().unwrap_or(0);
            count.saturating_sub(before)
        });
        new.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reason: &str, message: &str, count: i32) -> PodEvent {
        PodEvent {
            at: None,
            warning: true,
            reason: reason.to_owned(),
            message: message.to_owned(),
            count,
        }
    }

    #[test]
    fn w13_failures_to_make_this_very_pod_are_counted_and_nothing_else() {
        let quota = "pods \"web-1\" is forbidden: exceeded quota: small";
        let events = [
            event("SuccessfulCreate", "create Pod web-1 in StatefulSet web successful", 7),
            event(
                "FailedCreate",
                &format!("Create Pod web-1 in StatefulSet web failed error: {quota}"),
                2,
            ),
            event(
                "FailedCreate",
                "create Pod web-10 in StatefulSet web failed error: no",
                5,
            ),
            event(
                "FailedCreate",
                "Create Claim d-web-1 Pod web-1 in StatefulSet web failed error: full",
                9,
            ),
            event(
                "FailedDelete",
                "delete Pod web-1 in StatefulSet web failed error: no",
                5,
            ),
        ];
        let found = FailedCreates::of(&events, "web", "web-1");
        assert_eq!(found.newest(), Some(quota));
        assert_eq!(found.since(&FailedCreates::default()), 2);
        assert_eq!(found.since(&found), 0);

        let other = "(combined from similar events): create Pod web-1 in StatefulSet web failed error: other";
        let later = [event("FailedCreate", other, 1)];
        let later = FailedCreates::of(&later, "web", "web-1");
        // The first has expired meanwhile.
        assert_eq!((later.newest(), later.since(&found)), (Some("other"), 1));
    }
}
