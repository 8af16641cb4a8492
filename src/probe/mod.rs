//! Waiting for gates: the only loop that waits.
//!
//! Responsible for: settling a gate by watching, with a sentence for each "not yet", within its limit, and for how long a
//! pod was seen ready; asking probes, trying them before a run (LAWS W17), and reading what there is to know of a pod
//! that fails. Not for: judging what is seen (core), what happens next (core's `decide`). `run` uses it.

mod ask;
mod evidence;
mod http;
mod making;
mod reach;
mod spell;
mod stop;
#[cfg(test)]
mod tests;
mod tls;

use std::time::Duration;

use futures::StreamExt;
use stepback_core::model::{SeenWorkload, Settled, Verdict, presentable};
use stepback_core::plan::Gate;
use stepback_core::workload::{incarnation, judge, to_be_made};

use crate::cluster::{Cluster, Follow};
use crate::database::Database;
use ask::Asked;
pub use evidence::gather;
use making::Making;
pub use reach::try_probes;
use spell::Spell;
pub use stop::{LEAVING, Stop, Stopper, stop};

/// How many bytes of a reason for waiting are shown: it quotes controllers and pods.
const REASON: usize = 1000;

/// What is asked through.
#[derive(Clone, Copy)]
pub struct Seams<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// The database.
    pub database: &'a dyn Database,
}

/// Waits until the gate holds, can never hold, or its limit passes. Waiting is watching: the gate is judged again at
/// every change of the workload or its pods, and by the clock only where the gate itself asks for a time.
pub async fn settle(
    seams: Seams<'_>,
    gate: &Gate,
    limit: Duration,
    stop: &Stop,
    say: &mut (dyn FnMut(String) + Send),
) -> Settled {
    let mut wait = Wait {
        seams,
        gate,
        spell: Spell::default(),
        making: Making::default(),
        // Not worth a line of its own, unless it is what a limit was spent on.
        said: "the cluster has not answered yet".to_owned(),
        say,
    };
    let mut stop = stop.clone();
    let deadline = tokio::time::sleep(limit);
    tokio::select! {
        settled = wait.hold() => return settled,
        () = deadline => {}
        () = stop.asked() => return Settled::Stopped(wait.said),
    }
    Settled::TimedOut(format!("not within {} s: {}", limit.as_secs_f32(), wait.said))
}

struct Wait<'a> {
    seams: Seams<'a>,
    gate: &'a Gate,
    spell: Spell,
    making: Making,
    said: String,
    say: &'a mut (dyn FnMut(String) + Send),
}

