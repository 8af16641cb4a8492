//! Waiting, over a cluster that shows one state and answers probes as it is told.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use serde_json::json;
use stepback_core::model::{
    LookAround, Pairing, PodEvent, Removal, SeenAround, SeenCluster, Stamp, TemplateRef, Token, UpdateStrategy,
    WorkloadKind, WorkloadRef,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::cluster::{ClusterError, Counts, Exited, LogOf, Wire};
use crate::database::{ConnectOptions, LedgerChoice, connect};
use crate::probe::stop;
use stepback_core::plan::{Ask, Probe};

/// Answers the n-th probe with the n-th status, and nobody listens once they are used up.
struct Fake {
    statuses: Mutex<Vec<u16>>,
    /// After how many seconds the pod is shown ready, since when by its node's clock, and how often it had restarted.
    ready: Vec<(u64, &'static str, i32)>,
}

const READY: (u64, &str, i32) = (0, "2026-01-01T00:00:00Z", 0);

fn never<T>() -> Result<T, ClusterError> {
    Err(ClusterError::Refused("a gate only watches and dials".to_owned()))
}

fn web() -> WorkloadRef {
    WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "a".into(),
        name: "web".into(),
    }
}

fn template() -> TemplateRef {
    TemplateRef {
        revision: None,
        images: [("shop".to_owned(), "shop:1.2.0".to_owned())].into(),
    }
}

#[async_trait]
impl Cluster for Fake {
    fn changes(&self, workload: &WorkloadRef, _: Follow<'_>) -> BoxStream<'static, Result<SeenWorkload, ClusterError>> {
        let containers = json!({ "containers": [{ "name": "shop", "image": "shop:1.2.0" }] });
        let set = json!({
            "metadata": { "name": "web", "uid": "u" },
            "spec": { "serviceName": "web", "selector": {}, "template": { "spec": containers } },
            "status": { "replicas": 1, "updateRevision": "web-1" },
        });
        let workload = workload.clone();
        let shown = move |(after, since, restarts): (u64, &'static str, i32)| {
            let pod = json!({
                "metadata": { "name": "web-0", "uid": "p", "labels": { "controller-revision-hash": "web-1" } },
                "spec": containers,
                "status": {
                    "phase": "Running",
                    "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": since }],
                    "containerStatuses": [
                        { "name": "shop", "ready": true, "restartCount": restarts, "image": "i", "imageID": "i" },
                    ],
                },
            });
            let seen = SeenWorkload {
                workload: workload.clone(),
                set: Some(serde_json::from_value(set.clone()).unwrap()),
                pods: vec![serde_json::from_value(pod).unwrap()],
                revisions: vec![],
            };
            async move {
                tokio::time::sleep(Duration::from_secs(after)).await;
                Ok(seen)
            }
        };
        stream::iter(self.ready.clone())
            .then(shown)
            .chain(stream::pending())
            .boxed()
    }

    async fn dial(&self, _: &str, _: &str, _: u16) -> Result<Box<dyn Wire>, ClusterError> {
        let status = {
            let mut statuses = self.statuses.lock().unwrap();
            if statuses.is_empty() {
                return Err(ClusterError::Unreachable("nobody listens".to_owned()));
            }
            statuses.remove(0)
        };
        let (ours, mut theirs) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut request = [0; 4096];
            let read = theirs.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /healthz HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            theirs.write_all(answer.as_bytes()).await.unwrap();
        });
        Ok(Box::new(ours))
    }

    async fn look(&self, _: &[WorkloadRef]) -> Result<SeenCluster, ClusterError> {
        never()
    }

    async fn scale(&self, _: &WorkloadRef, _: &str, _: Counts<'_>, _: &Stamp) -> Result<(), ClusterError> {
        never()
    }

    async fn repoint(&self, _: &WorkloadRef, _: &str, _: &TemplateRef, _: &Stamp) -> Result<(), ClusterError> {
        never()
    }

    async fn update_strategy(
        &self,
        _: &WorkloadRef,
        _: &str,
        _: &UpdateStrategy,
        _: &UpdateStrategy,
        _: &UpdateStrategy,
        _: &Stamp,
    ) -> Result<(), ClusterError> {
        never()
    }

    async fn remove_pod(&self, _: &WorkloadRef, _: &str, _: &str, _: &Removal, _: &Stamp) -> Result<(), ClusterError> {
        never()
    }

    async fn stamp_pod(&self, _: &WorkloadRef, _: &str, _: &str, _: &Removal, _: &Stamp) -> Result<(), ClusterError> {
        never()
    }

    async fn pair(
        &self,
        _: &WorkloadRef,
        _: &str,
        _: &TemplateRef,
        _: &Pairing,
        _: &Stamp,
    ) -> Result<(), ClusterError> {
        never()
    }

    async fn give_back(&self, _: &WorkloadRef, _: &str, _: &Stamp) -> Result<(), ClusterError> {
        never()
    }

    async fn stamp(&self, _: &WorkloadRef, _: &str, _: &Stamp, _: &str) -> Result<(), ClusterError> {
        never()
    }

    async fn acquire(&self, _: &str, _: &str, _: &str, _: Token, _: Duration, _: Duration) -> Result<(), ClusterError> {
        never()
    }

    async fn release(&self) -> Result<(), ClusterError> {
        never()
    }

    async fn exec(&self, _: &str, _: &str, _: Option<&str>, _: &[String]) -> Result<Exited, ClusterError> {
        let code = match self.statuses.lock().unwrap().pop() {
            None => return Err(ClusterError::Unreachable("nobody runs it".to_owned())),
            Some(status) => i32::from(status),
        };
        Ok(Exited {
            code,
            said: "first\nthe stock is empty\n".to_owned(),
        })
    }

    async fn log(&self, _: &str, _: &str, _: &str, _: LogOf) -> Result<Vec<String>, ClusterError> {
        never()
    }

    async fn events(&self, _: &str, _: &str, _: &str) -> Result<Vec<PodEvent>, ClusterError> {
        never()
    }

    async fn look_around(&self, _: &LookAround) -> Result<SeenAround, ClusterError> {
        never()
    }

    async fn missing_exec_rights(&self, _: &str) -> Result<Vec<String>, ClusterError> {
        never()
    }

    async fn missing_rights(&self, _: &str, _: bool) -> Result<Vec<String>, ClusterError> {
        never()
    }
}

