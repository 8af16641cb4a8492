//! What a step does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{
    Digest, Drift, MigrationSet, Pairing, Removal, Scripts, SeenWorkload, TemplateRef, UpdateStrategy, WorkloadRef,
};

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Action {
    /// Runs down scripts in this order, each with its ledger row in one transaction.
    Revert {
        /// The scripts.
        scripts: Scripts,
        /// Whether what they destroy was accepted.
        accept_loss: bool,
    },
    /// Runs up scripts in this order, each with its ledger row in one transaction.
    Apply {
        /// The scripts.
        scripts: Scripts,
    },
    /// Compares the schema with the fingerprint that was recorded when `schema` was last current.
    Verify {
        /// The set that must be applied.
        schema: MigrationSet,
        /// The digest of the recorded fingerprint.
        expected: Digest,
        /// Objects that already differed before the run: drift that this run did not make (LAWS D12).
        drifted: Vec<String>,
        /// What had been changed by hand before the schema was migrated to where the run begins: the target may have been
        /// recorded before that was so, and is then compared without it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        inherited: Drift,
        /// Where it is not known how the schema was recorded before the run, every object as it was then, by the digest
        /// of its definition: what the run leaves as it was is nothing that this run made (LAWS D12).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<BTreeMap<String, Digest>>,
    },
    /// Records the schema's fingerprint for the set of migrations that is now applied.
    TakeFingerprint {
        /// The set.
        schema: MigrationSet,
        /// What is known to have been changed by hand up to there, which the fingerprint remembers.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        drifted: Drift,
    },
    /// Sets a workload's replica count; the original count is written on it in the same patch.
    Scale {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
        /// From this many pods.
        from: i32,
        /// To this many.
        to: i32,
        /// The count before the run.
        original: i32,
    },
    /// Sets a workload's pod template.
    Repoint {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
        /// The template it has.
        from: TemplateRef,
        /// The template it gets.
        to: TemplateRef,
    },
    /// Sets a workload's update strategy; the original is written on it, whole, in the same patch (LAWS W4, W7).
    UpdateStrategy {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
        /// The strategy it has.
        from: UpdateStrategy,
        /// The strategy it gets.
        to: UpdateStrategy,
        /// The strategy before the run.
        original: UpdateStrategy,
    },
    /// Removes one pod by the UID that it is found with, if it is one that is to go; its controller decides whether
    /// another comes in its place.
    RemovePod {
        /// Which workload.
        workload: WorkloadRef,
        /// The workload's UID.
        uid: String,
        /// The pod's name.
        pod: String,
        /// What makes it one that is to go.
        removal: Removal,
        /// Whether it was none when the plan was made: it is only waited for, unless it has become one since.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stays: bool,
    },
    /// Changes nothing: its gate is what counts, where one step has set several pods in motion.
    CheckPod {
        /// Which workload.
        workload: WorkloadRef,
        /// The workload's UID.
        uid: String,
        /// The pod's name.
        pod: String,
    },
    /// Writes on the revision that the workload's pods were started from which release it is (LAWS W1).
    Pair {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
        /// The template that its pods were started from.
        template: TemplateRef,
        /// What is written.
        pairing: Pairing,
    },
    /// Removes our annotations and field ownership from a workload (LAWS W9).
    GiveBack {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
    },
    /// Records which migrations the release is paired with.
    RecordRelease {
        /// The release.
        release: semver::Version,
        /// The migrations.
        schema: MigrationSet,
    },
}

impl Action {
    /// Whether it acts on the database. Such steps are looked at again by every resume (LAWS D13).
    pub fn touches_database(&self) -> bool {
        self.workload().is_none()
    }

    /// Whether it moves the schema.
    pub fn changes_schema(&self) -> bool {
        matches!(self, Self::Revert { .. } | Self::Apply { .. })
    }

    /// The workload it acts on.
    pub fn workload(&self) -> Option<&WorkloadRef> {
        self.target().map(|(workload, _)| workload)
    }