impl Wait<'_> {
    /// Says a reason once, and keeps it for whoever asks why it took too long.
    fn say(&mut self, reason: String) {
        let reason = presentable(&reason, REASON);
        if reason != self.said {
            (self.say)(reason.clone());
            self.said = reason;
        }
    }

    async fn hold(&mut self) -> Settled {
        let Some(workload) = self.gate.workload() else {
            return Settled::Healthy("no gate".to_owned());
        };
        let follow = Follow {
            pods: self.gate.asks_pods(),
            revision: self.gate.revision(),
        };
        loop {
            let mut changes = self.seams.cluster.changes(workload, follow);
            let mut seen: Option<SeenWorkload> = None;
            let error = loop {
                let ready_for = match &seen {
                    None => Duration::ZERO,
                    Some(seen) => self.spell.see(self.gate, seen),
                };
                let verdict = match &seen {
                    None => Verdict::Waiting("the cluster has not answered yet".to_owned()),
                    Some(seen) => judge(self.gate, seen, ready_for),
                };
                let next = match verdict {
                    Verdict::Failed(why) => return Settled::Failed(why),
                    Verdict::Foreign(why) => return Settled::Foreign(why),
                    Verdict::LeftStanding(why) => return Settled::LeftStanding(why),
                    Verdict::Healthy(what) => {
                        let seen_now = seen.as_ref().expect("a verdict is healthy only of something seen");
                        match self.probe(seen_now, what, &mut changes).await {
                            Ok(settled) => return settled,
                            Err(next) => next,
                        }
                    }
                    Verdict::Waiting(why) => {
                        let missed = seen.as_ref().filter(|seen| to_be_made(self.gate, seen).is_some());
                        let why = self.making.reason(missed.is_some(), why);
                        self.say(why);
                        let again = next_look(self.gate, ready_for);
                        let making = missed_pod(&mut self.making, self.seams.cluster, self.gate, missed);
                        tokio::select! {
                            next = changes.next() => next,
                            () = again => continue,
                            vain = making => match vain {
                                Some(why) => return Settled::Failed(why),
                                None => continue,
                            },
                        }
                    }
                };
                match next {
                    Some(Ok(now)) => seen = Some(now),
                    Some(Err(error)) => break error.to_string(),
                    None => break "the watch ended".to_owned(),
                }
            };
            self.say(format!("watching again: {error}"));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Asks every probe while nothing about the pod changes. A change that matters ends it and is handed back.
    async fn probe(&mut self, seen: &SeenWorkload, healthy: String, changes: &mut Changes) -> Result<Settled, Next> {
        let Gate::PodHealthy {
            pod, probes, workload, ..
        } = self.gate
        else {
            return Ok(Settled::Healthy(healthy));
        };
        let gate = self.gate;
        let asked = Asked {
            seams: self.seams,
            namespace: &workload.namespace,
            pod,
        };
        let before = incarnation(seen, pod);
        let mut spell = self.spell.clone();
        let asked = async {
            for probe in probes {
                asked.until_held(probe, &mut |reason| self.say(reason)).await?;
            }
            Ok::<(), String>(())
        };
        let disturbed = async {
            loop {
                match changes.next().await {
                    Some(Ok(now)) => {
                        let verdict = judge(gate, &now, spell.see(gate, &now));
                        let still = matches!(verdict, Verdict::Healthy(_));
                        if !still || incarnation(&now, pod) != before {
                            return Some(Ok(now));
                        }
                    }
                    ended => return ended,
                }
            }
        };
        let outcome = tokio::select! {
            asked = asked => Ok(asked),
            next = disturbed => Err(next),
        };
        match outcome {
            Ok(Ok(())) => {
                let what = match probes.len() {
                    0 => healthy,
                    count => format!("{healthy}, {count} probe{} passed", if count == 1 { "" } else { "s" }),
                };
                Ok(Settled::Healthy(what))
            }
            Ok(Err(why)) => Ok(Settled::Failed(why)),
            Err(next) => Err(next),
        }
    }
}

/// As [`Making::look`], of the pod that the gate waits for.
async fn missed_pod(
    making: &mut Making,
    cluster: &dyn Cluster,
    gate: &Gate,
    seen: Option<&SeenWorkload>,
) -> Option<String> {
    let missed = seen.and_then(|seen| Some((seen, to_be_made(gate, seen)?, seen.uid()?)));
    let Some((seen, pod, uid)) = missed else {
        return std::future::pending().await;
    };
    let (namespace, set) = (&seen.workload.namespace, &seen.workload.name);
    making
        .look(async || cluster.events(namespace, set, uid).await, (set, pod))
        .await
}

/// A gate that asks for seconds of readiness must be judged again although nothing changes any more.
async fn next_look(gate: &Gate, ready_for: Duration) {
    match gate {
        Gate::PodHealthy { min_ready_seconds, .. } if seconds(*min_ready_seconds) > ready_for => {
            tokio::time::sleep(seconds(*min_ready_seconds) - ready_for).await;
        }
        _ => std::future::pending().await,
    }
}

fn seconds(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

type Next = Option<Result<SeenWorkload, crate::cluster::ClusterError>>;
type Changes = futures::stream::BoxStream<'static, Result<SeenWorkload, crate::cluster::ClusterError>>;
