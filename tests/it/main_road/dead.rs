//! A pod on a lost node, of which somebody says that it is dead (LAWS W14): a plan, a resume and an abort each go on without
//! its node's word, and the journal says who said so.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{from_value, json};
use stepback_core::journal::What;
use tokio::time::timeout;

use super::{
    refusals::stays_as_it_is,
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, check_journals, journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
    scene::is_ready,
};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("main_road::w14_a_resume_goes_on_without_a_dead_pod", resumed),
        case("main_road::w14_the_word_outlives_whoever_said_it", killed),
        case("main_road::w14_an_abort_goes_back_without_a_dead_pod", aborted),
    ];
    for kind in [Kind::Sandbox, Kind::Real] {
        let name = format!("main_road::{}_w14_a_rollback_goes_on_without_a_dead_pod", kind.name());
        cases.push(case(name, move |ctx| rolled_back(ctx, kind)));
    }
    cases
}

const ROLLBACK: &str = "rollback --to 1.2.0 --yes";

/// A shop whose only pod is on a node that no kubelet is behind, and was told to go.
struct Lost {
    stage: Stage,
    node: String,
    uid: String,
}

impl Lost {
    async fn set(ctx: &Ctx, kind: Kind) -> Result<Self, NotPassed> {
        let setting = Setting {
            replicas: 1,
            app: "  limits: { pod: 3s, lease: 1s, lock: 30s }\n",
            ..Setting::new(Engine::Sqlite, kind, "1.2.0")
        };
        let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
        place_orders(&stage).await?;
        let node = format!("dead-{}", stage.namespace);
        let nodes: Api<Node> = Api::all(stage.client.clone());
        let made = from_value(json!({ "metadata": { "name": node } }))?;
        nodes.create(&PostParams::default(), &made).await?;
        let lost = Self {
            uid: String::new(),
            node,
            stage,
        };
        lost.touch("True").await?;
        let there = |node: serde_json::Value, kind: &str| {
            json!({ "spec": { "updateStrategy": { "type": kind, "rollingUpdate": null },
                "template": { "spec": { "nodeName": node } } } })
        };
        let (params, sets) = (PatchParams::default(), &lost.stage.sets);
        let patch = Patch::Strategic(there(json!(lost.node), "OnDelete"));
        sets.patch("shop", &params, &patch).await?;
        lost.stage.until_seen().await?;
        lost.stage
            .replace_pod("shop-0", |pod: &Pod| {
                pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
            })
            .await?;
        let patch = Patch::Strategic(there(json!(null), "OnDelete"));
        sets.patch("shop", &params, &patch).await?;
        lost.stage.until_seen().await?;
        let uid = lost.stage.pods.get("shop-0").await?.metadata.uid.unwrap_or_default();
        Ok(Self { uid, ..lost })
    }

