//! Runs that cannot simply be resumed: the journal is gone, the workload was made anew, the database is another one or was
//! restored from before the run. Every refusal names the command that leads out, and that command does.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions},
};
use serde_json::json;
use stepback_core::{
    journal::{Outcome as Ended, RunState, What},
    model::annotation,
};

use super::{
    abort::{REPOINTS, killed_before},
    kill::{ROLLBACK, setting},
    program::{Credentials, Ran},
    refusals::everything,
    rivals::scene,
    stage::Stage,
    store::Engine,
    world::{TO_1_2_0, journals},
};
use crate::support::{
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
    servers::Postgres,
};

pub fn cases() -> Vec<Case> {
    vec![
        case("main_road::w7_a_run_whose_journal_is_lost_is_closed_as_it_stands", lost),
        case("main_road::w7_a_run_whose_workload_was_made_anew_is_closed", made_anew),
        case("main_road::w7_a_run_is_closed_as_it_stands", as_it_stands),
        case(
            "main_road::w7_what_was_at_zero_is_started_once_people_have_scaled_it",
            held_at_zero,
        ),
        case("main_road::d13_a_run_from_after_a_backup_is_closed", restored),
        case(
            "main_road::d13_a_run_is_bound_to_another_database_by_name_only",
            rebound,
        ),
    ]
}

/// Words as they are read, wherever lines end.
fn said(ran: &Ran) -> String {
    words(&ran.err)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn says(ran: &Ran, words: &[&str]) {
    let text = said(ran);
    for word in words {
        assert!(text.contains(word), "{word}: {ran}");
    }
}

/// The run that is open, by its name.
async fn open_run(stage: &Stage) -> Result<String, NotPassed> {
    match stage.store.open_runs().await?.as_slice() {
        [run] => Ok(run.clone()),
        other => fail(format_args!("not one run is open: {other:?}")),
    }
}

/// Closing it is asked for, and changes nothing but the run; the same rollback then finishes what was begun.
async fn closes(stage: &Stage, run: &str, because: &str) -> Outcome {
    let folder = stage.folder("1.2.0");
    let typed = format!("abort --journal-lost {run}");
    let audit = stage.store.ask("SELECT what FROM audit").await?;
    let applied = stage.store.applied().await?;
    let set = stage.sets.get("shop").await?;
    let spec = serde_json::to_value(&set.spec)?;
    let is_borrowed = set.annotations().contains_key(annotation::ORIGINAL_REPLICAS);
    let before = everything(stage).await?;
    let asked = stage.credentials.run(2, &folder, &typed).await?;
    says(&asked, &[because, "no script is run", "no pod is started", "--yes"]);
    assert_eq!(everything(stage).await?, before, "asking has changed something");
    let closed = stage.credentials.run(0, &folder, &format!("{typed} --yes")).await?;
    assert!(closed.out.contains("stepback rollback --to RELEASE"), "{closed}");
    assert_eq!(
        stage.store.ask("SELECT what FROM audit").await?,
        audit,
        "a script was run"
    );
    assert_eq!(stage.store.applied().await?, applied, "the ledger has moved");
    assert_eq!(
        serde_json::to_value(&stage.sets.get("shop").await?.spec)?,
        spec,
        "the workload was changed"
    );
    let status = stage.credentials.run(0, &folder, "status").await?;
    let left = format!("left by run {run}, which is closed");
    // Where nothing is borrowed, nothing of ours is left.
    assert_eq!(words(&status.out).contains(&left), is_borrowed, "{status}");
    let set = stage.sets.get("shop").await?;
    let ours = |name: &String| name.starts_with("stepback.dev/");
    assert_eq!(
        set.annotations().keys().any(ours),
        is_borrowed,
        "{:?}",
        set.annotations()
    );
    assert!(!status.out.contains("stepback resume"), "{status}");
    let again = stage.credentials.run(3, &folder, &format!("{typed} --yes")).await?;
    says(&again, &["is closed already"]);
    stage.credentials.run(0, &folder, ROLLBACK).await?;
    TO_1_2_0.check(stage).await?;
    let mut ran = stage.store.ask("SELECT what FROM audit").await?;
    ran.sort();
    ran.dedup();
    assert_eq!(
        ran.len(),
        stage.store.ask("SELECT what FROM audit").await?.len(),
        "a down ran twice: {ran:?}"
    );
    Ok(())
}

async fn lost(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    killed_before(&stage, REPOINTS).await?;
    let run = open_run(&stage).await?;
    // While it is there, nobody is let off.
    let typed = format!("abort --journal-lost {run} --yes");
    let there = stage.credentials.run(3, &stage.folder("1.2.0"), &typed).await?;
    says(&there, &["is not lost", &format!("stepback abort {run}")]);
    Api::<ConfigMap>::namespaced(stage.client.clone(), &stage.namespace)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    for typed in ["resume", "abort --yes"] {
        let refused = stage.credentials.run(3, &stage.empty_folder(), typed).await?;
        says(
            &refused,
            &[
                "has no journal where the database says that it is",
                &format!("stepback abort --journal-lost {run}"),
            ],
        );
    }
    let status = stage.credentials.run(3, &stage.folder("1.2.0"), "status").await?;
    assert!(status.out.contains(&run), "{status}");
    let typed = format!("stepback abort --journal-lost {run}");
    says(&status, &["has no journal where the database says that it is", &typed]);
    let held = stage.credentials.run(5, &stage.folder("1.2.0"), ROLLBACK).await?;
    says(&held, &[&run, "stepback resume"]);
    closes(&stage, &run, "there is no journal of it").await
}

/// A set at 0 is held there, its run is closed without its journal, people scale it up: their count is the one it has.
async fn held_at_zero(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let scale = |count: i32| stage.patch(json!({ "spec": { "replicas": count } }));
    let original = annotation::ORIGINAL_REPLICAS;
    scale(0).await?;
    for pod in ["shop-0", "shop-1"] {
        let gone = await_condition(stage.pods.clone(), pod, |pod: Option<&Pod>| pod.is_none());
        tokio::time::timeout(std::time::Duration::from_secs(30), gone).await??;
    }
    let mut hold = stage.server().hold(|asked| {
        let lines = asked.json()["data"]["lines"].as_str().map(str::to_owned);
        lines.is_some_and(|lines| lines.contains("\"stepStarted\",\"step\":2,"))
    });
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    let set = stage.sets.get("shop").await?;
    assert_eq!(set.annotations()[original], "0");
    let run = open_run(&stage).await?;
    Api::<ConfigMap>::namespaced(stage.client.clone(), &stage.namespace)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let typed = format!("abort --journal-lost {run} --yes");
    stage.credentials.run(0, &stage.folder("1.2.0"), &typed).await?;
    let set = stage.sets.get("shop").await?;
    let ours = |name: &&String| name.starts_with("stepback.dev/");
    assert_eq!(set.annotations().keys().find(ours), None, "something of ours is left");

    // As an older version, or a run that is still somebody's, has left it.
    stage
        .patch(json!({ "metadata": { "annotations": { original: "0" } } }))
        .await?;
    scale(2).await?;
    let ready = await_condition(stage.sets.clone(), "shop", |set: Option<&StatefulSet>| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(2))
    });
    tokio::time::timeout(std::time::Duration::from_secs(30), ready).await??;
    killed_before(&stage, REPOINTS).await?;
    let set = stage.sets.get("shop").await?;
    assert_eq!((set.spec.replicas, &*set.annotations()[original]), (Some(0), "2"));
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}

