//! What strangers do to the workload and the journal while a coordinator takes its leases.

use hyper::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use stepback::journal::{ClusterJournal, Journal};
use stepback_core::{
    journal::{Entry, What},
    model::{RunId, Token, annotation},
    plan::Action,
};
use stepback_sandbox::api::Asked;

use super::{
    kill::{ROLLBACK, setting, writes_the_set},
    refusals::everything,
    rivals::scene,
    stage::Stage,
    store::Engine,
    world::{TO_1_2_0, journals},
};
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail};

pub fn cases() -> Vec<Case> {
    vec![
        case("main_road::w7_another_ledgers_run_on_the_workload_exits_5", taken),
        case(
            "main_road::w7_another_ledgers_mark_is_seen_under_the_lease_too",
            taken_late,
        ),
        case(
            "main_road::w8_a_plan_exchanged_after_the_first_look_is_not_resumed",
            exchanged,
        ),
    ]
}

const STAMP: &str = "01J8ZQ5W3N6M2R0XQ4T1V7B9CD/3/7-0000beef";

/// A run of another database has left the workload half-way.
async fn mark(stage: &Stage) -> Outcome {
    let patch = json!({ "metadata": { "annotations": { annotation::STAMP: STAMP } } });
    stage
        .sets
        .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

fn is_named(ran: &super::program::Ran) {
    for said in ["01J8ZQ5W3N6M2R0XQ4T1V7B9CD", "stepback resume", "nothing was touched"] {
        let words: Vec<&str> = ran.err.split_whitespace().collect();
        assert!(words.join(" ").contains(said), "{said}: {ran}");
    }
}

async fn taken(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    mark(&stage).await?;
    let before = everything(&stage).await?;
    for typed in [ROLLBACK, "plan --to 1.2.0"] {
        is_named(&stage.credentials.run(5, &stage.folder("1.2.0"), typed).await?);
        assert_eq!(everything(&stage).await?, before, "`{typed}` has changed something");
    }
    // What it says to type where that run is lost for good.
    let patch = json!({ "metadata": { "annotations": { annotation::STAMP: null } } });
    stage
        .sets
        .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    TO_1_2_0.check(&stage).await
}

fn writes_a_lease(asked: &Asked) -> bool {
    asked.method != Method::GET && asked.path.contains("/leases")
}

/// The mark comes after the plan was made, while the leases are taken.
async fn taken_late(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let mut hold = stage.server().hold(writes_a_lease);
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut hold).await?;
    mark(&stage).await?;
    hold.let_through().await?;
    is_named(&rollback.ended().await?.with(5)?);
    assert!(journals(&stage).await?.is_empty(), "a run was opened");
    let set = stage.sets.get("shop").await?;
    assert_eq!(
        set.annotations().get(annotation::STAMP).map(String::as_str),
        Some(STAMP)
    );
    Ok(())
}

/// Whoever may write ConfigMaps puts another plan in the place of the one that was checked, while the resume takes its
/// leases; plan and entries agree with one another.
async fn exchanged(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let mut hold = stage.server().hold(writes_the_set);
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut hold).await?;
    rollback.kill().await?;
    hold.drop_request().await?;

    let mut hold = stage.server().hold(writes_a_lease);
    let mut resume = stage.credentials.start(&stage.empty_folder(), "resume --yes")?;
    resume.reaches(&mut hold).await?;
    let run = forge(&stage).await?;
    let before = everything_but_leases(&stage).await?;
    hold.let_through().await?;
    let ran = resume.ended().await?.with(3)?;
    let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("has another plan in its journal than the database knows"),
        "{ran}"
    );
    assert!(ran.err.contains(&run.0), "{ran}");
    assert_eq!(
        everything_but_leases(&stage).await?,
        before,
        "the forged plan was begun"
    );
    Ok(())
}

async fn everything_but_leases(stage: &Stage) -> Result<String, NotPassed> {
    let set = stage.sets.get("shop").await?;
    let journals = journals(stage).await?;
    Ok(format!(
        "{}\n{:?}\n{:?}\n{journals:?}",
        stage.store.dump(&["lease"]).await?,
        set.spec,
        set.metadata.annotations,
    ))
}

/// Replaces the journal of the one run by another: another plan, and entries that were opened with it.
async fn forge(stage: &Stage) -> Result<RunId, NotPassed> {
    let Some((run, stored)) = journals(stage).await?.pop() else {
        return fail("there is no journal");
    };
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.namespace);
    for map in maps.list(&ListParams::default()).await? {
        if map.labels().get("stepback.dev/run") == Some(&run.0) {
            maps.delete(&map.name_any(), &DeleteParams::default()).await?;
        }
    }
    let mut plan = stored.plan;
    for step in &mut plan.steps {
        if let Action::Revert { scripts, .. } = &mut step.action {
            scripts.reverse();
        }
    }
    plan.id = plan.compute_id()?;
    let journal = ClusterJournal::new(stage.client.clone(), &stage.namespace);
    journal.create(&run, &plan, Token { number: 1, nonce: 0 }).await?;
    let mut previous = String::new();
    for entry in stored.entries {
        let what = match entry.what {
            What::RunOpened { run, by, aborts, .. } => What::RunOpened {
                run,
                plan: plan.id,
                by,
                aborts,
            },
            what => what,
        };
        let entry = Entry {
            previous,
            what,
            ..entry
        };
        journal.append(&run, &entry).await?;
        previous = entry.hash();
    }
    // It reads back as a sound journal.
    assert_eq!(journal.read(&run).await?.plan.id, plan.id);
    Ok(run)
}
