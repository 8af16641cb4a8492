//! Where a run acts: every answer names cluster and database, a plan says what a rollback would say, and no migration goes
//! past a rollback.

use super::{
    kill::{ROLLBACK, setting, writes_the_set},
    program::{Credentials, Ran},
    refusals::everything,
    rivals::scene,
    stage::Stage,
    store::Engine,
    world::TO_1_2_0,
};
use crate::support::runner::{Case, Ctx, Outcome, case, fail};

pub fn cases() -> Vec<Case> {
    vec![
        case("main_road::every_answer_names_cluster_and_database", named),
        case("main_road::d16_no_migration_waits_for_a_rollback", beside),
        case("main_road::d13_another_clusters_context_is_refused", elsewhere),
        case("main_road::a_plan_beside_an_unfinished_run_ends_as_a_rollback", planned),
    ]
}

/// Lines are wrapped, so blanks are not compared.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn says(ran: &Ran, text: &str, what: &str) -> Outcome {
    assert!(words(text).contains(what), "{what}: {ran}");
    Ok(())
}

/// The line that names the cluster, up to the address.
fn on(stage: &Stage) -> (String, String) {
    (
        "context sandbox (http".to_owned(),
        format!("), {}/shop", stage.namespace),
    )
}

async fn named(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let (context, workload) = on(&stage);
    let folder = stage.folder("1.2.0");
    let names =
        |ran: &Ran, text: &str, what: &[&str]| -> Outcome { what.iter().try_for_each(|what| says(ran, text, what)) };
    let both = [context.as_str(), workload.as_str()];
    for form in ["text", "json", "markdown", "sql"] {
        let ran = stage
            .credentials
            .run(0, &folder, &format!("plan --to 1.2.0 -o {form}"))
            .await?;
        match form {
            "json" => names(
                &ran,
                &ran.out,
                &["\"context\": \"sandbox\"", "\"redacted\": \"sqlite://"],
            )?,
            _ => names(&ran, &ran.out, &[&both[..], &["sqlite://"]].concat())?,
        }
    }
    let status = stage.credentials.run(0, &folder, "status").await?;
    names(&status, &status.out, &[&context, "sqlite://"])?;
    let ran = stage.credentials.run(0, &folder, ROLLBACK).await?;
    let progress = ran.err.split("run opened").nth(1).unwrap_or_default();
    names(&ran, progress, &[&both[..], &["sqlite://"]].concat())?;
    names(&ran, &ran.out, &both)?;
    for typed in ["report", "report -o markdown", "runs"] {
        let ran = stage.credentials.run(0, &stage.empty_folder(), typed).await?;
        names(&ran, &ran.out.replace('\\', ""), &both)?;
    }
    Ok(())
}

/// Down would come after the rollback, under the pods that it has just started.
async fn beside(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let mut stops = stage.server().hold(writes_the_set);
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut stops).await?;
    let applied = stage.store.applied().await?;
    for typed in ["down", "goto 0"] {
        let typed = format!("migrate {typed} --data-loss accept --yes");
        let ran = stage.credentials.run(5, &stage.folder("1.3.0"), &typed).await?;
        says(&ran, &ran.err, "is under way: tester@here")?;
        says(&ran, &ran.err, "stepback status")?;
    }
    assert_eq!(stage.store.applied().await?, applied, "something was migrated");
    assert!(stops.let_through().await? < 300, "the write was refused");
    rollback.ended().await?.with(0)?;
    TO_1_2_0.check(&stage).await
}

/// That cluster's pods would be stopped, and this one's schema undone under pods that run.
async fn elsewhere(ctx: Ctx) -> Outcome {
    let mut stages = Vec::new();
    for name in ["ours", "theirs"] {
        let dir = ctx.dir().join(name);
        std::fs::create_dir(&dir)?;
        stages.push(scene(setting(Engine::Sqlite), &dir, ctx.name()).await?);
    }
    let [ours, theirs] = stages.as_slice() else {
        return fail("two scenes were set");
    };
    let slip = Credentials {
        kubeconfig: theirs.credentials.kubeconfig.clone(),
        database: ours.credentials.database.clone(),
    };
    let folder = ours.folder("1.2.0");
    // Before the first run nobody can know: the plan names the context, and that is all.
    slip.run(0, &folder, "plan --to 1.2.0").await?;
    ours.credentials.run(0, &folder, ROLLBACK).await?;

    let before = (everything(ours).await?, everything(theirs).await?);
    for typed in ["rollback --to 1.1.0 --yes", "plan --to 1.1.0", "reconcile --to 1.1.0"] {
        let refused = slip.run(3, &folder, typed).await?;
        for what in [
            "[cluster-differs]",
            "another cluster",
            "check --context",
            "--accept cluster-differs",
        ] {
            says(&refused, &refused.err, what)?;
        }
    }
    assert_eq!(
        (everything(ours).await?, everything(theirs).await?),
        before,
        "something was touched"
    );
    let plan = slip.run(0, &folder, "plan --to 1.1.0 --accept cluster-differs").await?;
    says(&plan, &plan.out, "[cluster-differs]")?;
    ours.credentials.run(0, &folder, "rollback --to 1.1.0 --yes").await?;
    Ok(())
}

async fn planned(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let mut stops = stage.server().hold(writes_the_set);
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut stops).await?;
    stops.drop_request().await?;
    let folder = stage.folder("1.2.0");
    for typed in [
        "plan --to 1.2.0",
        "plan --to 1.2.0 -o markdown",
        "plan --to 1.2.0 --out ../back.plan",
        ROLLBACK,
    ] {
        let ran = stage.credentials.run(5, &folder, typed).await?;
        says(&ran, &format!("{}{}", ran.out, ran.err), "run-unfinished")?;
        assert!(
            words(&ran.err).contains("is under way") || words(&ran.err).contains("is not closed"),
            "{ran}"
        );
    }
    stage.credentials.run(0, &stage.empty_folder(), "resume --yes").await?;
    stage.credentials.run(0, &folder, "plan --to 1.1.0").await?;
    TO_1_2_0.check(&stage).await
}
