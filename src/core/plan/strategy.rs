//! Which way back: the order of schema and workloads, why, and what outage is to be expected (SPEC 6).
//!
//! A walk leaves old and new pods alive side by side, so it needs a schema that all of them run on. What a release runs
//! on is what the app file says of it (`accepts`); a pod whose release is not known accepts nothing.

use k8s_openapi::api::core::v1::Pod;

use crate::appfile::{AppFile, Release, Strategy as FileStrategy};
use crate::model::{Finding, MigrationSet, SeenWorkload, Version, pairings_of, revision_images};

use super::template::matches;
use super::{Action, ChosenStrategy, Gate, Step, Strategy};
use crate::workload::{is_ready, other_images, revision_of};

/// What the choice is made from.
pub(super) struct Choice<'a> {
    pub(super) app: &'a AppFile,
    pub(super) release: &'a semver::Version,
    /// The migrations that are applied now.
    pub(super) from: &'a MigrationSet,
    /// The migrations that the target was recorded with.
    pub(super) to: &'a MigrationSet,
    pub(super) workloads: &'a [SeenWorkload],
}

impl Choice<'_> {
    /// The strategy with its reason; what was asked for and does not hold is a refusal, and then the offline one stands
    /// in for it.
    pub(super) fn choose(&self) -> (ChosenStrategy, Option<Finding>) {
        let asked = |strategy: Strategy, name: &str, holds: Result<String, String>| match holds {
            Ok(reason) => (chosen(strategy, format!("the app file asks for it; {reason}")), None),
            Err(why) => {
                let remedy = "say what each release runs on (`accepts`) if that is not so, or write `strategy: auto`";
                let finding = Finding::refusal("strategy-unfit", name, why, remedy);
                (chosen(Strategy::Offline, String::new()), Some(finding))
            }
        };
        match self.app.strategy {
            FileStrategy::Auto => (self.choose_first(), None),
            FileStrategy::Offline => (chosen(Strategy::Offline, "the app file asks for it".to_owned()), None),
            FileStrategy::AppFirst => asked(Strategy::AppFirst, "app-first", self.app_first()),
            FileStrategy::SchemaFirst => asked(Strategy::SchemaFirst, "schema-first", self.schema_first()),
            FileStrategy::AppOnly => asked(
                Strategy::AppOnly,
                "app-only",
                self.accepted().map(|()| self.why_app_first()),
            ),
        }
    }

    fn choose_first(&self) -> ChosenStrategy {
        if let Err(why) = self.can_walk() {
            return chosen(Strategy::Offline, why);
        }
        let app_first = match self.app_first() {
            Ok(reason) => return chosen(Strategy::AppFirst, reason),
            Err(why) => why,
        };
        match self.schema_first() {
            Ok(reason) => chosen(Strategy::SchemaFirst, reason),
            Err(why) if why == app_first => chosen(Strategy::Offline, why),
            Err(why) => chosen(Strategy::Offline, format!("{app_first}, and {why}")),
        }
    }

    /// What forbids every walk, whatever the releases accept.
    fn can_walk(&self) -> Result<(), String> {
        if self.app.migrates_at_start {
            return Err("the app migrates by itself when it starts, which permits nothing else".to_owned());
        }
        if let Some(seen) = self
            .workloads
            .iter()
            .find(|seen| seen.original_replicas() != seen.replicas())
        {
            return Err(format!(
                "{} has {} of its {} replicas: a run was left half-way",
                seen.workload,
                seen.replicas(),
                seen.original_replicas()
            ));
        }
        if self.workloads.iter().all(|seen| seen.pods.is_empty()) {
            return Err("no pod is there that could go on answering".to_owned());
        }
        Ok(())
    }

    /// Pods first: the target must run on the schema that is there now. Everything between that and its own schema is
    /// accepted then too, because what is accepted is a range.
    fn app_first(&self) -> Result<String, String> {
        self.accepted()?;
        Ok(if self.from == self.to {
            "the schema stays as it is".to_owned()
        } else {
            self.why_app_first()
        })
    }

    fn why_app_first(&self) -> String {
        format!(
            "{} accepts {}, the present schema",
            self.release,
            name(self.from.newest())
        )
    }

    fn accepted(&self) -> Result<(), String> {
        self.can_walk()?;
        let Some(target) = self.app.release(self.release) else {
            return Err(format!("what {} accepts is not known", self.release));
        };
        let present = self.from.newest();
        if accepts(target, present) {
            return Ok(());
        }
        Err(format!(
            "{} does not accept {}, the present schema",
            self.release,
            name(present)
        ))
    }

    /// Schema first: every release that has a live pod must run on the target's schema. A stuck upgrade runs two.
    fn schema_first(&self) -> Result<String, String> {
        self.can_walk()?;
        let wanted = self.to.newest();
        let mut live: Vec<&semver::Version> = Vec::new();
        for seen in self.workloads {
            for pod in &seen.pods {
                let mut found = self.app.releases.iter().filter(|release| self.runs(seen, pod, release));
                let pod = pod.metadata.name.as_deref().unwrap_or_default();
                let mut any = false;
                for release in &mut found {
                    any = true;
                    if !accepts(release, wanted) {
                        return Err(format!(
                            "{}, which {pod} runs, does not accept {}",
                            release.version,
                            name(wanted)
                        ));
                    }
                    if !live.contains(&&release.version) {
                        live.push(&release.version);
                    }
                }
                if !any {
                    return Err(format!("{pod} runs images that no release of the app file names"));
                }
            }
        }
        live.sort();
        let live: Vec<String> = live.into_iter().map(ToString::to_string).collect();
        let verb = if live.len() == 1 { "accepts" } else { "accept" };
        Ok(format!(
            "{} {verb} {}, the target's schema",
            live.join(" and "),
            name(wanted)
        ))
    }
}