fn http() -> Ask {
    Ask::Http {
        path: "/healthz".to_owned(),
        port: 8080,
    }
}

fn database() -> Box<dyn Database> {
    let options = ConnectOptions {
        source: stepback_core::model::UrlSource::Env("DATABASE_URL".to_owned()),
        state_schema: "stepback".to_owned(),
        ledger: LedgerChoice::Auto,
        lock_wait: Duration::from_secs(1),
        statement: Duration::from_secs(1),
        step: Duration::from_secs(60),
        create: false,
        by: "a test".to_owned(),
    };
    connect("sqlite::memory:", options).unwrap()
}

/// How the gate settles, what was said meanwhile, and how many answers were not asked for.
async fn wait(ask: Ask, statuses: &[u16], limit_ms: u64, timeout_ms: u64) -> (Settled, Vec<String>, usize) {
    let database = database();
    let fake = Fake {
        statuses: Mutex::new(statuses.to_vec()),
        ready: vec![READY],
    };
    let gate = Gate::PodHealthy {
        workload: web(),
        pod: "web-0".to_owned(),
        template: template(),
        rewritten: Default::default(),
        min_ready_seconds: 0,
        probes: vec![Probe {
            ask,
            successes: 3,
            period_ms: 1,
            timeout_ms,
        }],
    };
    let (_stopper, stop) = stop();
    let mut said = Vec::new();
    let limit = Duration::from_millis(limit_ms);
    let seams = Seams {
        cluster: &fake,
        database: &*database,
    };
    let settled = settle(seams, &gate, limit, &stop, &mut |reason| said.push(reason)).await;
    let left = fake.statuses.lock().unwrap().len();
    (settled, said, left)
}

#[tokio::test]
async fn successes_count_only_in_a_row() {
    let (settled, said, left) = wait(http(), &[200, 204, 500, 200, 200, 302, 200], 60_000, 60_000).await;
    assert!(matches!(settled, Settled::Healthy(_)), "{settled:?}");
    assert_eq!(left, 1, "three in a row are enough");
    assert!(said.iter().any(|reason| reason.contains("answered 500")), "{said:?}");
}

