//! How long a pod was seen ready.
//!
//! By this process's own clock, from its own first look. The time that is written on the pod is that of another machine:
//! a laptop that is a minute ahead would pass a gate of 30 s at once, one that is behind would time a sound pod out. A
//! resume looks for the first time too, and so waits anew: once more at most what the gate asks for.

use std::time::Duration;

use stepback_core::model::SeenWorkload;
use stepback_core::plan::Gate;
use stepback_core::workload::{Readiness, readiness};
use tokio::time::Instant;

/// The spell of readiness in which the gate's pod was last seen, and since when.
#[derive(Clone, Default)]
pub(super) struct Spell(Option<(Readiness, Instant)>);

impl Spell {
    /// Takes in what is seen now, and says for how long it has been so.
    pub(super) fn see(&mut self, gate: &Gate, seen: &SeenWorkload) -> Duration {
        let now = match gate {
            Gate::PodHealthy { pod, .. } => readiness(seen, pod),
            _ => None,
        };
        match (&self.0, now) {
            (Some((known, since)), Some(now)) if *known == now => since.elapsed(),
            (_, now) => {
                self.0 = now.map(|now| (now, Instant::now()));
                Duration::ZERO
            }
        }
    }
}
