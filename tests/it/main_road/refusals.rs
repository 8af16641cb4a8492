//! What refuses has touched nothing: database and cluster are what they were, to the byte.

use std::{fs, path::Path};

use super::{
    stage::{Setting, Stage},
    store::Engine,
    world::place_orders,
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

/// One reason to refuse: how the scene comes to it, what is typed, and what must be said.
struct Refusal {
    name: &'static str,
    /// Done to the folder of 1.3.0 before the migrations are applied.
    folder: fn(&Path) -> Result<(), std::io::Error>,
    /// Done to the database afterwards; `{ledger}` and its like stand for our tables.
    sql: &'static str,
    /// Done to the folder of 1.2.0, from which the rollback is started.
    old_folder: fn(&Path) -> Result<(), std::io::Error>,
    typed: &'static str,
    /// What must be said; one of them is enough.
    said: &'static [&'static str],
}

const LAST: &str = "migrations/20240301090000_create_payments.down.sql";

fn untouched(_folder: &Path) -> Result<(), std::io::Error> {
    Ok(())
}

impl Refusal {
    const BASE: Refusal = Refusal {
        name: "",
        folder: untouched,
        sql: "",
        old_folder: untouched,
        typed: "rollback --to 1.2.0 --yes",
        said: &[],
    };
}

fn refusals() -> [Refusal; 9] {
    [
        Refusal {
            name: "missing_down",
            folder: |folder| fs::remove_file(folder.join(LAST)),
            said: &["down"],
            ..Refusal::BASE
        },
        Refusal {
            name: "empty_down",
            folder: |folder| fs::write(folder.join(LAST), "-- nothing\n"),
            said: &["empty", "nothing"],
            ..Refusal::BASE
        },
        Refusal {
            name: "edited_down",
            old_folder: |folder| {
                let up = "migrations/20240301090000_create_payments.up.sql";
                fs::copy(folder.join("../1.3.0").join(up), folder.join(up))?;
                fs::write(folder.join(LAST), "DROP TABLE payments; DROP TABLE orders;\n")
            },
            said: &["20240301090000"],
            ..Refusal::BASE
        },
        Refusal {
            name: "loss_not_accepted",
            typed: "rollback --to 1.2.0 --yes --data-loss refuse",
            said: &["--data-loss accept"],
            ..Refusal::BASE
        },
        Refusal {
            name: "unknown_release",
            typed: "rollback --to 1.2.7 --yes",
            said: &["1.2.7"],
            ..Refusal::BASE
        },
        Refusal {
            // 1, 2, 4, 3 were applied: undoing in one order is not undoing in the other.
            name: "contradicting_order",
            sql: "UPDATE {ledger} SET sequence = sequence + 100 WHERE CAST(version AS text) = '20240220103000'",
            said: &["--order"],
            ..Refusal::BASE
        },
        Refusal {
            // Another migration's down in this one's place.
            name: "exchanged_down",
            sql: "UPDATE {archive} SET down_sha256 = (SELECT other.down_sha256 FROM {archive} other \
                  WHERE CAST(other.version AS text) = '20240220103000') WHERE CAST(version AS text) = '20240301090000'",
            said: &["archive"],
            ..Refusal::BASE
        },
        Refusal {
            name: "archived_body_gone",
            sql: "DELETE FROM {script} WHERE sha256 = \
                  (SELECT down_sha256 FROM {archive} WHERE CAST(version AS text) = '20240301090000')",
            said: &["archive"],
            ..Refusal::BASE
        },
        Refusal {
            name: "archived_down_gone",
            sql: "DELETE FROM {archive} WHERE CAST(version AS text) = '20240301090000'",
            said: &["20240301090000"],
            ..Refusal::BASE
        },
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for refusal in refusals() {
            let name = format!("main_road::{}_refuses_{}", engine.name(), refusal.name);
            cases.push(case(name, move |ctx| refuse(ctx, engine, refusal)));
        }
        let name = format!("main_road::{}_refuses_claims_deleted_when_scaled", engine.name());
        cases.push(case(name, move |ctx| claims(ctx, engine)));
    }
    cases.push(case(
        "main_road::postgres_refuses_data_that_the_target_cannot_open",
        stored_data,
    ));
    cases
}

