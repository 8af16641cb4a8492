//! What of the world is no longer as it was when a plan was made, in words.
//!
//! Responsible for: comparing a plan's `world` with what is seen now, part by part, and saying of each part what
//! happened to it as far as the plan can tell. Not for: whether a change matters (every one of them forbids the plan).

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::model::{Capture, Direction, ScriptRef, SeenWorkload, Version};

use super::bound::is_other_cluster;
use super::make::world;
use super::request::Seen;
use super::{Action, Plan, Step};

/// A part of the world that has changed since a plan was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which part: a key of [`Plan::world`], `cluster` or `steps`.
    pub part: String,
    /// What happened to it, in a sentence without a full stop.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.what)
    }
}

/// Every part of the world that is not what the plan was made for.
pub fn changes(planned: &Plan, seen: &Seen, catalog: &Catalog) -> Vec<Change> {
    let scripts: Vec<ScriptRef> = planned.scripts().into_iter().cloned().collect();
    // Whether the scripts are still the same is asked one by one, so that each can be named.
    let now = world(seen, &scripts);
    let parts: BTreeSet<&String> = planned.world.keys().chain(now.keys()).collect();
    let mut changes: Vec<Change> = parts
        .into_iter()
        .filter(|part| planned.world.get(*part) != now.get(*part) && *part != "scripts")
        .map(|part| Change {
            part: part.clone(),
            what: describe(part, planned, seen),
        })
        .collect();
    if let Some(what) = other_database(planned, seen)
        && !changes.iter().any(|change| change.part == "database")
    {
        changes.insert(0, change("database", what));
    }
    if let Some(now) = &seen.cluster
        && is_other_cluster(planned, now)
    {
        changes.insert(
            0,
            change("cluster", "it is another one; check --context and --kubeconfig"),
        );
    }
    let exchanged = scripts.iter().filter_map(|script| other_script(script, seen, catalog));
    changes.extend(exchanged.map(|what| change("scripts", what)));
    changes
}

/// Says which step the same request would make another one of now; `None` where all are the same.
pub fn other_steps(planned: &Plan, now: &Plan) -> Option<Change> {
    if planned.steps == now.steps {
        return None;
    }
    let describe = |step: Option<&Step>| step.map_or("nothing".to_owned(), |step| step.action.describe());
    let length = planned.steps.len().max(now.steps.len());
    let differs = (0..length).find(|at| planned.steps.get(*at) != now.steps.get(*at))?;
    let (was, is) = (describe(planned.steps.get(differs)), describe(now.steps.get(differs)));
    let number = differs + 1;
    Some(change(
        "steps",
        if was == is {
            format!("step {number} ({was}) would be carried out or waited for in another way now")
        } else {
            format!("step {number} is `{was}` in the plan, and would be `{is}` now")
        },
    ))
}

fn change(part: &str, what: impl Into<String>) -> Change {
    Change {
        part: part.to_owned(),
        what: what.into(),
    }
}

fn describe(part: &str, planned: &Plan, seen: &Seen) -> String {
    match part {
        "database" => other_database(planned, seen)
            .unwrap_or_else(|| "it was restored, failed over or cloned, or the URL names another one".to_owned()),
        "ledger" => ledger(planned, seen),
        "schema" => "its tables are not as they were: its fingerprint is another one".to_owned(),
        _ => {
            let workloads = seen.cluster.iter().flat_map(|cluster| &cluster.workloads);
            match workloads.into_iter().find(|seen| seen.workload.to_string() == part) {
                Some(workload) => changed_workload(planned, workload),
                None => "it is not as it was".to_owned(),
            }
        }
    }
}

/// Our own id tells databases apart whose engine has none; it is empty until our tables are made.
fn other_database(planned: &Plan, seen: &Seen) -> Option<String> {
    let (was, is) = (&planned.database.identity, &seen.database.database.identity);
    let other = !was.own.is_empty() && was.own != is.own;
    (other || was.system != is.system || was.database != is.database)
        .then(|| "it is another one than the plan was made for; check where the URL comes from".to_owned())
}

fn ledger(planned: &Plan, seen: &Seen) -> String {
    let (meant, found) = (&planned.database.ledger, &seen.database.database.ledger);
    if meant != found {
        return format!("the plan was made for {meant}, and this is {found}");
    }
    let (was, is) = (&planned.from.schema, seen.database.applied());
    let list = |versions: Vec<&Version>| {
        let names: Vec<String> = versions.into_iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let applied = list(is.0.difference(&was.0).collect());
    let undone = list(was.0.difference(&is.0).collect());
    let mut said = Vec::new();
    if !applied.is_empty() {
        said.push(format!("applied since: {applied}"));
    }
    if !undone.is_empty() {
        said.push(format!("undone since: {undone}"));
    }
    if said.is_empty() {
        "the same migrations are applied, but their rows are others: some were done again".to_owned()
    } else {
        said.join("; ")
    }
}

/// What became of a script that the plan runs: what runs must be what was captured (LAWS D2, W8).
fn other_script(script: &ScriptRef, seen: &Seen, catalog: &Catalog) -> Option<String> {
    let name = &script.migration;
    let row = seen.database.archived(&name.version);
    let up = script.direction == Direction::Up;
    let archived = row.filter(|row| up || row.capture == Capture::Captured);
    let filed = catalog.find(&name.version);
    let is = match (archived, filed) {
        // What is applied is taken from the folder first: it may be newer than what was staged.
        (_, Some(filed)) if up => Some(filed.up.sha256()),
        (Some(row), _) if up => Some(row.up_sha256),
        (Some(row), _) => row.down_sha256,
        (None, Some(filed)) => filed.down.as_ref().map(crate::catalog::Script::sha256),
        (None, None) => return Some(format!("the archive no longer holds {name}")),
    };
    (is != Some(script.sha256)).then(|| {
        let which = if up { "up" } else { "down" };
        format!("the {which} script of {name} is another one than in the plan")
    })
}

fn changed_workload(planned: &Plan, seen: &SeenWorkload) -> String {
    let Some(set) = &seen.set else {
        return "it is gone".to_owned();
    };
    let actions = || {
        let mine = planned.steps.iter().map(|step| &step.action);
        mine.filter(|action| action.workload() == Some(&seen.workload))
    };
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let planned_uid = planned.workload_uids().remove(&seen.workload);
    if planned_uid.is_some_and(|planned| planned != uid) {
        return "it was deleted and made again".to_owned();
    }
    let mut said = Vec::new();
    let replicas = actions().find_map(|action| match action {
        Action::Scale { original, .. } => Some(*original),
        _ => None,
    });
    if let Some(was) = replicas.filter(|was| *was != seen.replicas()) {
        said.push(format!("replicas {was} -> {}", seen.replicas()));
    }
    let images = actions().find_map(|action| match action {
        Action::Repoint { from, .. } => Some(&from.images),
        _ => None,
    });
    for (container, is) in seen.template_images() {
        let was = images.and_then(|images| images.get(&container));
        if let Some(was) = was.filter(|was| **was != is) {
            said.push(format!("image of {container} {was} -> {is}"));
        }
    }
    if said.is_empty() {
        said.push("its spec was changed".to_owned());
    }
    said.join("; ")
}
