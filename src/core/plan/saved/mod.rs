//! A plan that is kept until somebody carries it out: with everything that it takes to plan again, so that whoever
//! applies it needs neither the app file nor the migrations folder, and learns what has changed since.
//!
//! Responsible for: what a saved plan holds, and (in `file`) how it is written and read. Not for: files (the root
//! crate's `load`), or for what has changed (`changed`). It holds no secret: the URL stays where the plan says it is.

mod file;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::appfile::AppFile;
use crate::catalog::{Catalog, Layout, Migration, Script};
use crate::model::{Digest, Version};

use super::{Accepted, Goal, Order, Plan, Request};

pub use file::{SAVED_FORMAT, SavedPlanError};

/// A plan with its scripts and with what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedPlan {
    /// Who saved it.
    pub origin: Origin,
    /// What was asked for.
    pub asked: Asked,
    /// The plan.
    pub plan: Plan,
    /// The bodies of the scripts that it runs, and of those of `folder`, by checksum.
    pub scripts: BTreeMap<Digest, String>,
    /// The migrations of the plan as they lay in the folder: what the archive does not hold yet is taken from here.
    #[serde(default)]
    folder: Vec<Filed>,
    /// The layout of that folder.
    #[serde(default)]
    layout: Layout,
    /// The app file that it was made with.
    #[serde(default)]
    pub app: Option<AppFile>,
}

/// Who saved a plan, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Host, process and user.
    pub by: String,
    /// The program with its version.
    pub program: String,
    /// When.
    pub at: jiff::Timestamp,
}

/// What was asked for, apart from app file and folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Where to go.
    pub goal: Goal,
    /// Whether what downs destroy was accepted.
    #[serde(default)]
    pub accept_loss: bool,
    /// Findings that were accepted by name.
    #[serde(default, skip_serializing_if = "Accepted::is_empty")]
    pub accepted: Accepted,
    /// The UIDs of pods that were said to be dead.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dead: BTreeSet<String>,
    /// The order that was chosen, when one was.
    #[serde(default)]
    pub order: Option<Order>,
}

/// A migration as it lay in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filed {
    version: Version,
    name: String,
    up: FiledScript,
    #[serde(default)]
    down: Option<FiledScript>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FiledScript {
    file: String,
    sha256: Digest,
}

impl SavedPlan {
    /// A plan that `request` led to, with `bodies` of archived scripts. Workloads keep the namespaces that the plan was
    /// made for, whatever the current one is when it is carried out.
    ///
    /// # Errors
    /// [`SavedPlanError::NoBody`] where a script's body is not known.
    pub fn gather(
        request: &Request<'_>,
        plan: Plan,
        bodies: &BTreeMap<Digest, String>,
        namespace: Option<&str>,
        origin: Origin,
    ) -> Result<Self, SavedPlanError> {
        // Taken apart, so that a request which gains a field is not saved without it.
        let Request {
            goal,
            app,
            catalog,
            accept_loss,
            accepted,
            dead,
            order,
            journal: _,
        } = request;
        let mut scripts = BTreeMap::new();
        for script in plan.scripts() {
            let body = bodies.get(&script.sha256).ok_or_else(|| SavedPlanError::NoBody {
                script: script.migration.to_string(),
            })?;
            scripts.insert(script.sha256, body.clone());
        }
        let used = |migration: &&Migration| {
            let mut used = plan.scripts().into_iter();
            used.any(|script| script.migration.version == migration.version)
        };
        let mut folder = Vec::new();
        for migration in catalog.migrations().iter().filter(used) {
            let mut keep = |script: &Script| {
                scripts.insert(script.sha256(), script.text().to_owned());
                FiledScript {
                    file: script.file().to_owned(),
                    sha256: script.sha256(),
                }
            };
            folder.push(Filed {
                version: migration.version.clone(),
                name: migration.name.clone(),
                up: keep(&migration.up),
                down: migration.down.as_ref().map(&mut keep),
            });
        }
        let mut app = app.cloned();
        for workload in app.iter_mut().flat_map(|app| &mut app.workloads) {
            let namespace = namespace.map(str::to_owned);
            workload.namespace = workload.namespace.take().or(namespace);
        }
        Ok(Self {
            origin,
            asked: Asked {
                goal: goal.clone(),
                accept_loss: *accept_loss,
                accepted: accepted.clone(),
                dead: dead.clone(),
                order: *order,
            },
            plan,
            scripts,
            folder,
            layout: catalog.layout(),
            app,
        })
    }

    /// The folder's part of the plan.
    ///
    /// # Errors
    /// [`SavedPlanError::NoBody`] where the file lacks a body; one that was read lacks none.
    pub fn catalog(&self) -> Result<Catalog, SavedPlanError> {
        let script = |filed: &FiledScript| match self.scripts.get(&filed.sha256) {
            Some(body) => Ok(Script::new(filed.file.clone(), body.as_str())),
            None => Err(SavedPlanError::NoBody {
                script: filed.file.clone(),
            }),
        };
        let migrations = self.folder.iter().map(|filed| {
            Ok(Migration {
                version: filed.version.clone(),
                name: filed.name.clone(),
                up: script(&filed.up)?,
                down: filed.down.as_ref().map(script).transpose()?,
            })
        });
        Ok(Catalog::of(migrations.collect::<Result<_, _>>()?, self.layout))
    }

    /// The request that led to the plan. `catalog` is [`SavedPlan::catalog`].
    pub fn request<'a>(&'a self, catalog: &'a Catalog) -> Request<'a> {
        Request {
            goal: self.asked.goal.clone(),
            app: self.app.as_ref(),
            catalog,
            accept_loss: self.asked.accept_loss,
            accepted: self.asked.accepted.clone(),
            dead: self.asked.dead.clone(),
            order: self.asked.order,
            journal: Some(self.plan.journal.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