/// One pod is enough for a refusal.
fn setting(engine: Engine) -> Setting {
    Setting {
        replicas: 1,
        ..Setting::new(engine, Kind::Sandbox, "1.2.0")
    }
}

async fn refuse(ctx: Ctx, engine: Engine, refusal: Refusal) -> Outcome {
    let folder = refusal.folder;
    let stage = Stage::set_with(setting(engine), ctx.dir(), ctx.name(), folder).await?;
    place_orders(&stage).await?;
    (refusal.old_folder)(&stage.folder("1.2.0"))?;
    if !refusal.sql.is_empty() {
        let sql = ["ledger", "archive", "script"]
            .iter()
            .fold(refusal.sql.to_owned(), |sql, table| {
                sql.replace(&format!("{{{table}}}"), &stage.store.own_table(table))
            });
        stage.store.run(&sql).await?;
    }
    stays_as_it_is(&stage, refusal.typed, refusal.said).await
}

/// LAWS: claims that are deleted when the set is scaled would take the data with them.
async fn claims(ctx: Ctx, engine: Engine) -> Outcome {
    let setting = Setting {
        spec: serde_json::json!({
            "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete", "whenDeleted": "Retain" },
        }),
        ..setting(engine)
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    stays_as_it_is(&stage, "rollback --to 1.2.0 --yes", &["whenScaled"]).await
}

/// The server that runs wrote data which the one of the target release cannot open: by what the release says of itself,
/// and by its image.
async fn stored_data(ctx: Ctx) -> Outcome {
    let stage = Stage::set(setting(Engine::Postgres), ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let file = stage.folder("1.2.0").join("stepback.yaml");
    let app = fs::read_to_string(&file)?;
    let images = "images: { shop: { shop: \"shop:1.2.0\" } }";
    assert!(app.contains(images), "{app}");
    let with = |images: &str| {
        let hosted = "    layout: stepback\n    hostedBy: shop\n";
        app.replace("    layout: stepback\n", hosted)
            .replace("images: { shop: { shop: \"shop:1.2.0\" } }", images)
    };
    for (release, said) in [
        (
            format!("{images}\n      engine: {{ postgres: \"<10\" }}"),
            "[data-version]",
        ),
        (
            "images: { shop: { shop: \"postgres:9.6.24\" } }".to_owned(),
            "[data-version]",
        ),
        (images.to_owned(), "[data-version-unknown]"),
    ] {
        fs::write(&file, with(&release))?;
        stays_as_it_is(&stage, "rollback --to 1.2.0 --yes", &[said]).await?;
    }
    // Where the server is not part of the app, it stays, and a plan says only what it sees.
    let engine = format!("{images}\n      engine: {{ postgres: \"<10\" }}");
    fs::write(&file, app.replace(images, &engine))?;
    let ran = stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "plan --to 1.2.0")
        .await?;
    if !ran.out.contains("[data-version]") {
        return fail(format_args!("it should have been warned of: {ran}"));
    }
    Ok(())
}

/// The refusal is said, with exit code 3, and nothing is another than before.
pub async fn stays_as_it_is(stage: &Stage, typed: &str, said: &[&str]) -> Outcome {
    let before = everything(stage).await?;
    for typed in [
        typed.to_owned(),
        typed.replace("rollback", "plan").replace(" --yes", ""),
    ] {
        let ran = stage.credentials.run(3, &stage.folder("1.2.0"), &typed).await?;
        let words = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
        if !said.iter().any(|said| words.contains(said)) {
            return fail(format_args!("it should have named {said:?}: {ran}"));
        }
        let after = everything(stage).await?;
        if before != after {
            let changed: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
            return fail(format_args!("something was touched: {changed:#?}\n{ran}"));
        }
    }
    Ok(())
}

pub async fn everything(stage: &Stage) -> Result<String, NotPassed> {
    let mut objects = stage.objects().await?;
    // The kubelet's heartbeat goes on.
    objects.retain(|object| object["kind"] != "Node");
    Ok(format!(
        "{}\n{:#}",
        stage.store.dump(&[]).await?,
        serde_json::json!(objects)
    ))
}
