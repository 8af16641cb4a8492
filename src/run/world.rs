//! From an action to its seam: observing, performing and settling one step.

mod pair;
mod verify;

use std::time::Duration;

use stepback_core::model::{
    Direction, Evidence, Failure, Observed, Removal, ScriptRef, SeenWorkload, Settled, Stamp, TemplateRef, Verdict,
    WorkloadRef,
};
use stepback_core::plan::{Action, Gate, Plan, Step};
use stepback_core::report::count;
use stepback_core::run::{observe_scripts, recheck_scripts};
use stepback_core::workload::{
    is_at, judge, observe_removal, observe_repoint, observe_scale, observe_update_strategy, other_template,
    other_template_and_count, other_template_found, set_count,
};

pub use self::pair::Unpaired;
use self::verify::LeftOut;
use super::over_status::over_status;
use super::{Event, Listen, Stop};
use crate::cluster::{Cluster, Counts, Parts, Pods, is_given_back};
use crate::database::{Database, Record};
use crate::probe;

/// The two seams that a plan acts on.
pub struct World<'a> {
    /// The database.
    pub database: &'a dyn Database,
    /// The cluster, when workloads take part.
    pub cluster: Option<&'a dyn Cluster>,
    /// What was refused where a revision was to be paired.
    pub unpaired: Unpaired,
}

