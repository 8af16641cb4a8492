//! The real `kubectl` against the sandbox, and against the real control plane, which it must not be able to tell apart.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::{
    sandbox::Sandbox,
    support::{
        cluster::Kind,
        kubectl::Kubectl,
        runner::{Case, Ctx, NotPassed, Outcome, case, fail, root},
        scene::Scene,
    },
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Sandbox, Kind::Real] {
        macro_rules! add {
            ($($behaviour:ident),* $(,)?) => {
                $(cases.push(case(
                    format!("kubectl::{}::{}", kind.name(), stringify!($behaviour)),
                    move |ctx: Ctx| async move { $behaviour(Place::find(kind, &ctx).await?).await },
                ).limit(Duration::from_secs(240)));)*
            };
        }
        add![
            rolls_out_and_back,
            scales_waits_and_deletes,
            shows_tables,
            creates_what_it_sends_as_protobuf,
            asks_what_it_may_do,
        ];
    }
    macro_rules! add {
        ($($behaviour:ident),* $(,)?) => {
            $(cases.push(case(
                concat!("kubectl::sandbox::", stringify!($behaviour)),
                move |ctx: Ctx| async move { $behaviour(Place::find(Kind::Sandbox, &ctx).await?).await },
            ).limit(Duration::from_secs(240)));)*
        };
    }
    cases.push(case("kubectl::the_page_shows_what_kubectl_prints", page).limit(Duration::from_secs(240)));
    add![tells_logs_also_of_the_process_before, runs_commands];
    cases
}

struct Place {
    kubectl: Kubectl,
    scene: Scene,
}

impl Place {
    async fn find(kind: Kind, ctx: &Ctx) -> Result<Place, NotPassed> {
        let scene = Scene::open(kind, ctx.name()).await?;
        let kubectl = Kubectl::new(scene.cluster.kubeconfig(), &scene.namespace, ctx.dir())?;
        Ok(Place { kubectl, scene })
    }
}

/// A set of the shop that is ready once it listens.
fn web(image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web" },
        "spec": {
            "serviceName": "web", "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "shop", "image": image,
                        "env": [{ "name": "DATABASE_URL", "value": "sqlite:///nowhere/shop.db" }],
                        "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
                    }],
                },
            },
        },
    })
}

async fn rolls_out_and_back(Place { kubectl, .. }: Place) -> Outcome {
    assert_eq!(
        kubectl.apply(&web("shop:1.2.0", 2)).await?,
        "statefulset.apps/web created\n"
    );
    assert_eq!(
        kubectl.apply(&web("shop:1.2.0", 2)).await?,
        "statefulset.apps/web unchanged\n"
    );
    kubectl.ok("rollout status sts/web --timeout=60s").await?;
    assert_eq!(
        kubectl.apply(&web("shop:1.3.0", 2)).await?,
        "statefulset.apps/web configured\n"
    );
    let told = kubectl.ok("rollout status sts/web --timeout=60s").await?;
    assert!(told.contains("roll out complete: 2 new pods"), "{told}");
    let image = "get pods -l app=web -o jsonpath={.items[*].spec.containers[0].image}";
    assert_eq!(kubectl.ok(image).await?, "shop:1.3.0 shop:1.3.0");
    let history = kubectl.ok("rollout history sts/web").await?;
    assert_eq!(
        history
            .lines()
            .map(|line| line.split_whitespace().next().unwrap_or(""))
            .collect::<Vec<_>>(),
        ["statefulset.apps/web", "REVISION", "1", "2", ""],
        "{history}"
    );
    let revision = kubectl.ok("rollout history sts/web --revision=1").await?;
    assert!(revision.contains("shop:1.2.0"), "{revision}");
    assert_eq!(
        kubectl.ok("rollout undo sts/web").await?,
        "statefulset.apps/web rolled back\n"
    );
    kubectl.ok("rollout status sts/web --timeout=60s").await?;
    assert_eq!(kubectl.ok(image).await?, "shop:1.2.0 shop:1.2.0");
    kubectl.ok("rollout restart sts/web").await?;
    kubectl.ok("rollout status sts/web --timeout=60s").await?;
    Ok(())
}

