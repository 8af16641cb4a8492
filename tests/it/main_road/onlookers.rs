//! What people see of a run from outside: interrupted in a gate, without its database, with where it stands.

use std::{fs, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::await_condition;
use tokio::time::timeout;

use super::{
    kill::ROLLBACK,
    stage::{Setting, Stage},
    store::Engine,
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case, fail},
    scene::is_ready,
};

/// A gate that holds when the test says so.
const GATE: &str = "    - { sql: \"SELECT open FROM gate\", successes: 1, period: 50ms, timeout: 60s }\n";

pub fn cases() -> Vec<Case> {
    vec![
        case("main_road::interrupted_in_a_gate", interrupted),
        case(
            "main_road::interrupted_before_it_is_opened_no_run_is_left",
            before_opening,
        ),
    ]
}

/// With the lease held and the world looked at again: a run that is opened then would stand in everybody's way.
async fn before_opening(ctx: Ctx) -> Outcome {
    let setting = Setting {
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    // The plan has tried a pod; the run is about to be opened.
    let mut hold = stage.server().hold_nth(2, |asked| {
        asked.method == hyper::Method::POST && asked.path.ends_with("/pods") && asked.query.contains("dryRun")
    });
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut hold).await?;
    rollback.signal("INT").await?;
    hold.let_through().await?;
    let ran = rollback.ended().await?.with(130)?;
    assert!(says(&ran.err, "interrupted before anything was begun"), "{ran}");
    let runs = stage.credentials.run(0, &stage.empty_folder(), "runs").await?;
    assert!(!says(&runs.out, "rollback"), "{runs}");
    stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "rollback --to 1.1.0 --yes")
        .await?;
    Ok(())
}

/// Lines are wrapped, so blanks are not compared.
fn says(text: &str, what: &str) -> bool {
    text.split_whitespace().collect::<Vec<_>>().join(" ").contains(what)
}

async fn interrupted(ctx: Ctx) -> Outcome {
    let setting = Setting {
        app: GATE,
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    stage.store.run("CREATE TABLE gate (open integer)").await?;
    stage.store.run("INSERT INTO gate VALUES (0)").await?;
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    let target = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref());
            image == Some("shop:1.2.0") && is_ready(pod)
        })
    };
    tokio::select! {
        ready = timeout(Duration::from_secs(60), await_condition(stage.pods.clone(), "shop-0", target)) => drop(ready??),
        ended = rollback.ended() => return fail(format_args!("it did not wait: {}", ended?)),
    }
    rollback.signal("INT").await?;
    let ran = rollback.ended().await?.with(130)?;
    for said in [
        "stopping after the move",
        "was interrupted",
        "to continue: stepback resume",
    ] {
        assert!(says(&ran.err, said), "{said}: {ran}");
    }
    // It says where it stands.
    let credentials = &stage.credentials;
    let folder = stage.folder("1.2.0");
    let status = credentials.run(0, &folder, "status").await?;
    assert!(
        says(&status.out, "has halted") && says(&status.out, "step 5 of "),
        "{status}"
    );
    assert!(says(&status.out, "done, its gate has not held yet"), "{status}");
    let runs = credentials.run(0, &stage.empty_folder(), "runs").await?;
    assert!(says(&runs.out, "halted at step 5 of "), "{runs}");

    // Without the database: the journal lies in the cluster, and the workload says whose it is.
    let (file, aside) = (ctx.dir().join("shop.db"), ctx.dir().join("aside.db"));
    let file = match file.exists() {
        true => file,
        false => return fail(format_args!("no database at {}", file.display())),
    };
    fs::rename(&file, &aside)?;
    let place = format!("--journal cluster:{}", stage.namespace);
    let listed = credentials
        .run(0, &stage.empty_folder(), &format!("runs {place}"))
        .await?;
    assert!(
        says(&listed.out, "halted at step 5 of ") && says(&listed.out, "by tester@here"),
        "{listed}"
    );
    let report = credentials
        .run(0, &stage.empty_folder(), &format!("report {place}"))
        .await?;
    assert!(says(&report.out, "rollback 1.3.0 -> 1.2.0: halted"), "{report}");
    let half = credentials.run(6, &folder, "status").await?;
    for said in ["database", "not known:", "1 of 1 ready, shop:1.2.0", "stepback resume"] {
        assert!(says(&half.out, said), "{said}: {half}");
    }
    fs::rename(&aside, &file)?;

    stage.store.run("UPDATE gate SET open = 1").await?;
    let resumed = credentials.run(0, &stage.empty_folder(), "resume").await?;
    assert!(says(&resumed.out, "rollback 1.3.0 -> 1.2.0: done"), "{resumed}");
    let runs = credentials.run(0, &stage.empty_folder(), "runs").await?;
    assert!(says(&runs.out, "done in "), "{runs}");
    Ok(())
}
