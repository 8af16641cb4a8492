//! The StatefulSet of the simulated world, and the controller and kubelet that move its pods one at a time.
//!
//! The set is ordered: its controller goes no further than the first pod that is not ready, and leaves what stands beyond
//! the count alone meanwhile.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepback_core::model::{Pairing, Removal, Stamp, TemplateRef, annotation};

pub const UID: &str = "5e7";

/// A change to the set, in one patch with its stamp.
#[derive(Clone, Debug)]
pub enum Change {
    Scale {
        from: i32,
        to: i32,
        original: i32,
    },
    Repoint {
        to: TemplateRef,
    },
    Strategy {
        from: Value,
        to: Value,
        original: Value,
    },
    /// To a revision of it; the simulation keeps them with the set.
    Pair {
        revision: String,
        pairing: Pairing,
    },
    GiveBack,
    Stamp {
        state: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Starting,
    Ready,
    Terminating,
    /// It starts again and again, and is never ready.
    Broken,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub revision: String,
    pub phase: Phase,
    /// Rises with every pod ever made.
    pub uid: u32,
    /// Its `resourceVersion`.
    pub version: u64,
    pub stamp: Option<Stamp>,
}

/// The set with its pods by ordinal.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    pub replicas: i32,
    /// The revision that the template is; also its image's tag.
    pub template: String,
    pub strategy: Value,
    pub annotations: BTreeMap<String, String>,
    /// Revisions with the releases that they were paired with, in order.
    pub paired: Vec<(String, Pairing)>,
    /// Whether `managedFields` name us.
    pub owned: bool,
    /// The `resourceVersion`.
    pub version: u64,
    pub generation: i64,
    pub observed: i64,
    pub current: String,
    pub update: String,
    pub pods: BTreeMap<i32, Pod>,
    /// What happened to pods, in order: `-2` is gone, `+0 1.2.0` was made.
    pub history: Vec<String>,
    made: u32,
}