async fn made_anew(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    killed_before(&stage, REPOINTS).await?;
    let run = open_run(&stage).await?;
    let old = stage.sets.get("shop").await?;
    stage.sets.delete("shop", &DeleteParams::background()).await?;
    let uid = old.uid().unwrap_or_default();
    await_condition(stage.sets.clone(), "shop", conditions::is_deleted(&uid)).await?;
    let mut new = StatefulSet {
        spec: old.spec.clone(),
        ..StatefulSet::default()
    };
    new.metadata.name = Some("shop".to_owned());
    new.spec.replicas = Some(0);
    stage.sets.create(&PostParams::default(), &new).await?;
    let refused = stage.credentials.run(3, &stage.empty_folder(), "resume").await?;
    says(
        &refused,
        &[
            "was deleted and made again",
            &format!("stepback abort --journal-lost {run}"),
        ],
    );
    let refused = stage.credentials.run(3, &stage.empty_folder(), "abort --yes").await?;
    says(&refused, &["[workload-replaced]", "stepback abort --journal-lost RUN"]);
    let folder = stage.folder("1.2.0");
    let closed = stage
        .credentials
        .run(0, &folder, &format!("abort --journal-lost {run} --yes"))
        .await?;
    says(&closed, &["gone, or made anew"]);
    let (_, journal) = journals(&stage).await?.pop().unwrap();
    let state = RunState::replay(&journal.entries, journal.plan.steps.len())?;
    assert!(
        state.is_some_and(|state| state.closed.is_some()),
        "its journal is left open"
    );
    stage.credentials.run(0, &folder, ROLLBACK).await?;
    assert_eq!(stage.store.applied().await?.len(), 2);
    Ok(())
}