async fn scales_waits_and_deletes(Place { kubectl, .. }: Place) -> Outcome {
    kubectl.apply(&web("shop:1.2.0", 1)).await?;
    kubectl
        .ok("wait --for=jsonpath={.status.readyReplicas}=1 sts/web --timeout=60s")
        .await?;
    assert_eq!(
        kubectl.ok("scale sts/web --replicas=2").await?,
        "statefulset.apps/web scaled\n"
    );
    kubectl.ok("wait --for=create pod/web-1 --timeout=60s").await?;
    kubectl.ok("wait --for=condition=Ready pod/web-1 --timeout=60s").await?;
    assert_eq!(
        kubectl.ok("annotate sts/web example.com/why=because").await?,
        "statefulset.apps/web annotated\n"
    );
    assert_eq!(
        kubectl
            .ok("get sts/web -o jsonpath={.metadata.annotations.example\\.com/why}")
            .await?,
        "because"
    );
    kubectl.ok("annotate sts/web example.com/why-").await?;
    let uid = "get pod/web-0 -o jsonpath={.metadata.uid}";
    let before = kubectl.ok(uid).await?;
    let told = kubectl.ok("delete pod web-0").await?;
    assert!(told.starts_with("pod \"web-0\" deleted"), "{told}");
    kubectl.ok("wait --for=create pod/web-0 --timeout=60s").await?;
    kubectl.ok("wait --for=condition=Ready pod/web-0 --timeout=60s").await?;
    assert_ne!(kubectl.ok(uid).await?, before);
    kubectl.ok("delete sts/web --cascade=foreground --timeout=60s").await?;
    assert_eq!(kubectl.ok("get pods -o name").await?, "");
    let refused = kubectl.fails(1, "get sts/web").await?;
    assert_eq!(
        refused,
        "Error from server (NotFound): statefulsets.apps \"web\" not found\n"
    );
    Ok(())
}

async fn shows_tables(Place { kubectl, .. }: Place) -> Outcome {
    kubectl.apply(&web("shop:1.2.0", 1)).await?;
    kubectl
        .ok("wait --for=jsonpath={.status.readyReplicas}=1 sts/web --timeout=60s")
        .await?;
    // The last column is an age.
    let words = |table: &str| -> Vec<Vec<String>> {
        let rows = table
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect());
        rows.collect()
    };
    let mut pods = words(&kubectl.ok("get pods").await?);
    assert!(pods[1].pop().is_some_and(|age| age.ends_with('s')));
    assert_eq!(pods[0], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(pods[1..], [["web-0", "1/1", "Running", "0"]]);
    let mut sets = words(&kubectl.ok("get sts").await?);
    sets[1].pop();
    assert_eq!(sets, [vec!["NAME", "READY", "AGE"], vec!["web", "1/1"]]);
    let wide = kubectl.ok("get sts -o wide --no-headers").await?;
    assert!(wide.contains("shop:1.2.0"), "{wide}");
    let revisions = kubectl.ok("get controllerrevisions").await?;
    assert!(revisions.contains("statefulset.apps/web"), "{revisions}");
    let labels = kubectl.ok("get pods --show-labels --sort-by=.metadata.name").await?;
    assert!(labels.contains("app=web"), "{labels}");
    let all = kubectl.ok("get all -o name").await?;
    assert!(all.lines().eq(["pod/web-0", "statefulset.apps/web"]), "{all}");
    let nodes = words(&kubectl.ok("get nodes --no-headers").await?);
    assert_eq!(nodes[0][..2], ["sandbox", "Ready"]);
    Ok(())
}

async fn creates_what_it_sends_as_protobuf(Place { kubectl, .. }: Place) -> Outcome {
    for (typed, told) in [
        ("create configmap c --from-literal=a=b", "configmap/c created\n"),
        ("create secret generic s --from-literal=a=b", "secret/s created\n"),
        ("create serviceaccount a", "serviceaccount/a created\n"),
    ] {
        assert_eq!(kubectl.ok(typed).await?, told);
    }
    assert_eq!(kubectl.ok("get configmap/c -o jsonpath={.data.a}").await?, "b");
    assert_eq!(kubectl.ok("get secret/s -o jsonpath={.data.a}").await?, "Yg==");
    let refused = kubectl.fails(1, "create configmap c --from-literal=a=b").await?;
    assert!(refused.contains("configmaps \"c\" already exists"), "{refused}");
    kubectl.ok("delete configmap/c secret/s serviceaccount/a").await?;
    Ok(())
}

