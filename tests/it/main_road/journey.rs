//! The whole road, undisturbed: schema and StatefulSet go back together, on each engine and each cluster.

use hyper::StatusCode;
use k8s_openapi::api::apps::v1::StatefulSet;

use super::{
    history::{History, check_one_at_a_time},
    stage::{Setting, Stage},
    store::Engine,
    world::{Expected, TO_1_1_0, TO_1_2_0, check_journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case},
    shop::Shop,
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for kind in [Kind::Sandbox, Kind::Real] {
            for expected in [TO_1_2_0, TO_1_1_0] {
                let to = expected.release.replace('.', "_");
                let name = format!("main_road::{}_{}_to_{to}", engine.name(), kind.name());
                let setting = Setting::new(engine, kind, expected.release);
                cases.push(case(name, move |ctx| go_back(ctx, setting, expected)));
            }
        }
    }
    cases
}

async fn go_back(ctx: Ctx, setting: Setting, expected: Expected) -> Outcome {
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    answers_on_no_other_schema(&stage, expected.release).await?;

    let history = History::begin(&stage).await?;
    // The older release's folder has never held the newer migrations.
    let typed = format!("rollback --to {} --yes", expected.release);
    stage
        .credentials
        .run(0, &stage.folder(expected.release), &typed)
        .await?;
    let facts = history.end(&stage).await?;

    expected.check(&stage).await?;
    let journal = check_journals(&stage).await?;
    check_one_at_a_time(&facts, &journal.plan, &stage.setting)?;

    // There is nothing left to do, and nothing is done.
    // What the controller writes into the status may be late.
    let ours = |set: StatefulSet| (set.metadata.generation, set.metadata.annotations, set.spec);
    let before = ours(stage.sets.get("shop").await?);
    stage.credentials.run(0, &stage.empty_folder(), "resume --yes").await?;
    stage
        .credentials
        .run(0, &stage.folder(expected.release), &typed)
        .await?;
    assert_eq!(ours(stage.sets.get("shop").await?), before);
    Ok(())
}

/// The older release is started beside the shop, on the newer schema.
async fn answers_on_no_other_schema(stage: &Stage, release: &str) -> Result<(), NotPassed> {
    let old = Shop::open(release, &stage.store.url).await?;
    for path in ["/healthz", "/orders"] {
        let (status, body) = old.get(path).await?;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{release} at {path}: {body}");
    }
    Ok(())
}