impl Choice<'_> {
    /// Whether a pod may run the release: by the template that it was made from, because the cluster may have rewritten the
    /// images on their way into the pod (LAWS W13), or by its own, which somebody may have set since. Where the app file
    /// names none, the pairing says it (LAWS W1).
    fn runs(&self, seen: &SeenWorkload, pod: &Pod, release: &Release) -> bool {
        let mut kept = seen.revisions.iter();
        let made_from = revision_of(pod).and_then(|of| kept.find(|kept| kept.metadata.name.as_deref() == Some(of)));
        let named = release.images.get(&seen.workload.name);
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            let mut pairings = made_from.into_iter().flat_map(pairings_of);
            return pairings.any(|pairing| pairing.app == self.app.name && pairing.release == release.version);
        };
        let made = made_from.and_then(revision_images);
        made.is_some_and(|made| matches(named, &made)) || other_images(pod, named).is_empty()
    }
}

fn chosen(strategy: Strategy, reason: String) -> ChosenStrategy {
    ChosenStrategy {
        strategy,
        reason,
        outage: String::new(),
    }
}

fn accepts(release: &Release, schema: Option<&Version>) -> bool {
    match schema {
        Some(schema) => release.accepts.min <= *schema && *schema <= release.accepts.max,
        None => release.accepts.min.is_zero(),
    }
}

fn name(schema: Option<&Version>) -> String {
    schema.map_or_else(|| "an empty schema".to_owned(), ToString::to_string)
}

/// What outage the steps mean. Nobody has declared that pods can answer for one another, so "none" is said only of clients
/// that try another one, and only where another one is ready (LAWS W4).
pub(super) fn outage(strategy: Strategy, steps: &[Step], workloads: &[SeenWorkload]) -> String {
    if steps.iter().all(|step| step.action.workload().is_none()) {
        return "none: no pod is touched".to_owned();
    }
    if strategy == Strategy::Offline {
        let down = steps
            .iter()
            .find(|step| matches!(step.action, Action::Scale { from, to: 0, .. } if from > 0));
        // Every workload answers again once its first pod does.
        let up = workloads.iter().filter_map(|seen| {
            let first = |step: &&Step| {
                step.action.workload() == Some(&seen.workload) && matches!(step.gate, Gate::PodHealthy { .. })
            };
            Some(steps.iter().find(first)?.id)
        });
        let up = up.max();
        // One that has no pod does not answer before the run either.
        let starts = |seen: &&SeenWorkload| seen.replicas() == 0 && seen.original_replicas() > 0;
        if let (Some(dark), Some(_), Some(up)) = (workloads.iter().find(starts), down, up) {
            return format!(
                "no pod of {} runs now, and the first of all that are to run is healthy in step {up}",
                dark.workload
            );
        }
        return match (down, up) {
            (Some(down), Some(up)) => format!(
                "nothing answers from step {}, when the last pod stops, until the first is healthy in step {up}",
                down.id
            ),
            (Some(down), None) => format!("nothing answers from step {}, when the last pod stops", down.id),
            (None, Some(up)) => format!("no pod runs now; the first is healthy in step {up}"),
            (None, None) => "no pod runs, before and after".to_owned(),
        };
    }
    let replaced = |seen: &SeenWorkload| {
        steps
            .iter()
            .find(|step| matches!(&step.action, Action::RemovePod { workload, stays: false, .. } if *workload == seen.workload))
    };
    let alone: Vec<String> = workloads
        .iter()
        .filter(|seen| seen.replicas() == 1)
        .filter_map(|seen| Some(format!("{} in step {}", seen.pod_name(0), replaced(seen)?.id)))
        .collect();
    if !alone.is_empty() {
        return format!("while an only pod is replaced: {}", alone.join(", "));
    }
    let walked: Vec<&SeenWorkload> = workloads.iter().filter(|seen| replaced(seen).is_some()).collect();
    let dark = walked.iter().find(|seen| !seen.pods.iter().any(is_ready));
    if let Some((seen, step)) = dark.and_then(|seen| Some((seen, replaced(seen)?))) {
        return format!(
            "no pod of {} is ready now; the first is healthy in step {} at the earliest",
            seen.workload, step.id
        );
    }
    if walked.is_empty() {
        return "none: every pod runs the target already".to_owned();
    }
    let mut said = "none for clients that try another pod where one does not answer: one at a time is away".to_owned();
    for seen in walked {
        let mut ready = seen.pods.iter().filter(|pod| is_ready(pod));
        if let (Some(only), None, Some(step)) = (ready.next(), ready.next(), replaced(seen)) {
            let only = only.metadata.name.as_deref().unwrap_or_default();
            said.push_str(&format!("; only {only} is ready until step {} is done", step.id));
        }
    }
    said
}
