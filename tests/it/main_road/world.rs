//! The world after a rollback, written by hand, and everything in which it may differ.

use hyper::StatusCode;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::Api;
use serde_json::Value;
use stepback::journal::{ClusterJournal, Journal, Stored};
use stepback_core::{
    journal::{Outcome, RunState},
    model::{RunId, annotation, pairings_of},
};

use super::stage::Stage;
use crate::support::{
    runner::{NotPassed, fail},
    scene::{is_ready, revision},
};

/// What must be there afterwards.
#[derive(Clone)]
pub struct Expected {
    pub release: &'static str,
    /// The whole ledger, oldest first.
    pub ledger: &'static [&'static str],
    /// A query of one column of text, and its answers.
    pub orders: (&'static str, &'static [&'static str]),
}

/// After `--to 1.2.0`, with the orders of [`place_orders`].
pub const TO_1_2_0: Expected = Expected {
    release: "1.2.0",
    ledger: &["20240101090000", "20240115120000"],
    orders: (
        "SELECT id || '|' || item || '|' || quantity || '|' || customer FROM orders ORDER BY id",
        &["1|kettle|2|Ada", "2|lamp|1|Grace", "3|chair|4|Edsger"],
    ),
};

/// After `--to 1.1.0`.
pub const TO_1_1_0: Expected = Expected {
    release: "1.1.0",
    ledger: &["20240101090000"],
    orders: (
        "SELECT id || '|' || item || '|' || quantity FROM orders ORDER BY id",
        &["1|kettle|2", "2|lamp|1", "3|chair|4"],
    ),
};

/// After `--to 1.3.0` from the release that has an index more.
pub const TO_1_3_0: Expected = Expected {
    release: "1.3.0",
    ledger: &["20240101090000", "20240115120000", "20240220103000", "20240301090000"],
    orders: (
        "SELECT id || '|' || product || '|' || quantity || '|' || customer FROM orders ORDER BY id",
        &["1|kettle|2|Ada", "2|lamp|1|Grace", "3|chair|4|Edsger"],
    ),
};

/// Places the orders that must survive; what was paid for them is not among what can.
pub async fn place_orders(stage: &Stage) -> Result<(), NotPassed> {
    stage.order("kettle", 2, "Ada", 950).await?;
    stage.order("lamp", 1, "Grace", 2500).await?;
    stage.order("chair", 4, "Edsger", 4800).await
}

impl Expected {
    /// Fails where the world is another one.
    pub async fn check(&self, stage: &Stage) -> Result<(), NotPassed> {
        self.check_but_pairing(stage).await?;
        self.check_pairing(stage).await
    }

    /// The same, whatever the revision is paired with.
    pub async fn check_but_pairing(&self, stage: &Stage) -> Result<(), NotPassed> {
        let store = &stage.store;
        assert_eq!(store.applied().await?, self.ledger, "the ledger");
        assert_eq!(store.ask(self.orders.0).await?, self.orders.1, "the orders");
        let tables = match stage.setting.engine {
            super::store::Engine::Sqlite => "SELECT name FROM sqlite_schema WHERE name = 'payments'",
            super::store::Engine::Postgres => {
                "SELECT CAST(to_regclass('payments') AS text) WHERE to_regclass('payments') IS NOT NULL"
            }
        };
        let payments = !store.ask(tables).await?.is_empty();
        assert_eq!(payments, self.release == "1.3.0", "whether payments are there");
        if stage.setting.audited {
            let ran = store.ask("SELECT what FROM audit").await?;
            assert_eq!(
                ran,
                ["down 20240301090000", "down 20240220103000"],
                "each down once, newest first"
            );
        }
        self.check_set(stage).await?;
        self.check_pods(stage).await
    }

    async fn check_set(&self, stage: &Stage) -> Result<(), NotPassed> {
        let set = stage.sets.get("shop").await?;
        let replicas = stage.setting.replicas;
        assert_eq!(set.spec.replicas, Some(replicas), "replicas as before");
        let status = set.status.clone().unwrap_or_default();
        assert_eq!(
            status.update_revision.as_deref(),
            Some(stage.old_revision.as_str()),
            "the old revision by name"
        );
        let strategy = set
            .spec
            .update_strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref());
        if strategy != Some("OnDelete") {
            assert_eq!(
                status.current_revision, status.update_revision,
                "no update is under way"
            );
        }
        let image = set
            .spec
            .template
            .spec
            .as_ref()
            .and_then(|pod| pod.containers[0].image.clone());
        assert_eq!(image, Some(format!("shop:{}", self.release)), "the template's image");
        let left = serde_json::to_value(&set.metadata)?.to_string();
        assert!(
            !left.contains("stepback"),
            "something of ours is left on the workload: {left}"
        );
        Ok(())
    }

    /// The revision whose pods were seen healthy is paired with the release, on its schema; with no pod, nothing was seen.
    async fn check_pairing(&self, stage: &Stage) -> Result<(), NotPassed> {
        let releases = |revision: &ControllerRevision| -> Vec<String> {
            let pairings = pairings_of(revision).into_iter();
            pairings.map(|pairing| pairing.release.to_string()).collect()
        };
        let revisions: Api<ControllerRevision> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let revision = revisions.get(&stage.old_revision).await?;
        let expected: &[&str] = if stage.setting.replicas > 0 {
            &[self.release]
        } else {
            &[]
        };
        assert_eq!(releases(&revision), expected, "what the revision is paired with");
        let marks = revision
            .metadata
            .annotations
            .iter()
            .flatten()
            .map(|(name, _)| name.as_str());
        let ours: Vec<&str> = marks.filter(|name| name.starts_with("stepback.dev/")).collect();
        assert!(ours.iter().all(|name| *name == annotation::PAIRINGS), "{ours:?}");
        Ok(())
    }

    async fn check_pods(&self, stage: &Stage) -> Result<(), NotPassed> {
        for index in 0..stage.setting.replicas {
            let name = stage.setting.pod(index);
            let pod = stage.pods.get(&name).await?;
            assert!(is_ready(&pod), "{name} is not ready");
            assert_eq!(revision(&pod), stage.old_revision, "the revision of {name}");
            let address = stage.address(&name).await?;
            for path in ["/healthz", "/orders"] {
                let (status, body) = crate::support::shop::ask(address, hyper::Method::GET, path, Value::Null).await?;
                assert_eq!(status, StatusCode::OK, "{name} at {path}: {body}");
            }
        }
        Ok(())
    }
}