/// Nothing of it is lost, and somebody gives it up. What was borrowed stays written down where it is; where nothing is,
/// nothing of ours stays.
async fn as_it_stands(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    killed_before(&stage, REPOINTS).await?;
    let run = open_run(&stage).await?;
    let typed = format!("abort --as-it-stands {run}");
    let before = everything(&stage).await?;
    let asked = stage.credentials.run(2, &stage.empty_folder(), &typed).await?;
    says(&asked, &["0 of 2 replicas", "no pod is started", "--yes"]);
    assert_eq!(everything(&stage).await?, before, "asking has changed something");
    let typed = format!("{typed} --yes");
    stage.credentials.run(0, &stage.empty_folder(), &typed).await?;
    let set = stage.sets.get("shop").await?;
    assert_eq!(set.spec.replicas, Some(0));
    assert_eq!(set.annotations()[annotation::ORIGINAL_REPLICAS], "2");
    assert!(set.annotations()[annotation::STATE].contains("closed as it stands"));
    let (_, journal) = journals(&stage).await?.pop().unwrap();
    let state = RunState::replay(&journal.entries, journal.plan.steps.len())?;
    assert!(state.is_some_and(|state| state.closed == Some(Ended::Stopped)));
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    TO_1_2_0.check(&stage).await
}

const OTHER: &str = "01J8ZQ5W3N6M2R0XQ4T1V7B9CD";

/// The workload bears the stamp of a run that the database, which was restored, has never heard of.
async fn restored(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let stamp = format!("{OTHER}/3/7-0000beef");
    let patch = json!({ "metadata": { "annotations": { annotation::STAMP: stamp } } });
    stage
        .sets
        .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let held = stage.credentials.run(5, &stage.folder("1.2.0"), ROLLBACK).await?;
    let way = format!("stepback abort --journal-lost {OTHER}");
    says(&held, &[OTHER, "DATABASE_URL", &way]);
    // No run is open here, but one holds the workload.
    for typed in ["resume", "abort --yes"] {
        let told = stage.credentials.run(3, &stage.folder("1.2.0"), typed).await?;
        says(&told, &[OTHER, "does not know it", &way]);
    }
    let status = stage.credentials.run(0, &stage.folder("1.2.0"), "status").await?;
    assert!(words(&status.out).contains(&way), "{status}");
    let unknown = stage
        .credentials
        .run(3, &stage.folder("1.2.0"), &format!("resume {OTHER}"))
        .await?;
    says(
        &unknown,
        &["does not know it", &format!("stepback abort --journal-lost {OTHER}")],
    );
    // A name that no workload bears is nobody's to close.
    let typo = stage
        .credentials
        .run(3, &stage.folder("1.2.0"), "abort --journal-lost 01J8 --yes")
        .await?;
    says(&typo, &["does not know it"]);
    closes(&stage, OTHER, "this database does not know it").await
}

async fn rebound(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Postgres), ctx.dir(), ctx.name()).await?;
    killed_before(&stage, REPOINTS).await?;
    let run = open_run(&stage).await?;
    // What a restore or a failover looks like: all of it is there, and it is another database.
    let (base, name) = stage.store.url.rsplit_once('/').unwrap_or_default();
    let admin = super::store::Store {
        engine: Engine::Postgres,
        url: Postgres::shared().await?.url("postgres"),
    };
    admin
        .ask(&format!(
            "SELECT CAST(count(pg_terminate_backend(pid, 5000)) AS text) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await?;
    admin
        .run(&format!("CREATE DATABASE {name}_copy TEMPLATE {name}"))
        .await?;
    let copy = super::store::Store {
        engine: Engine::Postgres,
        url: format!("{base}/{name}_copy"),
    };
    let on_copy = Credentials {
        database: copy.url.clone(),
        ..stage.credentials.clone()
    };
    for typed in ["resume", "abort --yes"] {
        let refused = on_copy.run(3, &stage.empty_folder(), typed).await?;
        says(
            &refused,
            &[
                "it was opened on",
                "this is",
                &format!("stepback resume {run} --rebind"),
            ],
        );
    }
    let asked = on_copy.run(2, &stage.empty_folder(), "resume --rebind").await?;
    says(&asked, &["another database on the same server", "--yes"]);
    assert_eq!(stage.sets.get("shop").await?.spec.replicas, Some(0));
    on_copy.run(0, &stage.empty_folder(), "resume --rebind --yes").await?;
    assert_eq!(copy.applied().await?.len(), 2);
    let downs = copy.ask("SELECT what FROM audit").await?;
    assert_eq!(downs.len(), 2, "a down ran twice, or never: {downs:?}");
    let (_, journal) = journals(&stage).await?.pop().unwrap();
    let bound = |what: &What| matches!(what, What::RunResumed { rebound: Some(_), .. });
    assert_eq!(journal.entries.iter().filter(|entry| bound(&entry.what)).count(), 1);
    // From now on the run is that database's, and the first one refuses.
    let refused = stage.credentials.run(3, &stage.empty_folder(), "resume").await?;
    says(&refused, &["was opened on another database than this one"]);
    Ok(())
}
