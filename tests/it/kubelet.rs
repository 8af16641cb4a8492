//! How the kubelet treats pods: on Kubernetes' own API server and on the sandbox's, with pods that
//! no controller made.

use std::{path::Path, process::Stdio, time::Duration};

use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{AttachParams, DeleteParams, LogParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, from_value, json};
use stepback_sandbox::{
    ControllerOptions,
    api::{self, ApiServer},
    kubelet::{KubeletOptions, Program},
    shop::PORT,
    start_controllers,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case},
    scene::{Pods, Scene, is_ready, waiting_reason},
    shop,
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Real, Kind::Sandbox] {
        macro_rules! add {
            ($($behaviour:ident),* $(,)?) => {
                $(cases.push(case(
                    format!("kubelet::{}::{}", kind.name(), stringify!($behaviour)),
                    move |ctx: Ctx| async move { $behaviour(Scene::open(kind, ctx.name()).await?, &ctx).await },
                ));)*
            };
        }
        add![
            runs_a_pod_on_an_address_of_its_own,
            ends_a_pod_with_grace_and_takes_it_off_the_server,
            starts_a_crashing_container_again_after_pauses,
            does_not_have_other_images,
            a_pod_that_is_not_restarted_ends_with_its_process,
            gives_a_container_its_environment,
            readiness_follows_the_answers,
            kills_the_process_of_a_pod_that_is_removed_by_force,
            keeps_its_node_ready,
        ];
    }
    cases.push(case("kubelet::sandbox::tells_logs_to_whoever_asks_the_server", logs));
    cases.push(case("kubelet::sandbox::runs_commands_in_a_container", commands));
    cases.push(case("kubelet::sandbox::leaves_no_process_when_it_stops", stops));
    cases.push(case("kubelet::a_shop_ends_with_whoever_started_it", lifeline));
    cases
}

/// The pod `p`, of the shop at a release, with no database, ready once it listens; `more` is put over its container.
async fn create(scene: &Scene, image: &str, more: Value) -> Result<Pod, crate::support::runner::NotPassed> {
    let mut container = json!({
        "name": "shop",
        "image": image,
        "env": [{ "name": "DATABASE_URL", "value": "sqlite:///nowhere/shop.db" }],
        "readinessProbe": { "tcpSocket": { "port": PORT }, "periodSeconds": 1 },
    });
    let mut spec = json!({ "terminationGracePeriodSeconds": 5 });
    for (key, value) in more.as_object().into_iter().flatten() {
        let place = if key == "restartPolicy" {
            &mut spec
        } else {
            &mut container
        };
        place[key] = value.clone();
    }
    spec["containers"] = json!([container]);
    let pod = from_value(json!({ "metadata": { "name": "p" }, "spec": spec }))?;
    Ok(scene.pods.create(&PostParams::default(), &pod).await?)
}

fn ready(pods: &Pods) -> bool {
    pods.get("p").is_some_and(is_ready)
}

fn waits(reason: &str) -> impl Fn(&Pods) -> bool {
    move |pods| pods.get("p").and_then(waiting_reason) == Some(reason)
}

fn address(pod: &Pod) -> String {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap();
    format!("{ip}:{PORT}")
}

async fn runs_a_pod_on_an_address_of_its_own(scene: Scene, _ctx: &Ctx) -> Outcome {
    create(&scene, "registry.example/team/shop:1.2.0", json!({})).await?;
    let pod = scene.until_pods("the pod is ready", ready).await?.remove("p").unwrap();
    let status = pod.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ips.unwrap()[0].ip, status.pod_ip.unwrap());
    let conditions: Vec<_> = status
        .conditions
        .unwrap()
        .into_iter()
        .map(|c| (c.type_, c.status))
        .collect();
    for type_ in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
        assert!(
            conditions.contains(&(type_.to_owned(), "True".to_owned())),
            "{type_}: {conditions:?}"
        );
    }
    TcpStream::connect(address(&pod)).await?;
    assert!(!address(&pod).starts_with("127.0.0."));
    for reason in ["Scheduled", "Pulled", "Started"] {
        scene.until_event("p", reason, "").await?;
    }
    let log = scene.cluster.logs().read(&scene.namespace, "p", "shop").unwrap();
    assert!(
        log.contains(&format!("shop 1.2.0 listens on {}", address(&pod))),
        "{log}"
    );
    Ok(())
}