    /// What the cluster says of the node.
    async fn touch(&self, ready: &str) -> Outcome {
        let nodes: Api<Node> = Api::all(self.stage.client.clone());
        let at = "2024-03-01T02:58:00Z";
        let patch = Patch::Merge(json!({ "status": { "conditions": [{ "type": "Ready", "status": ready,
            "reason": "NodeStatusUnknown", "lastTransitionTime": at, "lastHeartbeatTime": at }] } }));
        nodes.patch_status(&self.node, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// A rollback has told the pod to go, and waited for it in vain.
    async fn halted(&self) -> Outcome {
        let ran = self
            .stage
            .credentials
            .run(4, &self.stage.folder("1.2.0"), ROLLBACK)
            .await?;
        assert!(ran.err.contains("shop-0 is terminating"), "{ran}");
        Ok(())
    }

    /// The word is not taken while the node is in touch, nor of a pod that is none.
    async fn is_not_believed(&self, typed: &str) -> Outcome {
        let (credentials, folder) = (&self.stage.credentials, self.stage.empty_folder());
        let ran = credentials
            .run(3, &folder, &format!("{typed} --pod-dead {}", self.uid))
            .await?;
        assert!(ran.err.contains("[pod-alive]"), "{ran}");
        assert_eq!(
            self.stage.pods.get("shop-0").await?.metadata.uid,
            Some(self.uid.clone())
        );
        self.touch("Unknown").await
    }
}

async fn rolled_back(ctx: Ctx, kind: Kind) -> Outcome {
    let lost = Lost::set(&ctx, kind).await?;
    lost.touch("Unknown").await?;
    let typed = format!("--pod-dead {}", lost.uid);
    stays_as_it_is(&lost.stage, ROLLBACK, &[&typed]).await?;
    let other = format!("{ROLLBACK} --pod-dead 6f1b1c0e-0000-0000-0000-000000000000");
    stays_as_it_is(&lost.stage, &other, &["[pod-lost]"]).await?;
    let (credentials, folder) = (&lost.stage.credentials, lost.stage.folder("1.2.0"));
    credentials.run(0, &folder, &format!("{ROLLBACK} {typed}")).await?;
    TO_1_2_0.check(&lost.stage).await?;
    let journal = check_journals(&lost.stage).await?;
    let said = |finding: &&stepback_core::model::Finding| finding.code == "pod-lost" && finding.accepted;
    assert_eq!(journal.plan.findings.iter().filter(said).count(), 1);
    Ok(())
}

async fn resumed(ctx: Ctx) -> Outcome {
    let lost = Lost::set(&ctx, Kind::Sandbox).await?;
    lost.halted().await?;
    lost.is_not_believed("resume").await?;
    let (credentials, folder) = (&lost.stage.credentials, lost.stage.empty_folder());
    credentials.run(4, &folder, "resume").await?;
    let resume = format!("resume --pod-dead {}", lost.uid);
    let ran = credentials.run(0, &folder, &resume).await?;
    let told = format!("said to be dead: shop-0 ({})", lost.uid);
    assert!(
        ran.out.split_whitespace().collect::<Vec<_>>().join(" ").contains(&told),
        "{ran}"
    );
    TO_1_2_0.check(&lost.stage).await?;
    let journal = check_journals(&lost.stage).await?;
    let dead = journal.entries.iter().flat_map(|entry| match &entry.what {
        What::RunResumed { dead, .. } => dead.as_slice(),
        _ => &[],
    });
    assert_eq!(dead.map(|dead| &dead.uid).collect::<Vec<_>>(), [&lost.uid]);
    Ok(())
}

/// Killed between its entry and the removal: the next one needs not be told again.
async fn killed(ctx: Ctx) -> Outcome {
    let lost = Lost::set(&ctx, Kind::Sandbox).await?;
    lost.halted().await?;
    lost.touch("Unknown").await?;
    let (credentials, folder) = (&lost.stage.credentials, lost.stage.empty_folder());
    let mut hold = lost
        .stage
        .server()
        .hold(|asked| asked.method == hyper::Method::DELETE && asked.path.ends_with("/pods/shop-0"));
    let resume = credentials.start(&folder, &format!("resume --pod-dead {}", lost.uid))?;
    resume.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    assert_eq!(
        lost.stage.pods.get("shop-0").await?.metadata.uid,
        Some(lost.uid.clone())
    );
    credentials.run(0, &folder, "resume").await?;
    TO_1_2_0.check(&lost.stage).await?;
    check_journals(&lost.stage).await.map(drop)
}

async fn aborted(ctx: Ctx) -> Outcome {
    let lost = Lost::set(&ctx, Kind::Sandbox).await?;
    let before = lost.stage.store.applied().await?;
    lost.halted().await?;
    lost.is_not_believed("abort --yes").await?;
    let (credentials, folder) = (&lost.stage.credentials, lost.stage.empty_folder());
    let ran = credentials
        .run(0, &folder, &format!("abort --yes --pod-dead {}", lost.uid))
        .await?;
    assert!(
        ran.err.contains("remove shop-0 of StatefulSet shop/shop by force"),
        "{ran}"
    );
    assert_eq!(lost.stage.store.applied().await?, before);
    // It was not ready before the run either, so the abort does not wait for the one that takes its place.
    let uid = Some(lost.uid.clone());
    let is_made = await_condition(lost.stage.pods.clone(), "shop-0", move |pod: Option<&Pod>| {
        pod.is_some_and(|pod| is_ready(pod) && pod.metadata.uid != uid)
    });
    let Ok(is_made) = timeout(Duration::from_secs(30), is_made).await else {
        return fail(format_args!("{:#?}", lost.stage.pods.get("shop-0").await?));
    };
    is_made?;
    assert_eq!(journals(&lost.stage).await?.len(), 2);
    Ok(())
}
