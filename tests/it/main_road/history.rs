//! What happened to pods and in the journal while a rollback ran, in the order of the server's versions.
//!
//! Versions of different kinds come from one count, in the sandbox as in etcd, so two watches make one history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{from_value, json};
use stepback_core::{
    journal::{What, read_lines},
    model::StepId,
    plan::{Action, Plan},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::stage::{Setting, Stage};
use crate::support::{
    runner::{NotPassed, fail},
    scene::is_ready,
};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Came(String),
    Ready(String),
    Ending(String),
    Gone(String),
    Started(StepId),
    Passed(StepId),
}

/// Marks the end of what is watched.
const LAST: &str = "that-was-all";

type Facts = Arc<Mutex<Vec<(u64, Fact)>>>;

/// Watches that have begun.
pub struct History {
    facts: Facts,
    tasks: [JoinHandle<()>; 2],
    ended: [watch::Receiver<bool>; 2],
}

impl History {
    /// Begins to watch; what is there already is known when this returns.
    pub async fn begin(stage: &Stage) -> Result<History, NotPassed> {
        let facts = Facts::default();
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let (pods, pods_begun, pods_ended) = follow(stage.pods.clone(), Arc::clone(&facts), pod_facts);
        let (maps, maps_begun, maps_ended) = follow(maps, Arc::clone(&facts), journal_facts);
        for mut begun in [pods_begun, maps_begun] {
            begun.wait_for(|begun| *begun).await?;
        }
        facts.lock().expect("nobody panics with it").clear();
        Ok(History {
            facts,
            tasks: [pods, maps],
            ended: [pods_ended, maps_ended],
        })
    }

    /// Ends watching: everything that has happened until now, in order.
    pub async fn end(self, stage: &Stage) -> Result<Vec<Fact>, NotPassed> {
        let mark = json!({ "metadata": { "annotations": { LAST: "" } } });
        stage
            .pods
            .patch(&stage.setting.pod(0), &PatchParams::default(), &Patch::Merge(mark))
            .await?;
        let map: ConfigMap = from_value(json!({ "metadata": { "name": LAST, "annotations": { LAST: "" } } }))?;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.namespace);
        maps.create(&PostParams::default(), &map).await?;
        for mut ended in self.ended {
            if timeout(Duration::from_secs(20), ended.wait_for(|ended| *ended))
                .await
                .is_err()
            {
                return fail("the watches never told of the last change");
            }
        }
        for task in self.tasks {
            task.abort();
        }
        let mut facts = self.facts.lock().expect("nobody panics with it").clone();
        facts.sort_by_key(|(version, _)| *version);
        Ok(facts.into_iter().map(|(_, fact)| fact).collect())
    }
}

/// Watches one kind until the marked object comes.
fn follow<K>(
    api: Api<K>,
    facts: Facts,
    tell: fn(Option<&K>, &K) -> Vec<Fact>,
) -> (JoinHandle<()>, watch::Receiver<bool>, watch::Receiver<bool>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let (begin, begun) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut known: BTreeMap<String, K> = BTreeMap::new();
        let mut events = Box::pin(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let (gone, object) = match event {
                // A list in the middle would hide what happened before it.
                Ok(Event::Init) => {
                    assert!(!*begin.borrow(), "the watch began anew");
                    continue;
                }
                Ok(Event::InitDone) => {
                    begin.send_replace(true);
                    continue;
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => (false, object),
                Ok(Event::Delete(object)) => (true, object),
                Err(error) => panic!("the watch broke: {error}"),
            };
            let name = object.name_any();
            let version = object
                .resource_version()
                .and_then(|version| version.parse().ok())
                .unwrap_or(0);
            let before = known.remove(&name);
            let mut told = tell(before.as_ref(), &object);
            if gone {
                told.push(Fact::Gone(name.clone()));
            }
            let last = object.annotations().contains_key(LAST);
            facts
                .lock()
                .expect("nobody panics with it")
                .extend(told.into_iter().map(|fact| (version, fact)));
            if !gone {
                known.insert(name, object);
            }
            if last {
                end.send_replace(true);
            }
        }
    });
    (task, begun, ended)
}

