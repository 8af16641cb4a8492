//! A server that takes requests and is silent: what was asked for may or may not happen, and nobody waits for ever.

use std::time::Duration;

use http::Method;
use k8s_openapi::api::{apps::v1::StatefulSet, coordination::v1::Lease};
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use serde_json::{from_value, json};
use stepback::cluster::{Cluster as _, ClusterError, Counts, KubeCluster};
use stepback_core::{
    model::{Observed, SeenWorkload, WorkloadKind, WorkloadRef},
    workload::observe_scale,
};
use stepback_sandbox::api::{ApiServer, Options};
use tokio::time::timeout;

use super::arena::{stamp, token};
use crate::support::runner::{Ctx, NotPassed, Outcome, fail};

/// How long a request may take here.
const SHORT: Duration = Duration::from_millis(500);
/// Far more than anything takes that does not wait for ever.
const LONG: Duration = Duration::from_secs(30);

/// A server without controllers, the set `web` in it, and its UID.
async fn silent_server() -> Result<(ApiServer, KubeCluster, WorkloadRef, String), NotPassed> {
    let server = ApiServer::start(Options::default()).await?;
    let mut config = server.client_config();
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let set: StatefulSet = from_value(json!({
        "metadata": { "name": "web" },
        "spec": {
            "serviceName": "web", "replicas": 3,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "shop", "image": "shop:1.3.0" }] },
            },
        },
    }))?;
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), "default");
    let set = sets.create(&PostParams::default(), &set).await?;
    let web = WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    };
    let cluster = KubeCluster::with_limit(client, "default", SHORT);
    Ok((server, cluster, web, set.metadata.uid.unwrap_or_default()))
}

async fn look(cluster: &KubeCluster, web: &WorkloadRef) -> Result<SeenWorkload, NotPassed> {
    let seen = cluster.look(std::slice::from_ref(web)).await?;
    Ok(seen.workloads.into_iter().next().expect("one was asked for"))
}

/// The write is not answered, and lands when the sender has given it up: the sender knows by looking.
pub async fn a_write_without_an_answer_is_unknown_and_the_world_is_asked(_ctx: Ctx) -> Outcome {
    let (server, cluster, web, uid) = silent_server().await?;
    let mut held = server.hold(|asked| asked.method == Method::PATCH && asked.path.ends_with("/statefulsets/web"));
    let written = timeout(LONG, cluster.scale(&web, &uid, Counts::of(3, 2, 3), &stamp(1, 1))).await?;
    assert!(
        matches!(&written, Err(ClusterError::Unreachable(why)) if why.contains("no answer within 0.5 s")),
        "{written:?}"
    );
    held.arrived().await?;
    assert_eq!(
        observe_scale(&look(&cluster, &web).await?, &uid, 3, 2),
        Observed::Untouched
    );
    assert_eq!(held.let_through().await?, 200);
    let seen = observe_scale(&look(&cluster, &web).await?, &uid, 3, 2);
    assert!(matches!(seen, Observed::Done(_)), "{seen:?}");
    Ok(())
}

pub async fn a_look_without_an_answer_is_given_up(_ctx: Ctx) -> Outcome {
    let (server, cluster, web, _) = silent_server().await?;
    let _held = server.hold(|asked| asked.method == Method::GET && asked.path.ends_with("/pods"));
    let looked = timeout(LONG, cluster.look(std::slice::from_ref(&web))).await?;
    assert!(matches!(looked, Err(ClusterError::Unreachable(_))), "{looked:?}");
    look(&cluster, &web).await?;
    Ok(())
}

/// The heartbeat of the cluster Lease does not wait for an answer past the next one.
pub async fn a_heartbeat_without_an_answer_is_no_loss(_ctx: Ctx) -> Outcome {
    let (server, cluster, ..) = silent_server().await?;
    let life = Duration::from_secs(3);
    cluster
        .acquire("default", "stepback-shop", "a", token(1), life, Duration::ZERO)
        .await?;
    let leases: Api<Lease> = Api::namespaced(cluster.client(), "default");
    let mut held = server.hold(|asked| asked.method == Method::PATCH && asked.path.ends_with("/stepback-shop"));
    timeout(LONG, held.arrived()).await??;
    let before = leases.get("stepback-shop").await?.spec.and_then(|spec| spec.renew_time);
    let is_renewed = move |lease: Option<&Lease>| {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        spec.is_some_and(|spec| spec.renew_time > before)
    };
    let renewed = await_condition(leases, "stepback-shop", is_renewed);
    let Ok(renewed) = timeout(LONG, renewed).await else {
        return fail("the Lease was not renewed while a heartbeat was not answered");
    };
    renewed?;
    // What was given up comes too late to do harm.
    assert_eq!(held.let_through().await?, 409);
    Ok(())
}
