//! A saved plan takes the whole shop back, and refuses where a workload has changed since.

use std::fs;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    refusals::everything,
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, check_journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (engine, kind) in [(Engine::Sqlite, Kind::Sandbox), (Engine::Postgres, Kind::Real)] {
        let name = format!("main_road::{}_{}_by_a_saved_plan", engine.name(), kind.name());
        cases.push(case(name, move |ctx| go_back(ctx, Setting::new(engine, kind, "1.2.0"))));
    }
    cases.push(case("main_road::a_saved_plan_refuses_a_workload_that_changed", changed));
    cases
}

const PLAN: &str = "plan --to 1.2.0 --out ../elsewhere/back.plan";

async fn go_back(ctx: Ctx, setting: Setting) -> Outcome {
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let (folder, elsewhere) = (stage.folder("1.2.0"), stage.empty_folder());
    stage.credentials.run(0, &folder, PLAN).await?;
    // Nothing of either release is needed any more.
    fs::remove_dir_all(&folder)?;
    fs::remove_dir_all(stage.folder("1.3.0"))?;
    let plan = fs::read_to_string(elsewhere.join("back.plan"))?;
    assert!(!plan.contains("hidden-word"), "the plan holds the password");
    stage.credentials.run(0, &elsewhere, "apply back.plan --yes").await?;
    TO_1_2_0.check(&stage).await?;
    let journal = check_journals(&stage).await?;
    let plan: Value = serde_json::from_str(&plan)?;
    assert_eq!(
        serde_json::to_value(journal.plan.id)?,
        plan["plan"]["id"],
        "another plan was carried out"
    );
    let ran = stage.credentials.run(0, &elsewhere, "apply back.plan --yes").await?;
    assert!(ran.out.contains("nothing to do"), "{ran}");
    Ok(())
}

async fn changed(ctx: Ctx) -> Outcome {
    let setting = Setting {
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let (folder, elsewhere) = (stage.folder("1.2.0"), stage.empty_folder());
    let image =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": "shop:1.3.1" }] } } } });
    for (patch, said) in [
        (json!({ "spec": { "replicas": 2 } }), "replicas 1 -> 2"),
        (json!({ "spec": { "minReadySeconds": 1 } }), "its spec was changed"),
        (image, "image of shop shop:1.3.0 -> shop:1.3.1"),
    ] {
        stage.credentials.run(0, &folder, PLAN).await?;
        let (params, before) = (PatchParams::default(), stage.sets.get("shop").await?);
        stage.sets.patch("shop", &params, &Patch::Strategic(patch)).await?;
        let dump = ours(&stage).await?;
        let ran = stage.credentials.run(3, &elsewhere, "apply back.plan --yes").await?;
        let words = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [
            "StatefulSet shop/shop:",
            said,
            "stepback plan --to 1.2.0",
            "nothing was touched",
        ] {
            if !words.contains(said) {
                return fail(format_args!("it should have said {said:?}: {ran}"));
            }
        }
        assert_eq!(ours(&stage).await?, dump, "something was touched");
        let back = json!({ "spec": before.spec });
        stage.sets.patch("shop", &params, &Patch::Merge(back)).await?;
    }
    let all = everything(&stage).await?;
    assert!(!all.contains("stepback.dev/"), "a mark of ours is left");
    Ok(())
}

/// The database, and of the set what only we could have touched: its pods come and go by the controller's doing.
async fn ours(stage: &Stage) -> Result<String, crate::support::runner::NotPassed> {
    let set = stage.sets.get("shop").await?;
    let parts = json!([set.metadata.generation, set.metadata.annotations, set.spec]);
    Ok(format!("{}\n{parts}", stage.store.dump(&[]).await?))
}