async fn ends_a_pod_with_grace_and_takes_it_off_the_server(scene: Scene, _ctx: &Ctx) -> Outcome {
    create(&scene, "shop:1.2.0", json!({})).await?;
    let pods = scene.until_pods("the pod is ready", ready).await?;
    // A request in flight: the shop waits for its client for a moment before it ends.
    let mut client = TcpStream::connect(address(&pods["p"])).await?;
    scene.pods.delete("p", &DeleteParams::default()).await?;
    let ended = |pods: &Pods| {
        let Some(pod) = pods.get("p") else { return true };
        let containers = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let state = containers.and_then(|containers| containers[0].state.as_ref());
        state
            .and_then(|state| state.terminated.as_ref())
            .is_some_and(|ended| ended.exit_code == 0)
    };
    scene.until_pods("its container ended well, by SIGTERM", ended).await?;
    scene.until_pods("the pod is gone", Pods::is_empty).await?;
    scene.until_event("p", "Killing", "").await?;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), client.read_to_end(&mut rest)).await??;
    assert!(TcpStream::connect(address(&pods["p"])).await.is_err());
    Ok(())
}

async fn starts_a_crashing_container_again_after_pauses(scene: Scene, _ctx: &Ctx) -> Outcome {
    create(&scene, "shop:1.2.0-bad", json!({})).await?;
    scene
        .until_pods("the container waits", waits("CrashLoopBackOff"))
        .await?;
    let restarted = |pods: &Pods| {
        let containers = pods["p"]
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        containers.is_some_and(|containers| containers[0].restart_count >= 3)
    };
    let pods = scene.until_pods("it was restarted three times", |pods| {
        pods.contains_key("p") && restarted(pods)
    });
    let status = pods.await?.remove("p").unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.unwrap()[0];
    let last = container.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, container.ready), (1, false));
    scene.until_event("p", "BackOff", "restarting failed container").await?;
    let log = scene.cluster.logs().read(&scene.namespace, "p", "shop").unwrap();
    assert!(log.contains("release 1.2.0-bad is broken"), "{log}");
    scene.delete_pod("p").await?;
    scene
        .until_pods("a pod that waits can be deleted", Pods::is_empty)
        .await?;
    Ok(())
}

async fn does_not_have_other_images(scene: Scene, _ctx: &Ctx) -> Outcome {
    create(&scene, "registry.example/shop:9.9.9", json!({})).await?;
    let pods = scene
        .until_pods("the image is not there", waits("ImagePullBackOff"))
        .await?;
    assert_eq!(pods["p"].status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    scene.until_event("p", "Failed", "registry.example/shop:9.9.9").await?;
    scene.delete_pod("p").await?;
    scene
        .until_pods("a pod that waits can be deleted", Pods::is_empty)
        .await?;
    Ok(())
}

async fn a_pod_that_is_not_restarted_ends_with_its_process(scene: Scene, _ctx: &Ctx) -> Outcome {
    create(&scene, "shop:1.2.0-bad", json!({ "restartPolicy": "Never" })).await?;
    let failed = |pods: &Pods| pods.get("p").and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Failed");
    let pods = scene.until_pods("the pod has failed", failed).await?;
    assert_eq!(
        pods["p"].status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].restart_count,
        0
    );
    Ok(())
}

async fn gives_a_container_its_environment(scene: Scene, ctx: &Ctx) -> Outcome {
    let from = json!({ "env": [
        { "name": "FOLDER", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "folder" } } },
        { "name": "FILE", "valueFrom": { "secretKeyRef": { "name": "file", "key": "name" } } },
        { "name": "DATABASE_URL", "value": "sqlite://$(FOLDER)/$(FILE)" },
    ], "readinessProbe": { "httpGet": { "path": "/healthz", "port": PORT }, "periodSeconds": 1 } });
    create(&scene, "shop:1.1.0", from).await?;
    scene
        .until_pods("the ConfigMap is missing", waits("CreateContainerConfigError"))
        .await?;
    let file = ctx.fresh_file("shop.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await?;
    sqlx::query("CREATE TABLE orders (id integer PRIMARY KEY, item text NOT NULL, quantity integer NOT NULL)")
        .execute(&pool)
        .await?;
    let map: ConfigMap = from_value(json!({ "metadata": { "name": "settings" }, "data": { "folder": ctx.dir() } }))?;
    let secret: Secret = from_value(json!({ "metadata": { "name": "file" }, "stringData": { "name": "shop.db" } }))?;
    Api::namespaced(scene.client.clone(), &scene.namespace)
        .create(&PostParams::default(), &secret)
        .await?;
    Api::namespaced(scene.client.clone(), &scene.namespace)
        .create(&PostParams::default(), &map)
        .await?;
    scene.until_pods("the shop found its database", ready).await?;
    Ok(())
}