/// The journals that are in the cluster, oldest first; each must replay to its end, and all but the last may have
/// been left before they began.
pub async fn journals(stage: &Stage) -> Result<Vec<(RunId, Stored)>, NotPassed> {
    let journal = ClusterJournal::new(stage.client.clone(), &stage.namespace);
    let mut runs = journal.runs().await?;
    runs.reverse();
    let mut stored = Vec::new();
    for run in runs {
        let read = journal.read(&run).await?;
        stored.push((run, read));
    }
    Ok(stored)
}

/// Fails unless the last run is done and every journal is legal.
pub async fn check_journals(stage: &Stage) -> Result<Stored, NotPassed> {
    let mut stored = journals(stage).await?;
    for (run, journal) in &stored {
        let state = RunState::replay(&journal.entries, journal.plan.steps.len());
        if let Err(illegal) = state {
            return fail(format_args!("the journal of run {run} is not legal: {illegal}"));
        }
    }
    let Some((run, last)) = stored.pop() else {
        return fail("there is no journal");
    };
    let state = RunState::replay(&last.entries, last.plan.steps.len())?;
    let closed = state.and_then(|state| state.closed);
    if closed != Some(Outcome::Done) {
        return fail(format_args!("run {run} ended with {closed:?}: {:#?}", last.entries));
    }
    // A run before it did nothing: it was given up before its first step.
    for (run, other) in stored {
        let started = other
            .entries
            .iter()
            .any(|entry| matches!(entry.what, stepback_core::journal::What::StepStarted { .. }));
        assert!(!started, "run {run} was begun and left");
    }
    Ok(last)
}