#[tokio::test]
async fn a_gate_whose_limit_passes_names_the_probe_that_failed() {
    let (settled, said, _) = wait(http(), &[], 300, 60_000).await;
    let Settled::TimedOut(why) = settled else {
        panic!("{settled:?}")
    };
    assert!(
        why.contains("GET /healthz on web-0:8080: cannot reach the cluster: nobody listens"),
        "{why}"
    );
    // Said while it was so, once.
    assert_eq!(
        said.iter().filter(|reason| reason.contains("nobody listens")).count(),
        1,
        "{said:?}"
    );
}

#[tokio::test]
async fn a_probe_whose_own_limit_passes_fails_the_gate() {
    let (settled, _, _) = wait(http(), &[200, 200], 60_000, 200).await;
    let Settled::Failed(why) = settled else {
        panic!("{settled:?}")
    };
    assert!(
        why.contains("did not succeed within 0.2 s") && why.contains("nobody listens"),
        "{why}"
    );
}

#[tokio::test]
async fn a_command_holds_by_its_exit_status() {
    let ask = || Ask::Exec {
        container: None,
        command: vec!["shop".to_owned(), "selfcheck".to_owned()],
    };
    let (settled, said, _) = wait(ask(), &[0, 0, 0, 3], 60_000, 60_000).await;
    assert!(matches!(settled, Settled::Healthy(_)), "{settled:?}");
    assert_eq!(said, ["`shop selfcheck` in web-0: exit status 3: the stock is empty"]);
}

#[tokio::test]
async fn what_can_never_hold_is_not_tried_again() {
    let ask = Ask::Sql {
        query: "SELECT 1; SELECT 2".to_owned(),
    };
    let (settled, _, _) = wait(ask, &[], 60_000, 60_000).await;
    let Settled::Failed(why) = settled else {
        panic!("{settled:?}")
    };
    assert!(why.contains("can never hold") && why.contains("2 statements"), "{why}");
}

/// How a gate of 30 s of readiness settles, and after how long.
async fn wait_for_readiness(ready: &[(u64, &'static str, i32)]) -> (Settled, Duration, Vec<String>) {
    let database = database();
    let fake = Fake {
        statuses: Mutex::default(),
        ready: ready.to_vec(),
    };
    let gate = Gate::PodHealthy {
        workload: web(),
        pod: "web-0".to_owned(),
        template: template(),
        rewritten: Default::default(),
        min_ready_seconds: 30,
        probes: vec![],
    };
    let (_stopper, stop) = stop();
    let seams = Seams {
        cluster: &fake,
        database: &*database,
    };
    let mut said = Vec::new();
    let begun = Instant::now();
    let limit = Duration::from_secs(300);
    let settled = settle(seams, &gate, limit, &stop, &mut |reason| said.push(reason)).await;
    (settled, begun.elapsed(), said)
}

#[tokio::test(start_paused = true)]
async fn readiness_is_counted_from_our_first_look_whatever_the_clocks_say() {
    // Ready for years, by this machine's clock; ready in times to come, by the node's.
    for since in ["1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let (settled, took, said) = wait_for_readiness(&[(7, since, 0)]).await;
        assert!(matches!(settled, Settled::Healthy(_)), "{since}: {settled:?}");
        assert_eq!(took.as_secs(), 37, "{since}");
        assert_eq!(said, ["pod web-0 is ready, and must stay so for 30 s"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_not_ready_in_between_begins_anew() {
    let (one, later) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:20Z");
    // Shown again as it was, then ready anew, then restarted.
    let (settled, took, _) = wait_for_readiness(&[(0, one, 0), (10, one, 0)]).await;
    assert!(matches!(settled, Settled::Healthy(_)), "{settled:?}");
    assert_eq!(took.as_secs(), 30);
    let (settled, took, _) = wait_for_readiness(&[(0, one, 0), (20, later, 0), (20, later, 1)]).await;
    assert!(matches!(settled, Settled::Healthy(_)), "{settled:?}");
    assert_eq!(took.as_secs(), 70);
}