async fn readiness_follows_the_answers(scene: Scene, ctx: &Ctx) -> Outcome {
    let file = ctx.fresh_file("shop.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await?;
    let probed = json!({
        "env": [{ "name": "DATABASE_URL", "value": format!("sqlite://{}", file.display()) }],
        "ports": [{ "name": "http", "containerPort": PORT }],
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 1 },
    });
    create(&scene, "shop:1.1.0", probed).await?;
    scene.until_event("p", "Unhealthy", "statuscode: 500").await?;
    sqlx::query("CREATE TABLE orders (id integer PRIMARY KEY, item text NOT NULL, quantity integer NOT NULL)")
        .execute(&pool)
        .await?;
    let first = scene.until_pods("the schema is right, the pod ready", ready).await?;
    sqlx::query("ALTER TABLE orders RENAME COLUMN item TO product")
        .execute(&pool)
        .await?;
    let unready = |pods: &Pods| pods.get("p").is_some_and(|pod| !is_ready(pod));
    let later = scene
        .until_pods("the schema is wrong, the pod not ready", unready)
        .await?;
    assert_eq!(address(&first["p"]), address(&later["p"]), "it is the same process");
    Ok(())
}

async fn kills_the_process_of_a_pod_that_is_removed_by_force(scene: Scene, _ctx: &Ctx) -> Outcome {
    create(&scene, "shop:1.2.0", json!({})).await?;
    let pods = scene.until_pods("the pod is ready", ready).await?;
    let mut client = TcpStream::connect(address(&pods["p"])).await?;
    scene.pods.delete("p", &DeleteParams::default().grace_period(0)).await?;
    let mut rest = Vec::new();
    // The connection ends with the process; whether by a reset or in order does not matter.
    drop(timeout(Duration::from_secs(10), client.read_to_end(&mut rest)).await?);
    Ok(())
}

async fn keeps_its_node_ready(scene: Scene, _ctx: &Ctx) -> Outcome {
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let node = scene.until(&nodes, "a node is ready", |nodes| {
        let is_ready = |node: &&Node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions
                .into_iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        nodes.values().find(is_ready).map(ResourceExt::name_any)
    });
    assert_eq!(node.await?, "sandbox");
    Ok(())
}

async fn lifeline(_ctx: Ctx) -> Outcome {
    let Program { path, args } = shop::program();
    let mut shop = Command::new(path)
        .args(args)
        .env("SHOP_RELEASE", "1.2.0")
        .env("SHOP_ADDRESS", "127.93.7.11")
        .env("DATABASE_URL", "sqlite:///nowhere/shop.db")
        .env("SHOP_LIFELINE", "stdin")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = [0; 16];
    shop.stderr.as_mut().unwrap().read_exact(&mut said).await?;
    // The kernel closes this pipe when the process that holds it is killed, as it is closed here.
    drop(shop.stdin.take());
    let exit = timeout(Duration::from_secs(10), shop.wait()).await??;
    assert!(exit.success());
    Ok(())
}

