//! Whether a run that halts may be taken back with nobody asked.

use super::abort::begun;
use super::ways::{NEW, PodOf, SOUND, app, back, shop};
use super::*;
use crate::plan::better_than_found;

/// What speaks against going back, with so many of the pods' gates passed.
fn said(pods: &[PodOf], passed: usize) -> Option<String> {
    let plan = back(&app(NEW, NEW, ""), shop(pods, |_| {})).unwrap();
    let waits = |step: &&Step| matches!(step.gate, Gate::PodHealthy { .. });
    let gates: Vec<usize> = plan
        .steps
        .iter()
        .filter(waits)
        .map(|step| usize::try_from(step.id.0).unwrap())
        .collect();
    assert_eq!(gates.len(), pods.len());
    // The step after the last that has passed was started.
    let steps = passed.checked_sub(1).map_or(1, |last| gates[last] + 1);
    better_than_found(&plan, &begun(&plan, steps))
}

#[test]
fn w5_nothing_that_became_better_is_given_up_by_itself() {
    assert_eq!(said(&SOUND, 0), None);
    assert_eq!(said(&SOUND, 2), None);
    assert_eq!(
        said(&SOUND, 3).as_deref(),
        Some("every pod runs the target and is healthy")
    );
    const ILL: [PodOf; 3] = [(0, "1.3.0", false), (1, "1.3.0", false), (2, "1.3.0", true)];
    assert_eq!(said(&ILL, 0), None);
    let healed = said(&ILL, 1).unwrap();
    assert!(
        healed.contains("was not ready before the run, and is healthy"),
        "{healed}"
    );
}
