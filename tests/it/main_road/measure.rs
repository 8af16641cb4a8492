//! How long a rollback takes, beside the way by hand: scale to 0, wait, set the image, scale up by one, wait. On the real
//! control plane, in one run. Measured, not judged: cases only when `STEPBACK_MEASURE` is set (`tests/bench/rollback`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{process::Command, sync::watch, task::JoinHandle};

use super::{
    stage::{INDEXED, Setting, Stage},
    store::Engine,
    walk::releases,
};
use crate::support::{
    cluster::Kind,
    controlplane,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
    scene::is_ready,
};

/// How long the slowest of these may take.
const LIMIT: Duration = Duration::from_secs(600);

pub fn cases() -> Vec<Case> {
    if std::env::var_os("STEPBACK_MEASURE").is_none() {
        return Vec::new();
    }
    let measured = |pods: i32| {
        let name = format!("main_road::measure_{pods}_pods");
        case(name, move |ctx| compare(ctx, pods)).limit(LIMIT)
    };
    [3, 20].into_iter().map(measured).collect()
}

async fn compare(ctx: Ctx, pods: i32) -> Outcome {
    let (ours, own) = {
        let stage = stage(&ctx, "ours", pods).await?;
        let clock = Clock::start(&stage).await?;
        let folder = stage.folder("1.3.0");
        let typed = "rollback --to 1.3.0 --yes";
        let began = Instant::now();
        stage.credentials.run(0, &folder, typed).await?;
        (began.elapsed(), clock.stop())
    };
    let (manual, manual_own) = {
        let stage = stage(&ctx, "manual", pods).await?;
        let clock = Clock::start(&stage).await?;
        let began = Instant::now();
        by_hand(&stage, pods).await?;
        (began.elapsed(), clock.stop())
    };
    let line = format!(
        "| {pods} | {:.2} s | {:.2} s | {:.2} | {:.2} s | {:.2} s |\n",
        ours.as_secs_f64(),
        own.as_secs_f64(),
        ours.as_secs_f64() / own.as_secs_f64(),
        manual.as_secs_f64(),
        manual_own.as_secs_f64(),
    );
    let file = std::env::var("STEPBACK_MEASURE")?;
    let mut written = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    std::io::Write::write_all(&mut written, line.as_bytes())?;
    Ok(())
}

/// A shop of so many pods at 1.3.1, whose way back to 1.3.0 is to be the offline one.
async fn stage(ctx: &Ctx, name: &str, pods: i32) -> Result<Stage, NotPassed> {
    let setting = Setting {
        replicas: pods,
        // One answer of the probe is enough: a second one would come a period later, by the app file's own wish.
        edit: |app| releases(app, "20240401090000", "20240301090000", "").replace("successes: 2", "successes: 1"),
        newest: INDEXED,
        // Three seconds until it is ready, as a small app takes: the shop itself needs a tenth of one.
        delay: 30,
        ..Setting::new(Engine::Sqlite, Kind::Real, "1.3.0")
    };
    let dir = ctx.dir().join(name);
    std::fs::create_dir(&dir)?;
    Stage::set(setting, &dir, name).await
}

/// What a careful person types. The schema is left as it is: it would come on top.
async fn by_hand(stage: &Stage, pods: i32) -> Outcome {
    kubectl(stage, "scale statefulset/shop --replicas=0").await?;
    kubectl(stage, "wait pod --selector=app=shop --for=delete --timeout=300s").await?;
    kubectl(stage, "set image statefulset/shop shop=shop:1.3.0").await?;
    for count in 1..=pods {
        kubectl(stage, &format!("scale statefulset/shop --replicas={count}")).await?;
        let pod = stage.setting.pod(count - 1);
        kubectl(stage, &format!("wait pod/{pod} --for=create --timeout=300s")).await?;
        kubectl(stage, &format!("wait pod/{pod} --for=condition=Ready --timeout=300s")).await?;
    }
    Ok(())
}

async fn kubectl(stage: &Stage, typed: &str) -> Outcome {
    let ran = Command::new(controlplane::binary()?)
        .arg("kubectl")
        .arg("--namespace")
        .arg(&stage.namespace)
        .args(typed.split_whitespace())
        .env("KUBECONFIG", &stage.credentials.kubeconfig)
        .kill_on_drop(true)
        .output()
        .await?;
    if ran.status.success() {
        return Ok(());
    }
    fail(format_args!(
        "kubectl {typed}: {}",
        String::from_utf8_lossy(&ran.stderr)
    ))
}

type Times = Arc<Mutex<BTreeMap<String, Seen>>>;

/// When a pod, by UID, was first seen in each state.
#[derive(Clone, Copy, Default)]
struct Seen {
    came: Option<Instant>,
    ready: Option<Instant>,
    ending: Option<Instant>,
    gone: Option<Instant>,
}

/// Watches how long each pod takes to stop and to start.
struct Clock {
    times: Times,
    task: JoinHandle<()>,
}

impl Clock {
    async fn start(stage: &Stage) -> Result<Clock, NotPassed> {
        let times = Times::default();
        let (begin, mut begun) = watch::channel(false);
        let task = tokio::spawn(observe(stage.pods.clone(), Arc::clone(&times), begin));
        begun.wait_for(|begun| *begun).await?;
        Ok(Clock { times, task })
    }

    /// What the pods took by themselves: from being told to end to being gone, and from being made to being ready.
    fn stop(self) -> Duration {
        self.task.abort();
        let times = self.times.lock().expect("nobody panics with it");
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from),
            _ => Duration::ZERO,
        };
        times
            .values()
            .map(|seen| between(seen.ending, seen.gone) + between(seen.came, seen.ready))
            .sum()
    }
}

async fn observe(pods: Api<Pod>, times: Times, begin: watch::Sender<bool>) {
    let mut events = Box::pin(watcher(pods, watcher::Config::default()));
    while let Some(Ok(event)) = events.next().await {
        let now = Instant::now();
        let (pod, is_new, gone) = match event {
            Event::Init => continue,
            Event::InitDone => {
                begin.send_replace(true);
                continue;
            }
            Event::InitApply(pod) => (pod, false, false),
            Event::Apply(pod) => (pod, true, false),
            Event::Delete(pod) => (pod, true, true),
        };
        let mut times = times.lock().expect("nobody panics with it");
        let seen = times.entry(pod.uid().unwrap_or_default()).or_default();
        if is_new && seen.came.is_none() && !is_ready(&pod) && pod.metadata.deletion_timestamp.is_none() {
            seen.came = Some(now);
        }
        if is_ready(&pod) {
            seen.ready.get_or_insert(now);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            seen.ending.get_or_insert(now);
        }
        if gone {
            seen.gone = Some(now);
        }
    }
}
