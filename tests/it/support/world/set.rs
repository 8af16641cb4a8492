//! The StatefulSet of the simulated world, and the controller that moves its pods one at a time.

use std::collections::BTreeMap;

use stepback_core::model::{Stamp, TemplateRef, annotation};

pub const UID: &str = "5e7";

/// A change to the set, in one patch with its stamp.
#[derive(Clone, Debug)]
pub enum Change {
    Scale { from: i32, to: i32, original: i32 },
    Repoint { to: TemplateRef },
    GiveBack,
    Stamp { state: String },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Starting,
    Ready,
    Terminating,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub revision: String,
    pub phase: Phase,
    /// Rises with every pod ever made.
    pub uid: u32,
}

/// The set with its pods, index by ordinal.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    pub replicas: i32,
    /// The revision that the template is; also its image's tag.
    pub template: String,
    pub annotations: BTreeMap<String, String>,
    /// Whether `managedFields` name us.
    pub owned: bool,
    /// The `resourceVersion`.
    pub version: u64,
    pub generation: i64,
    pub observed: i64,
    pub current: String,
    pub update: String,
    pub pods: Vec<Pod>,
    /// What happened to pods, in order: `-2` is gone, `+0 1.2.0` was made.
    pub history: Vec<String>,
    made: u32,
}

impl Set {
    pub fn running(replicas: i32, revision: &str) -> Self {
        let made = u32::try_from(replicas).expect("a replica count is not negative");
        let pod = |uid| Pod {
            revision: revision.into(),
            phase: Phase::Ready,
            uid,
        };
        Set {
            replicas,
            template: revision.into(),
            annotations: BTreeMap::new(),
            owned: false,
            version: 1,
            generation: 1,
            observed: 1,
            current: revision.into(),
            update: revision.into(),
            pods: (1..=made).map(pod).collect(),
            history: Vec::new(),
            made,
        }
    }

    pub fn stamped(&self) -> Option<Stamp> {
        self.annotations.get(annotation::STAMP)?.parse().ok()
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
                let ready = self.pods.iter().filter(|pod| pod.phase == Phase::Ready).count();
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
                if !self.pods.is_empty() {
                    breach = Some(format!("repointed while {} pods were there", self.pods.len()));
                }
                if self.template != to {
                    self.template = to;
                    self.generation += 1;
                }
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

    /// One move of the controller and its kubelet. `false`: there is nothing to do.
    pub fn step(&mut self) -> bool {
        let wanted = usize::try_from(self.replicas).expect("a replica count is not negative");
        if self.observed != self.generation {
            self.observed = self.generation;
            self.update.clone_from(&self.template);
        } else if self.pods.last().is_some_and(|pod| pod.phase == Phase::Terminating) {
            self.pods.pop();
            self.history.push(format!("-{}", self.pods.len()));
        } else if let Some(pod) = self.pods.iter_mut().find(|pod| pod.phase == Phase::Starting) {
            pod.phase = Phase::Ready;
        } else if self.pods.len() > wanted {
            let last = self.pods.last_mut().expect("there are more pods than wanted");
            last.phase = Phase::Terminating;
        } else if self.pods.len() < wanted {
            self.made += 1;
            self.history.push(format!("+{} {}", self.pods.len(), self.update));
            self.pods.push(Pod {
                revision: self.update.clone(),
                phase: Phase::Starting,
                uid: self.made,
            });
        } else if self.current != self.update && self.pods.iter().all(|pod| pod.revision == self.update) {
            self.current.clone_from(&self.update);
        } else {
            return false;
        }
        self.version += 1;
        true
    }
}
