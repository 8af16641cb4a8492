//! What the planner is asked and what it is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::appfile::{AppFile, Strategy};
use crate::catalog::Catalog;
use crate::model::{Digest, Fingerprint, JournalPlace, SeenAround, SeenCluster, SeenDatabase, Version};

use super::Action;
use super::accept::Accepted;
use super::probes::TriedProbe;

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// To a release, schema and workloads together.
    Release(semver::Version),
    /// The schema alone, so that this version is the newest applied; `None`: nothing is applied.
    Schema(Option<Version>),
    /// The schema alone: undo the newest so many.
    Down(u32),
    /// The schema alone: undo everything above this version, which is applied. What the folder holds is not applied.
    DownTo(Version),
    /// The schema alone: apply everything that the folder holds, or up to and including this version.
    Up(Option<Version>),
    /// The schema alone, up to what this release has: the migrations that it was recorded with, else those up to its
    /// schema in the app file. Nothing is undone.
    UpTo(semver::Version),
}

impl Goal {
    /// Whether nothing is undone on the way.
    pub fn goes_up(&self) -> bool {
        matches!(self, Self::Up(_) | Self::UpTo(_))
    }
}

/// In which order migrations are undone, where the order of application and that of the versions contradict each
/// other (LAWS D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Newest applied first.
    Applied,
    /// Highest version first.
    Version,
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Where to go.
    pub goal: Goal,
    /// The app file, when there is one.
    pub app: Option<&'a AppFile>,
    /// The migrations folder as it was read.
    pub catalog: &'a Catalog,
    /// Whether what downs destroy was accepted: by the app file or the command line.
    pub accept_loss: bool,
    /// Findings that were accepted by name.
    pub accepted: Accepted,
    /// The UIDs of pods of which somebody has said that they are dead (LAWS W14).
    pub dead: BTreeSet<String>,
    /// The order that was chosen, when one was.
    pub order: Option<Order>,
    /// Where the journal is to be kept, when that was said.
    pub journal: Option<JournalPlace>,
}

impl Request<'_> {
    /// Whether the app alone is to go back, because that was asked for.
    pub(super) fn is_app_only(&self) -> bool {
        matches!(self.goal, Goal::Release(_)) && self.app.is_some_and(|app| app.strategy == Strategy::AppOnly)
    }
}

/// Everything that was read of the world for one decision.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The database.
    pub database: SeenDatabase,
    /// The schema's fingerprint now.
    pub fingerprint: Fingerprint,
    /// The recorded fingerprint of the migrations that are applied now.
    pub recorded: Option<Fingerprint>,
    /// The recorded fingerprint that the plan compares with, where somebody has looked ([`compared_schema`]).
    ///
    /// [`compared_schema`]: super::compared_schema
    pub compared: Option<Fingerprint>,
    /// The comparison that was never made, or did not hold, after the downs which led to the migrations that are applied:
    /// the run that should have made it is over. Looked for only where the schema differs from how it was recorded.
    pub unverified: Option<Action>,
    /// The bodies of archived down and up scripts that the plan may need, by checksum; an archive that cannot hand one
    /// out has no entry here, or says why.
    pub bodies: BTreeMap<Digest, Result<Vec<u8>, String>>,
    /// The cluster, when workloads take part.
    pub cluster: Option<SeenCluster>,
    /// What trying the probes has shown (LAWS W17); empty where nobody has tried. It comes and goes, so it is no part of
    /// the world that a plan is made for.
    pub probes: Vec<TriedProbe>,
    /// What lies around the workloads, where somebody has looked. It comes and goes too.
    pub around: Vec<SeenAround>,
    /// What a run needs in the cluster and is not allowed, a sentence each. Asked by whoever means to run the plan.
    pub missing_rights: Vec<String>,
    /// What is not allowed of pairing a revision with its release, a sentence each. A run goes on without it.
    pub missing_pairing: Vec<String>,
    /// What is not allowed of looking at a pod that fails its gate, a sentence each. A run goes on without it.
    pub missing_evidence: Vec<String>,
}
