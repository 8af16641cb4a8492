//! Writes to the simulated workload and its pods, as the API server takes or refuses them.

use stepback_core::model::Stamp;

use super::{Change, Refusal, World};

/// A pod as somebody has seen it: what a delete names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodVersion {
    pub ordinal: i32,
    pub uid: u32,
    pub version: u64,
}

impl World {
    pub(super) fn patch(&mut self, version: u64, change: &Change, stamp: &Stamp) -> Result<(), Refusal> {
        if self
            .set
            .stamped()
            .is_some_and(|stamped| stamped.token.number > stamp.token.number)
        {
            return Err(Refusal::Fenced);
        }
        if self.laws.precondition && version != self.set.version {
            return Err(Refusal::Conflict);
        }
        match self.set.write(change, stamp) {
            Err(()) => return Err(Refusal::Changed),
            Ok(None) => {}
            Ok(Some(breach)) => self.breaches.push(breach),
        }
        if !matches!(change, Change::Stamp { .. }) {
            self.watch_intent(stamp, "the workload was changed");
        }
        Ok(())
    }

    /// Whether the pod is still what it was when the write was decided on; `None`: it is gone.
    fn is_unchanged(&self, seen: &PodVersion) -> Option<bool> {
        let pod = self.set.pods.get(&seen.ordinal)?;
        Some(pod.uid == seen.uid && (!self.laws.precondition || pod.version == seen.version))
    }

    pub(super) fn remove_pod(&mut self, seen: &PodVersion, stamp: &Stamp) -> Result<(), Refusal> {
        match self.is_unchanged(seen) {
            None => return Ok(()),
            Some(false) => return Err(Refusal::Conflict),
            Some(true) => {}
        }
        let breach = self.set.remove(seen.ordinal);
        self.breaches.extend(breach);
        self.removals += 1;
        self.watch_intent(stamp, "a pod was removed");
        Ok(())
    }

    pub(super) fn stamp_pod(&mut self, seen: &PodVersion, stamp: &Stamp) -> Result<(), Refusal> {
        match self.is_unchanged(seen) {
            None => {}
            Some(false) => return Err(Refusal::Conflict),
            Some(true) => self.set.stamp_pod(seen.ordinal, stamp),
        }
        Ok(())
    }
}