async fn asks_what_it_may_do(Place { kubectl, .. }: Place) -> Outcome {
    for typed in [
        "auth can-i delete pods",
        "auth can-i create pods --subresource=exec",
        "auth can-i list nodes",
    ] {
        assert!(kubectl.ok(typed).await?.ends_with("yes\n"), "{typed}");
    }
    Ok(())
}

async fn tells_logs_also_of_the_process_before(Place { kubectl, scene }: Place) -> Outcome {
    kubectl.apply(&web("shop:1.2.0", 1)).await?;
    kubectl
        .ok("wait --for=jsonpath={.status.readyReplicas}=1 sts/web --timeout=60s")
        .await?;
    let log = kubectl.ok("logs web-0").await?;
    assert!(
        log.starts_with("shop 1.2.0 listens on") && log.lines().count() == 1,
        "{log}"
    );
    let refused = kubectl.fails(1, "logs web-0 --previous").await?;
    assert_eq!(
        refused,
        "Error from server (BadRequest): previous terminated container \"shop\" in pod \"web-0\" not found\n"
    );
    kubectl.apply(&web("shop:1.2.0-bad", 1)).await?;
    let crashed = |pods: &crate::support::scene::Pods| {
        let status = pods
            .get("web-0")
            .and_then(|pod| pod.status.as_ref()?.container_statuses.clone());
        status.is_some_and(|status| status[0].restart_count > 1)
    };
    scene.until_pods("it was started again", crashed).await?;
    let before = kubectl.ok("logs web-0 --previous --tail=1 --timestamps").await?;
    let (time, said) = before.split_once(' ').unwrap_or_default();
    assert!(
        time.starts_with("20") && said.contains("release 1.2.0-bad is broken"),
        "{before}"
    );
    Ok(())
}

async fn runs_commands(Place { kubectl, .. }: Place) -> Outcome {
    kubectl.apply(&web("shop:1.2.0", 1)).await?;
    kubectl
        .ok("wait --for=jsonpath={.status.readyReplicas}=1 sts/web --timeout=60s")
        .await?;
    let said = kubectl
        .exec(&["sh", "-c", "echo $HOSTNAME $SHOP_RELEASE; echo no >&2; exit 7"], "")
        .await?;
    assert_eq!((said.code, said.out.as_str()), (Some(7), "web-0 1.2.0\n"), "{said:?}");
    assert_eq!(said.err, "no\ncommand terminated with exit code 7\n");
    let long = "a line that is said again\n".repeat(20_000);
    let echoed = kubectl.exec(&["cat"], &long).await?.with(0)?;
    assert_eq!(echoed.out.len(), long.len());
    assert_eq!(echoed.err, "");
    let missing = kubectl.exec(&["no-such-program"], "").await?;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.err.contains("\"no-such-program\": No such file"), "{missing:?}");
    kubectl.ok("scale sts/web --replicas=0").await?;
    kubectl.ok("wait --for=delete pod/web-0 --timeout=60s").await?;
    let gone = kubectl.exec(&["true"], "").await?;
    assert!(gone.err.contains("pods \"web-0\" not found"), "{gone:?}");
    Ok(())
}

/// The lines of a transcript, without what differs from run to run.
fn settled(text: &str) -> Vec<String> {
    let is_age = |word: &str| {
        let digits = word.trim_end_matches(['s', 'm']);
        digits.len() < word.len() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'm')
    };
    let mask = |word: &str| match word {
        word if is_age(word) => "AGE".to_owned(),
        word if word.starts_with("127.") => "ADDRESS".to_owned(),
        word => word.to_owned(),
    };
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().map(mask).collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

/// Every command of the page is run, in its order, against a sandbox as the page starts it.
async fn page(ctx: Ctx) -> Outcome {
    let text = fs::read_to_string(root().join("docs/sandbox.md"))?;
    let block = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let Some(block) = block else {
        return fail("docs/sandbox.md has no transcript");
    };
    let sandbox = Sandbox::start(&ctx, &["--shop"]).await?;
    let kubectl = Kubectl::new(&sandbox.kubeconfig, "shop", ctx.dir())?;
    let mut printed = String::new();
    for line in block.lines() {
        if let Some(typed) = line.strip_prefix("$ kubectl ") {
            printed += &format!("{line}\n{}", kubectl.ok(typed).await?);
        }
    }
    assert_eq!(
        settled(block),
        settled(&printed),
        "docs/sandbox.md (left) is not what kubectl prints (right)"
    );
    sandbox.end("TERM").await
}