impl Set {
    pub fn running(replicas: i32, revision: &str) -> Self {
        let mut set = Set {
            replicas,
            template: revision.into(),
            strategy: json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } }),
            annotations: BTreeMap::new(),
            paired: Vec::new(),
            owned: false,
            version: 1,
            generation: 1,
            observed: 1,
            current: revision.into(),
            update: revision.into(),
            pods: BTreeMap::new(),
            history: Vec::new(),
            made: 0,
        };
        for ordinal in 0..replicas {
            set.make(ordinal);
            set.phase(ordinal, Phase::Ready);
        }
        set.history.clear();
        set
    }

    /// This pod is broken: nothing but its removal helps.
    pub fn break_pod(mut self, ordinal: i32) -> Self {
        self.phase(ordinal, Phase::Broken);
        self
    }

    /// This pod is broken from now on, where it is ready and it is of the release that is left.
    pub fn turn_unready(&mut self, ordinal: i32) {
        if self.is(ordinal, Phase::Ready) && self.update == "1.3.0" {
            self.phase(ordinal, Phase::Broken);
        }
    }

    /// The set with this update strategy.
    pub fn rolled_by(mut self, strategy: Value) -> Self {
        self.strategy = strategy;
        self
    }

    pub fn stamped(&self) -> Option<Stamp> {
        self.annotations.get(annotation::STAMP)?.parse().ok()
    }

    fn is_on_delete(&self) -> bool {
        self.strategy["type"] == "OnDelete"
    }

    fn partition(&self) -> i64 {
        self.strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0)
    }

    fn is(&self, ordinal: i32, phase: Phase) -> bool {
        self.pods.get(&ordinal).is_some_and(|pod| pod.phase == phase)
    }

    fn phase(&mut self, ordinal: i32, phase: Phase) {
        let pod = self.pods.get_mut(&ordinal).expect("the pod is there");
        pod.phase = phase;
        pod.version += 1;
    }

    /// Below a partition a pod is made from the current revision, else from the update.
    fn make(&mut self, ordinal: i32) {
        let on_current = !self.is_on_delete() && i64::from(ordinal) < self.partition();
        let revision = if on_current { &self.current } else { &self.update };
        self.made += 1;
        self.history.push(format!("+{ordinal} {revision}"));
        let pod = Pod {
            revision: revision.clone(),
            phase: Phase::Starting,
            uid: self.made,
            version: 1,
            stamp: None,
        };
        self.pods.insert(ordinal, pod);
    }

    /// Writes, or refuses because the set is in neither of the expected states. `Some`: it should not have been asked.
    pub fn write(&mut self, change: &Change, stamp: &Stamp) -> Result<Option<String>, ()> {
        let mut breach = None;
        match change {
            Change::Scale { from, to, original } => {
                if self.replicas == *to {
                    return Ok(None);
                }
                if self.replicas != *from {
                    return Err(());
                }
                let settled = |pod: &&Pod| matches!(pod.phase, Phase::Ready | Phase::Broken);
                let ready = self.pods.values().filter(settled).count();
                let expected = usize::try_from(*from).expect("a replica count is not negative");
                if ready != expected || self.pods.len() != expected {
                    let pods = self.pods.len();
                    breach = Some(format!("scaled {from} -> {to} while {ready} of {pods} pods were ready"));
                }
                self.replicas = *to;
                self.generation += 1;
                self.annotations
                    .insert(annotation::ORIGINAL_REPLICAS.into(), original.to_string());
            }
            Change::Repoint { to } => {
                let to = to.revision.clone().unwrap_or_default();
                if !self.pods.is_empty() && !self.is_on_delete() {
                    breach = Some(format!("repointed while {} pods were there", self.pods.len()));
                }
                if self.template != to {
                    self.template = to;
                    self.generation += 1;
                }
            }
            Change::Strategy { from, to, original } => {
                if self.strategy == *to {
                    return Ok(None);
                }
                if self.strategy != *from {
                    return Err(());
                }
                self.strategy = to.clone();
                self.generation += 1;
                self.annotations
                    .insert(annotation::ORIGINAL_UPDATE_STRATEGY.into(), original.to_string());
            }
            Change::Pair { revision, pairing } => {
                if self.pods.values().any(|pod| pod.phase != Phase::Ready) {
                    breach = Some(format!("{} was paired before its pods were ready", pairing.release));
                }
                // What is written twice is there once.
                self.paired.retain(|(paired, _)| paired != revision);
                self.paired.push((revision.clone(), pairing.clone()));
                self.version += 1;
                return Ok(breach);
            }
            Change::GiveBack => {
                self.annotations.clear();
                self.owned = false;
                self.version += 1;
                return Ok(None);
            }
            Change::Stamp { state } => {
                self.annotations.insert(annotation::STATE.into(), state.clone());
            }
        }
        self.annotations.insert(annotation::STAMP.into(), stamp.to_string());
        self.owned = true;
        self.version += 1;
        Ok(breach)
    }

    /// Somebody else sets the count.
    pub fn scale_by_another(&mut self, replicas: i32) {
        self.replicas = replicas;
        self.generation += 1;
        self.version += 1;
    }

    /// Whether the pod is one that is to go.
    pub fn is_to_go(&self, ordinal: i32, removal: &Removal) -> bool {
        let Some(pod) = self.pods.get(&ordinal).filter(|pod| pod.phase != Phase::Terminating) else {
            return false;
        };
        match removal {
            Removal::BeyondCount => ordinal >= self.replicas,
            Removal::Outdated(template) => template.revision.as_ref() != Some(&pod.revision),
            // No story of this world has a node that is lost.
            Removal::Dead(_) => false,
        }
    }

    /// Deletes a pod. `Some`: it should not have been asked.
    pub fn remove(&mut self, ordinal: i32) -> Option<String> {
        let away = (0..self.replicas).find(|other| *other != ordinal && !self.is(*other, Phase::Ready));
        let sound = self.is(ordinal, Phase::Ready) && ordinal < self.replicas;
        self.phase(ordinal, Phase::Terminating);
        let away = away.filter(|_| sound)?;
        Some(format!("{ordinal} was removed while {away} was away"))
    }

    pub fn stamp_pod(&mut self, ordinal: i32, stamp: &Stamp) {
        if let Some(pod) = self.pods.get_mut(&ordinal) {
            pod.stamp = Some(stamp.clone());
            pod.version += 1;
        }
    }

    /// One move of the controller and its kubelet. `false`: there is nothing to do.
    pub fn step(&mut self) -> bool {
        let moved = self.observe() || self.step_kubelet() || self.step_controller();
        self.version += u64::from(moved);
        moved
    }

    fn observe(&mut self) -> bool {
        if self.observed == self.generation {
            return false;
        }
        self.observed = self.generation;
        self.update.clone_from(&self.template);
        true
    }

    fn step_kubelet(&mut self) -> bool {
        let in_phase = |phase| self.pods.keys().copied().find(|ordinal| self.is(*ordinal, phase));
        if let Some(ordinal) = in_phase(Phase::Terminating) {
            self.pods.remove(&ordinal);
            self.history.push(format!("-{ordinal}"));
            true
        } else if let Some(ordinal) = in_phase(Phase::Starting) {
            self.phase(ordinal, Phase::Ready);
            true
        } else {
            false
        }
    }

    fn step_controller(&mut self) -> bool {
        for ordinal in 0..self.replicas {
            if !self.pods.contains_key(&ordinal) {
                self.make(ordinal);
                return true;
            }
            if !self.is(ordinal, Phase::Ready) {
                return false;
            }
        }
        if let Some(last) = self.pods.keys().copied().rfind(|ordinal| *ordinal >= self.replicas) {
            self.phase(last, Phase::Terminating);
            return true;
        }
        if self.is_on_delete() {
            return false;
        }
        let outdated =
            |(ordinal, pod): &(&i32, &Pod)| i64::from(**ordinal) >= self.partition() && pod.revision != self.update;
        if let Some(ordinal) = self.pods.iter().rfind(outdated).map(|(ordinal, _)| *ordinal) {
            self.phase(ordinal, Phase::Terminating);
            return true;
        }
        if self.current != self.update && self.pods.values().all(|pod| pod.revision == self.update) {
            self.current.clone_from(&self.update);
            return true;
        }
        false
    }
}