fn pod_facts(before: Option<&Pod>, pod: &Pod) -> Vec<Fact> {
    let name = pod.name_any();
    let is_ending = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let mut facts = Vec::new();
    if before.is_none() {
        facts.push(Fact::Came(name.clone()));
    }
    if is_ending(pod) && !before.is_some_and(is_ending) {
        facts.push(Fact::Ending(name.clone()));
    }
    if is_ready(pod) && !before.is_some_and(is_ready) {
        facts.push(Fact::Ready(name));
    }
    facts
}

fn journal_facts(before: Option<&ConfigMap>, map: &ConfigMap) -> Vec<Fact> {
    let entries = |map: &ConfigMap| {
        let lines = map.data.as_ref().and_then(|data| data.get("lines"));
        lines
            .map(|lines| read_lines(lines).expect("the journal can be read").entries)
            .unwrap_or_default()
    };
    let known = before.map_or(0, |before| entries(before).len());
    let new = entries(map).into_iter().skip(known);
    new.filter_map(|entry| match entry.what {
        What::StepStarted { step, .. } => Some(Fact::Started(step)),
        What::StepPassed { step, .. } => Some(Fact::Passed(step)),
        _ => None,
    })
    .collect()
}

/// Fails unless pods went highest first, each gone before the next began to end, and came back lowest first, each
/// ready and its step passed before the next was made or its step even begun.
pub fn check_one_at_a_time(facts: &[Fact], plan: &Plan, setting: &Setting) -> Result<(), NotPassed> {
    let replicas = setting.replicas;
    let pod = |ordinal: i32| setting.pod(ordinal);
    let mut expected = Vec::new();
    for ordinal in (0..replicas).rev() {
        expected.extend([Fact::Ending(pod(ordinal)), Fact::Gone(pod(ordinal))]);
    }
    for ordinal in 0..replicas {
        let step = plan.steps.iter().find(
            |step| matches!(&step.action, Action::Scale { from, to, .. } if *from == ordinal && *to == ordinal + 1),
        );
        let Some(step) = step else {
            return fail(format_args!(
                "no step of the plan starts {} alone: {:#?}",
                pod(ordinal),
                plan.steps
            ));
        };
        expected.extend([
            Fact::Started(step.id),
            Fact::Came(pod(ordinal)),
            Fact::Ready(pod(ordinal)),
            Fact::Passed(step.id),
        ]);
    }
    compare(facts, &expected)
}

/// Fails unless the pods went in this order, each ready and its step passed before the next step was begun.
pub fn check_walk(facts: &[Fact], plan: &Plan, pods: &[String]) -> Result<(), NotPassed> {
    let mut expected = Vec::new();
    for pod in pods {
        let step = plan
            .steps
            .iter()
            .find(|step| matches!(&step.action, Action::RemovePod { pod: removed, .. } if removed == pod));
        let Some(step) = step else {
            return fail(format_args!("no step of the plan replaces {pod}: {:#?}", plan.steps));
        };
        expected.extend([
            Fact::Started(step.id),
            Fact::Ending(pod.clone()),
            Fact::Gone(pod.clone()),
            Fact::Came(pod.clone()),
            Fact::Ready(pod.clone()),
            Fact::Passed(step.id),
        ]);
    }
    compare(facts, &expected)
}

fn compare(facts: &[Fact], expected: &[Fact]) -> Result<(), NotPassed> {
    // A pod that has come may lose readiness for a moment and find it again: only the first time opens a gate.
    let mut awaited = BTreeSet::new();
    let mut begun = BTreeSet::new();
    let counts = |fact: &&Fact| match fact {
        Fact::Came(pod) => {
            awaited.insert(pod.clone());
            true
        }
        Fact::Ready(pod) => awaited.remove(pod),
        // A second attempt follows where the controller had written at the same moment.
        Fact::Started(step) => expected.contains(fact) && begun.insert(*step),
        Fact::Passed(_) => expected.contains(fact),
        Fact::Ending(_) | Fact::Gone(_) => true,
    };
    let happened: Vec<Fact> = facts.iter().filter(counts).cloned().collect();
    if happened == expected {
        return Ok(());
    }
    let lines = |facts: &[Fact]| facts.iter().map(|fact| format!("  {fact:?}\n")).collect::<String>();
    fail(format_args!(
        "pods were to go and come one at a time:\n{}but this happened:\n{}",
        lines(expected),
        lines(facts)
    ))
}