    /// The workload that it acts on, and the UID of the object that is meant.
    pub fn target(&self) -> Option<(&WorkloadRef, &str)> {
        match self {
            Self::Scale { workload, uid, .. }
            | Self::Repoint { workload, uid, .. }
            | Self::UpdateStrategy { workload, uid, .. }
            | Self::RemovePod { workload, uid, .. }
            | Self::CheckPod { workload, uid, .. }
            | Self::Pair { workload, uid, .. }
            | Self::GiveBack { workload, uid } => Some((workload, uid)),
            _ => None,
        }
    }

    /// The pod that carrying it out may remove, of the workload as it is seen, and what makes it one that is to go.
    pub fn removes(&self, seen: &SeenWorkload) -> Option<(String, Removal)> {
        match self {
            Self::RemovePod { pod, removal, .. } => Some((pod.clone(), removal.clone())),
            Self::Scale { from, to, .. } if to < from => Some((seen.pod_name(*to), Removal::BeyondCount)),
            _ => None,
        }
    }

    /// What it does, in a few words of the imperative.
    pub fn describe(&self) -> String {
        match self {
            Self::Revert { scripts, .. } => many("revert", scripts),
            Self::Apply { scripts } => many("apply", scripts),
            Self::Verify { .. } => "compare the schema with its recorded fingerprint".to_owned(),
            Self::TakeFingerprint { .. } => "record the schema's fingerprint".to_owned(),
            Self::Scale { workload, from, to, .. } if to < from => {
                format!("stop a pod of {workload}: {from} -> {to}")
            }
            Self::Scale { workload, from, to, .. } if to == from => format!("hold {workload} at {to}"),
            Self::Scale { workload, from, to, .. } if to - from > 1 => {
                format!("start {} pods of {workload} together: {from} -> {to}", to - from)
            }
            Self::Scale { workload, from, to, .. } => format!("start a pod of {workload}: {from} -> {to}"),
            Self::Repoint { workload, to, .. } => match &to.revision {
                Some(revision) => format!("point {workload} at revision {revision}"),
                None => format!("set the images of {workload}"),
            },
            Self::UpdateStrategy {
                workload, to, original, ..
            } if to == original => format!("give {workload} its update strategy back: {}", to.type_name()),
            Self::UpdateStrategy { workload, to, .. } => {
                format!("set the update strategy of {workload} to {}", to.type_name())
            }
            Self::RemovePod {
                workload,
                pod,
                removal: Removal::BeyondCount,
                ..
            } => format!("remove {pod}, which is left over beyond the replicas of {workload}"),
            Self::RemovePod {
                workload,
                pod,
                removal: Removal::Dead(uid),
                ..
            } => format!("remove {pod} of {workload} by force, which is said to be dead ({uid})"),
            Self::RemovePod {
                workload,
                pod,
                stays: true,
                ..
            }
            | Self::CheckPod { workload, pod, .. } => format!("wait for {pod} of {workload}"),
            Self::RemovePod { workload, pod, .. } => format!("replace {pod} of {workload}"),
            Self::Pair {
                workload,
                template,
                pairing,
                ..
            } => match &template.revision {
                Some(revision) => format!("pair revision {revision} with release {}", pairing.release),
                None => format!("pair the new revision of {workload} with release {}", pairing.release),
            },
            Self::GiveBack { workload, .. } => format!("give {workload} back"),
            Self::RecordRelease { release, .. } => format!("record the pairing of release {release}"),
        }
    }
}

fn many(verb: &str, scripts: &Scripts) -> String {
    match scripts.as_slice() {
        [one] => format!("{verb} {}", one.migration),
        [first, .., last] => {
            format!(
                "{verb} {} migrations, {} to {}",
                scripts.len(),
                first.migration.version,
                last.migration.version
            )
        }
        [] => format!("{verb} nothing"),
    }
}
