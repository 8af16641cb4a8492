//! Worlds that are broken or unusual when the rollback comes: each goes back, and its update strategy is as it was.

use serde_json::{Value, json};

use super::{
    history::{History, check_one_at_a_time},
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, check_journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case},
};

/// What is wrong, or only unusual.
#[derive(Clone, Debug)]
struct World {
    name: &'static str,
    /// Merged into the StatefulSet's `spec` when it is made.
    spec: Value,
    /// The image that broken pods run, and their indexes, highest first: an ordered set makes no pod above a broken one.
    broken: (&'static str, &'static [i32]),
    /// The update strategy when the rollback begins.
    strategy: Value,
    edit: fn(&str) -> String,
    together: bool,
}

/// A release that cannot start.
const BAD: &str = "shop:1.3.0-bad";

fn worlds() -> Vec<World> {
    let sound = World {
        name: "",
        spec: json!({}),
        broken: (BAD, &[]),
        strategy: json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } }),
        edit: str::to_owned,
        together: false,
    };
    let world = |name| World { name, ..sound.clone() };
    vec![
        World {
            broken: (BAD, &[2]),
            ..world("one_broken_pod")
        },
        World {
            broken: (BAD, &[0]),
            ..world("the_lowest_pod_broken")
        },
        // The deadlock: an ordered set scales down past neither of them.
        World {
            broken: (BAD, &[2, 1]),
            ..world("two_unready_pods")
        },
        // 1.2.0 is not ready on the schema of 1.3.0, and an ordered set does not replace it.
        World {
            broken: ("shop:1.2.0", &[0]),
            ..world("a_stuck_rollout_of_two_releases")
        },
        World {
            spec: json!({ "podManagementPolicy": "Parallel" }),
            broken: (BAD, &[1]),
            ..world("parallel_pods")
        },
        World {
            spec: json!({ "podManagementPolicy": "Parallel" }),
            edit: |app| app.replace("name: shop }\n  releases", "name: shop, startTogether: 3 }\n  releases"),
            together: true,
            ..world("w15_parallel_pods_that_start_together")
        },
        World {
            broken: (BAD, &[1]),
            strategy: json!({ "type": "OnDelete" }),
            ..world("on_delete")
        },
        World {
            broken: (BAD, &[2]),
            strategy: json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } }),
            ..world("a_partition_left_over")
        },
        World {
            spec: json!({ "ordinals": { "start": 5 } }),
            broken: (BAD, &[1]),
            ..world("ordinals_that_start_at_5")
        },
        World {
            spec: json!({ "minReadySeconds": 1 }),
            broken: (BAD, &[2, 1]),
            ..world("min_ready_seconds")
        },
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Sandbox, Kind::Real] {
        for world in worlds() {
            let name = format!("main_road::broken_{}_{}", kind.name(), world.name);
            cases.push(case(name, move |ctx| go_back(ctx, kind, world)));
        }
    }
    cases
}

async fn go_back(ctx: Ctx, kind: Kind, world: World) -> Outcome {
    let setting = Setting {
        spec: world.spec.clone(),
        app: "  limits: { pod: 40s }\n",
        edit: world.edit,
        ..Setting::new(Engine::Sqlite, kind, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let (image, indexes) = world.broken;
    if !indexes.is_empty() {
        stage.break_pods(image, indexes, world.strategy.clone()).await?;
    }
    let spec = |stage: &Stage| {
        let sets = stage.sets.clone();
        async move {
            let mut spec = serde_json::to_value(sets.get("shop").await?.spec)?;
            spec["template"] = json!(null);
            Ok::<Value, crate::support::runner::NotPassed>(spec)
        }
    };
    let before = spec(&stage).await?;
    assert_eq!(before["updateStrategy"]["type"], world.strategy["type"]);

    let history = History::begin(&stage).await?;
    let typed = "rollback --to 1.2.0 --yes";
    stage.credentials.run(0, &stage.folder("1.2.0"), typed).await?;
    let facts = history.end(&stage).await?;

    assert_eq!(spec(&stage).await?, before, "everything but the template as it was");
    TO_1_2_0.check(&stage).await?;
    let journal = check_journals(&stage).await?;
    if world.together {
        let described: Vec<String> = journal.plan.steps.iter().map(|step| step.action.describe()).collect();
        assert!(
            described
                .iter()
                .any(|step| step.starts_with("start 3 pods") && step.ends_with("together: 0 -> 3")),
            "{described:#?}"
        );
        return Ok(());
    }
    check_one_at_a_time(&facts, &journal.plan, &stage.setting)
}