async fn stops(_ctx: Ctx) -> Outcome {
    let server = ApiServer::start(api::Options::default()).await?;
    let client = Client::try_from(server.client_config())?;
    let kubelet = KubeletOptions::new(shop::program());
    let controllers = start_controllers(
        &client,
        ControllerOptions {
            statefulset: false,
            kubelet: Some(kubelet),
        },
    );
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = from_value(json!({ "metadata": { "name": "p" }, "spec": { "containers": [
        { "name": "shop", "image": "shop:1.2.0", "env": [{ "name": "DATABASE_URL", "value": "sqlite:///nowhere/s.db" }] },
    ] } }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let is_ready = |pod: Option<&Pod>| pod.is_some_and(is_ready);
    let pod = timeout(Duration::from_secs(20), await_condition(pods, "p", is_ready))
        .await??
        .unwrap();
    let status = pod.status.unwrap();
    let id = status.container_statuses.unwrap()[0].container_id.clone().unwrap();
    let process = Path::new("/proc").join(id.strip_prefix("process://").unwrap());
    assert!(process.exists());
    controllers.stop().await;
    assert!(!process.exists(), "the process is gone, and waited for");
    Ok(())
}

async fn logs(ctx: Ctx) -> Outcome {
    let scene = Scene::open(Kind::Sandbox, ctx.name()).await?;
    create(&scene, "shop:1.2.0", json!({})).await?;
    scene.until_pods("the pod is ready", ready).await?;
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut followed = scene.pods.log_stream("p", &follow).await?.lines();
    assert!(followed.next().await.unwrap()?.contains("shop 1.2.0 listens on"));
    assert!(
        scene
            .pods
            .logs("p", &LogParams::default())
            .await?
            .contains("shop 1.2.0 listens on")
    );
    scene.delete_pod("p").await?;
    let rest = async { followed.map(Result::unwrap).collect::<Vec<_>>().await };
    assert_eq!(timeout(Duration::from_secs(20), rest).await?, ["shop 1.2.0 ends"]);
    Ok(())
}

/// What came of a command in the pod `p`: what it wrote, and how it ended.
async fn ran(pods: &Api<Pod>, command: &[&str], input: Option<&[u8]>) -> Result<(String, Value), NotPassed> {
    let params = AttachParams::default().stdin(input.is_some());
    let mut process = pods.exec("p", command.iter().copied(), &params).await?;
    let status = process.take_status().unwrap();
    if let (Some(mut stdin), Some(input)) = (process.stdin(), input) {
        stdin.write_all(input).await?;
        stdin.shutdown().await?;
    }
    let mut out = String::new();
    timeout(
        Duration::from_secs(20),
        process.stdout().unwrap().read_to_string(&mut out),
    )
    .await??;
    let status = timeout(Duration::from_secs(20), status).await?.unwrap();
    Ok((out, serde_json::to_value(status)?))
}

async fn commands(ctx: Ctx) -> Outcome {
    let scene = Scene::open(Kind::Sandbox, ctx.name()).await?;
    create(&scene, "shop:1.2.0", json!({})).await?;
    scene.until_pods("the pod is ready", ready).await?;
    let pods = &scene.pods;

    let (out, status) = ran(pods, &["sh", "-c", "echo $HOSTNAME $DATABASE_URL; exit 7"], None).await?;
    assert_eq!(out, "p sqlite:///nowhere/shop.db\n");
    assert_eq!(status["details"]["causes"][0]["message"], "7", "{status}");
    let (out, status) = ran(pods, &["cat"], Some(b"said")).await?;
    assert_eq!((out.as_str(), &status["status"]), ("said", &json!("Success")));
    let (_, status) = ran(pods, &["no-such-program"], None).await?;
    assert_eq!(status["reason"], "InternalError", "{status}");

    // A command ends with its client, and with its container.
    for ends_with_client in [true, false] {
        let file = ctx.fresh_file(&format!("{ends_with_client}"));
        // It holds a lock on the file as long as anything of it runs.
        let script = format!("exec 9>{0}; flock 9; echo locked; sleep 1000 & wait", file.display());
        let params = AttachParams::default().stdin(false);
        let mut process = pods.exec("p", ["sh", "-c", &script], &params).await?;
        let mut said = [0; 7];
        process.stdout().unwrap().read_exact(&mut said).await?;
        assert_eq!(&said, b"locked\n");
        if ends_with_client {
            process.abort();
        } else {
            scene.delete_pod("p").await?;
        }
        let free = Command::new("flock").arg(&file).arg("true").kill_on_drop(true).status();
        assert!(timeout(Duration::from_secs(20), free).await??.success());
    }
    let refused = pods.exec("p", ["true"], &AttachParams::default()).await;
    assert!(refused.is_err(), "there is no container any more");
    Ok(())
}
