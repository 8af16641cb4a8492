//! Pods walked back one at a time, while a client goes on asking: it tries the other pods where one does not answer, and
//! sees no failure.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    history::{History, check_walk},
    stage::{INDEXED, Setting, Stage},
    store::Engine,
    world::{Expected, TO_1_3_0, check_journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
    shop::ask,
};

/// What a case's releases accept, what is asked for, and what is wrong.
#[derive(Clone)]
struct Way {
    name: &'static str,
    edit: fn(&str) -> String,
    /// What the plan must say.
    said: &'static [&'static str],
    /// The pods in the order in which they go.
    order: [i32; 3],
    broken: &'static [i32],
    strategy: Value,
    expected: Expected,
}

/// The app file with 1.3.1 in it: its own range and that of 1.3.0, and more.
pub fn releases(app: &str, indexed_min: &str, plain_max: &str, more: &str) -> String {
    let (version, image) = INDEXED;
    let indexed = format!(
        "  releases:\n    - version: {version}\n      schema: \"20240401090000\"\n      accepts: {{ min: \"{indexed_min}\" }}\n      \
         images: {{ shop: {{ shop: \"{image}\" }} }}\n"
    );
    let app = app
        .replace("  releases:\n", &indexed)
        .replace("max: \"20240301090000\"", &format!("max: \"{plain_max}\""));
    format!("{app}{more}  limits: {{ pod: 40s }}\n")
}

const PLAIN: &str = "20240301090000";
const WITH_INDEX: &str = "20240401090000";

fn ways() -> Vec<Way> {
    let app_first = Way {
        name: "app_first",
        edit: |app| releases(app, WITH_INDEX, WITH_INDEX, ""),
        said: &[
            "app-first: 1.3.0 accepts 20240401090000, the present schema",
            "none for clients that try another pod",
            "replace shop-2",
        ],
        order: [2, 1, 0],
        broken: &[],
        strategy: json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } }),
        expected: TO_1_3_0,
    };
    vec![
        app_first.clone(),
        Way {
            name: "schema_first",
            edit: |app| releases(app, PLAIN, PLAIN, ""),
            said: &[
                "schema-first: 1.3.1 accepts 20240301090000, the target's schema",
                "none for clients that try another pod",
            ],
            ..app_first.clone()
        },
        Way {
            name: "app_only",
            edit: |app| releases(app, WITH_INDEX, WITH_INDEX, "  strategy: app-only\n"),
            said: &[
                "app-only: the app file asks for it",
                "none for clients that try another pod",
            ],
            expected: Expected {
                ledger: &[
                    "20240101090000",
                    "20240115120000",
                    "20240220103000",
                    "20240301090000",
                    "20240401090000",
                ],
                ..TO_1_3_0
            },
            ..app_first.clone()
        },
        // Under that partition the lowest pod would come back on the current revision, and it blocks the others.
        Way {
            name: "w4_the_broken_pod_first_and_a_partition_left_over",
            order: [0, 2, 1],
            broken: &[0],
            strategy: json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } }),
            said: &["app-first"],
            ..app_first.clone()
        },
        Way {
            name: "on_delete",
            strategy: json!({ "type": "OnDelete", "rollingUpdate": null }),
            ..app_first
        },
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, engine) in [(Kind::Sandbox, Engine::Sqlite), (Kind::Real, Engine::Postgres)] {
        for way in ways() {
            let name = format!("main_road::walk_{}_{}_{}", engine.name(), kind.name(), way.name);
            cases.push(case(name, move |ctx| walk(ctx, kind, engine, way)));
        }
    }
    cases
}

async fn walk(ctx: Ctx, kind: Kind, engine: Engine, way: Way) -> Outcome {
    let setting = Setting {
        edit: way.edit,
        newest: INDEXED,
        ..Setting::new(engine, kind, "1.3.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    if way.broken.is_empty() {
        stage
            .patch(json!({ "spec": { "updateStrategy": way.strategy } }))
            .await?;
    } else {
        stage
            .break_pods("next/shop:1.3.0-bad", way.broken, way.strategy.clone())
            .await?;
    }
    let before = serde_json::to_value(stage.sets.get("shop").await?.spec.update_strategy)?;
    let partition = "/rollingUpdate/partition";
    assert_eq!(before["type"], way.strategy["type"]);
    assert_eq!(before.pointer(partition), way.strategy.pointer(partition));

    let folder = stage.folder("1.3.0");
    let plan = stage.credentials.run(0, &folder, "plan --to 1.3.0").await?;
    // Lines are folded at 80 columns.
    let text: Vec<&str> = plan.out.split_whitespace().collect();
    for said in way.said {
        assert!(text.join(" ").contains(said), "it should have said {said:?}: {plan}");
    }

    let history = History::begin(&stage).await?;
    let customer = Customer::begin(&stage).await?;
    stage.credentials.run(0, &folder, "rollback --to 1.3.0 --yes").await?;
    customer.end().await?;
    let facts = history.end(&stage).await?;

    way.expected.check(&stage).await?;
    let journal = check_journals(&stage).await?;
    check_walk(&facts, &journal.plan, &way.order.map(|index| stage.setting.pod(index)))?;
    let after = serde_json::to_value(stage.sets.get("shop").await?.spec.update_strategy)?;
    assert_eq!(after, before, "the update strategy is given back whole");
    // There is nothing left to do.
    let again = stage.credentials.run(0, &folder, "rollback --to 1.3.0 --yes").await?;
    assert!(again.out.contains("nothing to do"), "{again}");
    Ok(())
}

/// Somebody who reads the shop's orders all the time, one request after the other.
struct Customer {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Customer {
    /// Begins; one request has been served when this returns.
    async fn begin(stage: &Stage) -> Result<Customer, NotPassed> {
        let (stop, served, failed) = (Arc::default(), Arc::default(), Arc::default());
        let mut customer = Customer {
            stop: Arc::clone(&stop),
            served: Arc::clone(&served),
            failed: Arc::clone(&failed),
            task: tokio::spawn(std::future::ready(())),
        };
        let pods = stage.pods.clone();
        if let Err(why) = request(&pods, 0).await {
            return fail(why);
        }
        customer.task = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = served.fetch_add(1, Ordering::Relaxed);
                if let Err(why) = request(&pods, number).await {
                    failed.lock().expect("nobody panics with it").push(why);
                }
                // A customer's pace: two cores serve the cluster too.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Ok(customer)
    }

    /// Fails where a request has failed.
    async fn end(self) -> Result<(), NotPassed> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?;
        let served = self.served.load(Ordering::Relaxed);
        let failed = self.failed.lock().expect("nobody panics with it");
        assert!(served > 20, "only {served} requests were sent");
        match failed.first() {
            None => Ok(()),
            Some(first) => fail(format_args!("{} of {served} requests failed: {first}", failed.len())),
        }
    }
}

/// One request: to the pod whose turn it is, and where that does not answer well, to the others.
async fn request(pods: &Api<Pod>, number: usize) -> Result<(), String> {
    let pods = pods
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?
        .items;
    let mut why = String::from("there is no pod");
    for turn in 0..pods.len() {
        let pod = &pods[(number + turn) % pods.len()];
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            continue;
        };
        let asked = timeout(
            Duration::from_secs(5),
            ask(address, Method::GET, "/orders", Value::Null),
        )
        .await;
        match asked {
            Ok(Ok((status, body))) if status == 200 && body.to_string().contains("kettle") => return Ok(()),
            other => why = format!("{:?}: {other:?}", pod.metadata.name),
        }
    }
    Err(why)
}