impl World<'_> {
    fn cluster(&self) -> Result<&dyn Cluster, Failure> {
        self.cluster.ok_or_else(|| Failure {
            message: "the plan has workload steps, but no cluster is connected".to_owned(),
            hint: None,
            retry: false,
            fenced: false,
        })
    }

    /// Asks the world whether the step has happened. Changes nothing.
    ///
    /// # Errors
    /// When the world cannot be asked.
    pub async fn observe(&self, plan: &Plan, step: &Step) -> Result<Observed, Failure> {
        match &step.action {
            Action::Revert { scripts, .. } => self.observe_scripts(plan, step, Direction::Down, scripts).await,
            Action::Apply { scripts } => self.observe_scripts(plan, step, Direction::Up, scripts).await,
            Action::Verify {
                schema,
                expected,
                drifted,
                inherited,
                before,
            } => {
                let left_out = LeftOut {
                    drifted,
                    inherited,
                    before: before.as_ref(),
                };
                self.verify(schema, expected, &left_out).await
            }
            Action::TakeFingerprint { schema, drifted } => self.observe_taken(schema, drifted).await,
            Action::RecordRelease { release, schema } => {
                let record = Record::Release {
                    release: release.clone(),
                    schema: schema.clone(),
                };
                let done = self
                    .database
                    .recorded(&record)
                    .await
                    .map_err(|error| error.to_failure())?;
                Ok(if done {
                    Observed::Done(format!(
                        "release {release} is paired with {}",
                        count(schema.0.len(), "migration")
                    ))
                } else {
                    Observed::Untouched
                })
            }
            Action::Scale {
                workload,
                uid,
                from,
                to,
                ..
            } => {
                let template = plan.template_at(step, workload);
                let revision = template.and_then(|template| template.revision.as_deref());
                let revision: Vec<_> = revision.into_iter().collect();
                let seen = self.look_at(workload, Parts::revisions(&revision)).await?;
                let observed = observe_scale(&seen, uid, *from, *to);
                // A pod is started from whatever the template is by then.
                let starts = *to > *from && matches!(observed, Observed::Untouched | Observed::Foreign(_));
                match template {
                    Some(template) if starts && seen.uid() == Some(uid) && !is_at(&seen, template) => {
                        let seen = self.look_at(workload, Parts::ALL).await?;
                        Ok(Observed::Foreign(other_template_and_count(&seen, template, *from)))
                    }
                    _ => Ok(observed),
                }
            }
            Action::Repoint {
                workload,
                uid,
                from,
                to,
            } => {
                let seen = self.look_at(workload, Parts::revisions(&names(&[from, to]))).await?;
                let observed = observe_repoint(&seen, uid, from, to);
                // Its pods would be replaced while nobody waits for them, and have written to a schema that is not theirs.
                match observed {
                    Observed::Untouched => Ok(self.find_started(plan, step).await?.unwrap_or(observed)),
                    observed => Ok(observed),
                }
            }
            Action::UpdateStrategy {
                workload,
                uid,
                from,
                to,
                ..
            } => Ok(observe_update_strategy(
                &self.look_at(workload, Parts::default()).await?,
                uid,
                from,
                to,
            )),
            Action::RemovePod {
                workload,
                uid,
                pod,
                removal,
                ..
            } => {
                let revisions = match removal {
                    Removal::Outdated(template) => names(&[template]),
                    Removal::BeyondCount | Removal::Dead(_) => Vec::new(),
                };
                let parts = Parts::revisions(&revisions).and(Pods::Named(pod));
                let seen = self.look_at(workload, parts).await?;
                Ok(observe_removal(&seen, uid, pod, removal))
            }
            // There is no effect to look for: its gate is all there is.
            Action::CheckPod { pod, .. } => Ok(Observed::Done(format!("pod {pod} was set in motion"))),
            Action::Pair {
                workload,
                uid,
                template,
                pairing,
            } => self.observe_pairing(workload, uid, template, pairing).await,
            Action::GiveBack { workload, .. } => {
                let seen = self.look_at(workload, Parts::default()).await?;
                Ok(if is_given_back(&seen) {
                    Observed::Done(format!("nothing of stepback is left on {workload}"))
                } else {
                    Observed::Untouched
                })
            }
        }
    }

    /// Asks the ledger; and, while something is left to do, whether the workloads that were stopped for it still are:
    /// somebody, or an autoscaler, may have started them since, and the scripts would run under a living application.
    async fn observe_scripts(
        &self,
        plan: &Plan,
        step: &Step,
        direction: Direction,
        scripts: &[ScriptRef],
    ) -> Result<Observed, Failure> {
        let ledger = self.database.ledger().await.map_err(|error| error.to_failure())?;
        let seen = observe_scripts(direction, scripts, &plan.from.schema, &plan.to.schema, &ledger);
        if !matches!(seen, Observed::Untouched | Observed::Partial(_)) {
            return Ok(seen);
        }
        // Pods that were walked back first must not have been walked forward again since; and those whose turn is still to
        // come must not be of a release that was deployed while the run stood still, and may not live with these scripts.
        for workload in plan.workloads() {
            let pointed = plan.template_at(step, &workload);
            let Some(template) = pointed.or_else(|| plan.template_found(step, &workload)) else {
                continue;
            };
            let found = self.look_at(&workload, Parts::revisions(&names(&[template]))).await?;
            if !is_at(&found, template) {
                let say = if pointed.is_some() {
                    other_template
                } else {
                    other_template_found
                };
                return Ok(Observed::Foreign(say(&found, template)));
            }
        }
        // Last: the scripts run next, and no other look may come between.
        Ok(self.find_started(plan, step).await?.unwrap_or(seen))
    }

    /// What was stopped for this step and is not stopped any more.
    async fn find_started(&self, plan: &Plan, step: &Step) -> Result<Option<Observed>, Failure> {
        let uids = plan.workload_uids();
        for workload in plan.stopped_at(step.id) {
            let found = self.look_at(&workload, Parts::default().and(Pods::All)).await?;
            let is_same = found.uid() == uids.get(&workload).map(String::as_str);
            let verdict = judge(
                &Gate::AllGone {
                    workload: workload.clone(),
                },
                &found,
                Duration::ZERO,
            );
            if is_same && found.replicas() == 0 && matches!(verdict, Verdict::Healthy(_)) {
                continue;
            }
            let why = if is_same {
                format!(
                    "{workload} was stopped for this step and is not stopped any more ({} replicas, {} pods); scale it to \
                     0 and see that nothing starts it (an autoscaler, GitOps), then resume: {}",
                    found.replicas(),
                    found.pods.len(),
                    set_count(&workload, 0),
                )
            } else {
                format!("{workload} was stopped for this step, and is another object of the same name now")
            };
            return Ok(Some(Observed::Foreign(why)));
        }
        Ok(None)
    }

    /// Asks the world whether a step that had passed before this process began still shows (LAWS D13).
    ///
    /// # Errors
    /// When the world cannot be asked.
    pub async fn recheck(&self, plan: &Plan, step: &Step) -> Result<Observed, Failure> {
        let (direction, scripts) = match &step.action {
            Action::Revert { scripts, .. } => (Direction::Down, scripts),
            Action::Apply { scripts } => (Direction::Up, scripts),
            // Later steps may have moved the schema on: what counts is that it was recorded.
            Action::TakeFingerprint { schema, .. } => {
                let recorded = self
                    .database
                    .recorded_fingerprint(schema)
                    .await
                    .map_err(|error| error.to_failure())?;
                return Ok(recorded.map_or(Observed::Untouched, |_| Observed::Done("it is recorded".to_owned())));
            }
            // It said what this run had made of the schema. What others have made of it since is not this run's, and the
            // steps that made it are asked themselves.
            Action::Verify { .. } => return Ok(Observed::Done("it was compared after the downs".to_owned())),
            _ => return self.observe(plan, step).await,
        };
        let ledger = self.database.ledger().await.map_err(|error| error.to_failure())?;
        Ok(recheck_scripts(direction, scripts, &ledger))
    }

    async fn look_at(&self, workload: &WorkloadRef, parts: Parts<'_>) -> Result<SeenWorkload, Failure> {
        let looked = self.cluster()?.look_at(workload, parts).await;
        looked.map_err(|error| error.to_failure())
    }

    /// Carries the step, or the rest of it, out. What comes back never decides what happened.
    ///
    /// # Errors
    /// As the seam reports it.
    pub async fn perform(&self, step: &Step, seen: &Observed, stamp: &Stamp) -> Result<(), Failure> {
        let done = match seen {
            Observed::Partial(progress) => usize::try_from(progress.done).unwrap_or(usize::MAX),
            _ => 0,
        };
        let database = |error: crate::database::DbError| error.to_failure();
        let cluster = |error: crate::cluster::ClusterError| error.to_failure();
        match &step.action {
            Action::Revert { scripts, .. } => {
                let rest = scripts.get(done..).unwrap_or_default();
                self.database
                    .advance(Direction::Down, rest, stamp)
                    .await
                    .map_err(database)
            }
            Action::Apply { scripts } => {
                let rest = scripts.get(done..).unwrap_or_default();
                self.database
                    .advance(Direction::Up, rest, stamp)
                    .await
                    .map_err(database)
            }
            // A comparison has no effect: it was observed, and that is all there is.
            Action::Verify { .. } => Ok(()),
            Action::TakeFingerprint { schema, drifted } => {
                let mut fingerprint = self.database.fingerprint().await.map_err(database)?;
                fingerprint.drifted.clone_from(drifted);
                let record = Record::Fingerprint {
                    schema: schema.clone(),
                    fingerprint,
                };
                self.database.record(&record, stamp).await.map_err(database)
            }
            Action::RecordRelease { release, schema } => {
                let record = Record::Release {
                    release: release.clone(),
                    schema: schema.clone(),
                };
                self.database.record(&record, stamp).await.map_err(database)
            }
            Action::Scale {
                workload,
                uid,
                from,
                to,
                original,
            } => {
                let template = match &step.gate {
                    Gate::PodHealthy { template, .. } => Some(template),
                    _ => None,
                };
                let counts = Counts {
                    from: *from,
                    to: *to,
                    original: *original,
                    template,
                };
                let at = self.cluster()?;
                over_status(|| at.scale(workload, uid, counts, stamp))
                    .await
                    .map_err(cluster)
            }
            Action::Repoint { workload, uid, to, .. } => {
                let at = self.cluster()?;
                over_status(|| at.repoint(workload, uid, to, stamp))
                    .await
                    .map_err(cluster)
            }
            Action::UpdateStrategy {
                workload,
                uid,
                from,
                to,
                original,
            } => {
                let at = self.cluster()?;
                over_status(|| at.update_strategy(workload, uid, from, to, original, stamp))
                    .await
                    .map_err(cluster)
            }
            Action::RemovePod {
                workload,
                uid,
                pod,
                removal,
                ..
            } => self
                .cluster()?
                .remove_pod(workload, uid, pod, removal, stamp)
                .await
                .map_err(cluster),
            Action::CheckPod { .. } => Ok(()),
            Action::Pair {
                workload,
                uid,
                template,
                pairing,
            } => self.pair(workload, uid, template, pairing, stamp).await,
            Action::GiveBack { workload, uid } => {
                let at = self.cluster()?;
                over_status(|| at.give_back(workload, uid, stamp))
                    .await
                    .map_err(cluster)
            }
        }
    }

    /// Removes the pod that the step is to make go, and that the controller leaves standing.
    ///
    /// # Errors
    /// As the seam reports it.
    pub async fn remove(&self, step: &Step, stamp: &Stamp) -> Result<(), Failure> {
        let Some((workload, uid)) = step.action.target() else {
            return Ok(());
        };
        let seen = self.look_at(workload, Parts::default()).await?;
        let Some((pod, removal)) = step.action.removes(&seen) else {
            return Ok(());
        };
        let removed = self.cluster()?.remove_pod(workload, uid, &pod, &removal, stamp).await;
        removed.map_err(|error| error.to_failure())
    }

    /// Waits for the step's gate.
    ///
    /// # Errors
    /// When the cluster is needed and there is none.
    pub async fn settle(&self, step: &Step, stop: &Stop, listener: &mut dyn Listen) -> Result<Settled, Failure> {
        if step.gate == Gate::None {
            return Ok(Settled::Healthy("no gate".to_owned()));
        }
        let mut say = |reason: String| listener.hear(Event::Waiting { step: step.id, reason });
        Ok(probe::settle(
            probe::Seams {
                cluster: self.cluster()?,
                database: self.database,
            },
            &step.gate,
            Duration::from_millis(step.limit_ms),
            stop,
            &mut say,
        )
        .await)
    }

    /// What is to be read of the pod whose gate did not hold.
    pub async fn gather(&self, step: &Step) -> Option<Evidence> {
        let seams = probe::Seams {
            cluster: self.cluster?,
            database: self.database,
        };
        probe::gather(seams, &step.gate).await
    }
}

/// The revisions that templates are told apart by.
fn names<'a>(templates: &[&'a TemplateRef]) -> Vec<&'a str> {
    let named = templates.iter().filter_map(|template| template.revision.as_deref());
    named.collect()
}
