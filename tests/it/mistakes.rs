//! The likeliest mistakes: each is answered with what happened, where, what state things are in and what to type next.
//!
//! `docs/mistakes.md` shows every answer and is compared with the program here. With `STEPBACK_UPDATE_DOCS=1` its blocks
//! are written again.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Namespace};
use kube::{Api, api::PostParams};
use serde_json::json;
use sqlx::{Connection as _, Executor as _};
use stepback_sandbox::api::{ApiServer, Forbidden, Options};

use crate::{
    cli::contains,
    support::{
        binary::Binary,
        runner::{Case, Ctx, NotPassed, Outcome, case, fail, root, sync_case},
        servers::Postgres,
    },
};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("mistakes::no_kubeconfig", |ctx| no_kubeconfig(&ctx)),
        sync_case("mistakes::no_cluster", |ctx| no_cluster(&ctx)),
        sync_case("mistakes::wrong_context", |ctx| wrong_context(&ctx)),
        case("mistakes::wrong_workload", wrong_workload),
        case("mistakes::no_rights", no_rights),
        sync_case("mistakes::no_database", |ctx| no_database(&ctx)),
        case("mistakes::wrong_password", wrong_password),
        case("mistakes::no_such_database", no_such_database),
        sync_case("mistakes::wrong_path_of_a_file", |ctx| wrong_path(&ctx)),
        sync_case("mistakes::wrong_parameter_of_a_url", |ctx| wrong_parameter(&ctx)),
        sync_case("mistakes::wrong_release", |ctx| wrong_release(&ctx)),
        sync_case("mistakes::no_app_file", |ctx| no_app_file(&ctx)),
        case("mistakes::unfinished_run", unfinished_run),
        sync_case("mistakes::a_new_database_is_announced", |ctx| new_database(&ctx)),
        sync_case("mistakes::no_place_of_a_journal", |ctx| no_place(&ctx)),
        sync_case("mistakes::with_a_url_the_app_file_still_counts", |ctx| {
            url_beside_app_file(&ctx)
        }),
    ]
}

const KUBECONFIG: &str = r#"{apiVersion: v1, kind: Config, current-context: staging, users: [{name: u, user: {}}],
    clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}],
    contexts: [{name: staging, context: {cluster: c, user: u}}, {name: production, context: {cluster: c, user: u}}]}"#;

/// The shop's folder, with its database at the newest release.
fn shop(ctx: &Ctx) -> Result<Binary, NotPassed> {
    copy(&root().join("testdata/apps/shop"), ctx.dir())?;
    let stepback = Binary::in_dir(ctx.dir())
        .env("HOME", ctx.dir().display().to_string())
        .env("DATABASE_URL", "sqlite://shop.db");
    stepback.ends(0, "migrate up --yes --quiet")?;
    Ok(stepback)
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

/// Runs it, and compares what it says with the block of that name in `docs/mistakes.md`.
fn answers(ctx: &Ctx, stepback: &Binary, name: &str, code: i32, typed: &str, masks: &[(&str, &str)]) -> Outcome {
    let ran = stepback.ends(code, typed)?;
    let mut said = format!("$ stepback {typed}\n{}{}(exit {code})\n", ran.out, ran.err);
    assert!(!said.contains("s3cret"), "a password was shown: {said}");
    let dir = ctx.dir().display().to_string();
    for (real, shown) in [(dir.as_str(), "/srv/shop")].iter().chain(masks) {
        said = said.replace(real, shown);
    }
    let wide: Vec<_> = said
        .lines()
        .filter(|line| line.chars().count() > 80 && line.contains(' '))
        .collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
    static PAGE: Mutex<()> = Mutex::new(());
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = root().join("docs/mistakes.md");
    let page = fs::read_to_string(&path)?;
    let begin = format!("<!-- {name} -->\n```text\n");
    let Some((before, rest)) = page.split_once(&begin) else {
        return fail(format_args!(
            "docs/mistakes.md has no block {name}; it is:\n{begin}{said}```"
        ));
    };
    let (shown, after) = rest.split_once("```").unwrap_or((rest, ""));
    // Where a line breaks depends on how long a path is.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words(shown) == words(&said) {
        return Ok(());
    }
    if std::env::var_os("STEPBACK_UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{begin}{said}```{after}"))?;
        return Ok(());
    }
    assert_eq!(
        shown, said,
        "docs/mistakes.md (left) is not what the program says (right): {name}"
    );
    Ok(())
}

fn no_kubeconfig(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?;
    answers(ctx, &stepback, "no-kubeconfig", 6, "plan --to 1.2.0", &[])?;
    // The file that was named.
    let ran = stepback.ends(6, "plan --to 1.2.0 --kubeconfig not-there")?;
    contains(&ran, "there is no kubeconfig not-there")?;
    fs::write(ctx.dir().join("broken"), "clusters: 3")?;
    let ran = stepback.ends(6, "plan --to 1.2.0 --kubeconfig broken")?;
    contains(&ran, "broken is no kubeconfig")?;
    Ok(())
}

fn no_cluster(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?.env("KUBECONFIG", "kubeconfig");
    fs::write(ctx.dir().join("kubeconfig"), KUBECONFIG)?;
    answers(ctx, &stepback, "no-cluster", 6, "rollback --to 1.2.0", &[])
}

fn wrong_context(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?.env("KUBECONFIG", "kubeconfig");
    fs::write(ctx.dir().join("kubeconfig"), KUBECONFIG)?;
    answers(
        ctx,
        &stepback,
        "wrong-context",
        6,
        "rollback --to 1.2.0 --context prodcution",
        &[],
    )?;
    fs::write(
        ctx.dir().join("kubeconfig"),
        KUBECONFIG.replace(" current-context: staging,", ""),
    )?;
    let ran = stepback.ends(6, "plan --to 1.2.0")?;
    contains(&ran, "names no current context")?;
    Ok(())
}

/// A cluster with one StatefulSet, `shop/shop`, and nobody who runs it; and the shop's folder beside its kubeconfig.
async fn cluster(ctx: &Ctx, forbidden: Vec<Forbidden>) -> Result<(ApiServer, Binary), NotPassed> {
    let options = Options {
        forbidden,
        ..Options::default()
    };
    let server = ApiServer::start(options).await?;
    let client = kube::Client::try_from(server.client_config())?;
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": "shop" } }))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await?;
    let manifests = fs::read_to_string(root().join("testdata/apps/shop/statefulset.yaml"))?;
    let set = manifests.split("\n---\n").nth(1).unwrap_or_default();
    let set: StatefulSet = serde_saphyr::from_str(set)?;
    Api::namespaced(client, "shop")
        .create(&PostParams::default(), &set)
        .await?;
    let stepback = shop(ctx)?.env("KUBECONFIG", "kubeconfig");
    fs::write(ctx.dir().join("kubeconfig"), server.kubeconfig_yaml("shop"))?;
    Ok((server, stepback))
}

async fn wrong_workload(ctx: Ctx) -> Outcome {
    let (server, stepback) = cluster(&ctx, Vec::new()).await?;
    let file = ctx.dir().join("stepback.yaml");
    let app = fs::read_to_string(&file)?;
    let name_it = |namespace: &str, name: &str| {
        let named = format!("namespace: {namespace}, name: {name} }}");
        let images = format!("images: {{ {name}: {{ shop:");
        let app = app.replace("namespace: shop, name: shop }", &named);
        fs::write(&file, app.replace("images: { shop: { shop:", &images))
    };
    name_it("shop", "shpo")?;
    answers(&ctx, &stepback, "wrong-workload", 3, "rollback --to 1.2.0", &[])?;
    for (namespace, name, said) in [
        (
            "prodcution",
            "shop",
            "did you mean StatefulSet shop/shop? namespace prodcution has no shop",
        ),
        ("shop", "billing", "namespace shop has shop"),
        ("nowhere", "billing", "namespace nowhere has no StatefulSet at all"),
    ] {
        name_it(namespace, name)?;
        contains(&stepback.ends(3, "plan --to 1.2.0")?, said)?;
    }
    server.stop().await;
    Ok(())
}

async fn no_rights(ctx: Ctx) -> Outcome {
    let reads = Forbidden {
        verb: "get".to_owned(),
        group: "apps".to_owned(),
        resource: "statefulsets".to_owned(),
    };
    let (server, stepback) = cluster(&ctx, vec![reads]).await?;
    answers(&ctx, &stepback, "no-rights", 3, "rollback --to 1.2.0", &[])?;
    server.stop().await;
    Ok(())
}

fn no_database(ctx: &Ctx) -> Outcome {
    let url = "postgres://shop:s3cret@127.0.0.1:1/shop";
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", url);
    answers(ctx, &stepback, "no-database", 6, "migrate status", &[])
}

async fn wrong_password(ctx: Ctx) -> Outcome {
    // Its superuser is let in without one, the app's role is not.
    let rules = ctx.dir().join("pg_hba.conf");
    let text = "host all postgres 127.0.0.1/32 trust\nhost all shop 127.0.0.1/32 scram-sha-256\n";
    fs::write(&rules, text)?;
    let server = Postgres::own(&[("hba_file", &readable(&rules)?)]).await?;
    let mut admin = sqlx::PgConnection::connect(&server.url("postgres")).await?;
    admin.execute("CREATE ROLE shop LOGIN PASSWORD 'right'").await?;
    admin.execute("CREATE DATABASE shop OWNER shop").await?;
    let port = format!(":{}", server.port());
    let url = format!("postgres://shop:s3cret@127.0.0.1{port}/shop");
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", url);
    answers(
        &ctx,
        &stepback,
        "wrong-password",
        6,
        "migrate status",
        &[(&port, ":5432")],
    )
}

/// The server runs as another user, who may not look into the case's directory.
fn readable(file: &Path) -> Result<String, NotPassed> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut at = Some(file);
    while let Some(path) = at.filter(|path| path.starts_with(std::env::temp_dir()) && *path != std::env::temp_dir()) {
        let mode = fs::metadata(path)?.permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o055))?;
        at = path.parent();
    }
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    Ok(file.display().to_string())
}

async fn no_such_database(ctx: Ctx) -> Outcome {
    let server = Postgres::shared().await?;
    let port = format!(":{}", server.port());
    let url = format!("postgres://postgres:s3cret@127.0.0.1{port}/shpo");
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", url);
    answers(
        &ctx,
        &stepback,
        "no-such-database",
        6,
        "migrate status",
        &[(&port, ":5432")],
    )
}

fn wrong_path(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?;
    answers(
        ctx,
        &stepback,
        "wrong-path",
        6,
        "migrate status --url sqlite://shpo.db",
        &[],
    )?;
    for typed in [
        "runs",
        "report",
        "resume --journal sqlite:shpo.db",
        "migrate down --yes --data-loss accept",
    ] {
        let typed = if typed.contains("journal") {
            typed.to_owned()
        } else {
            format!("{typed} --url sqlite:shpo.db")
        };
        let ran = stepback.ends(6, &typed)?;
        assert!(ran.err.contains("did you mean `shop.db`?"), "{typed}: {}", ran.err);
        assert!(!ctx.dir().join("shpo.db").exists(), "{typed} made a file");
    }
    Ok(())
}

fn wrong_parameter(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", "postgres://shop@127.0.0.1:1/shop?ssl_mode=disable");
    answers(ctx, &stepback, "wrong-parameter", 2, "migrate status", &[])
}

fn wrong_release(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?;
    answers(ctx, &stepback, "wrong-release", 2, "rollback --to v1.2.0", &[])?;
    for (typed, said) in [
        ("plan --to 1.2", "did you mean 1.2.0?"),
        (
            "plan --to latest",
            "write one of those that stepback.yaml names: 1.3.0,",
        ),
    ] {
        let ran = stepback.ends(2, typed)?;
        contains(&ran, said)?;
    }
    Ok(())
}

fn no_app_file(ctx: &Ctx) -> Outcome {
    shop(ctx)?;
    let folder = ctx.dir().join("migrations");
    answers(
        ctx,
        &Binary::in_dir(&folder),
        "no-app-file",
        2,
        "rollback --to 1.2.0",
        &[],
    )?;
    // Below, and nowhere.
    let above = ctx.dir().join("above");
    copy(&root().join("testdata/apps/shop"), &above.join("shop"))?;
    fs::remove_file(ctx.dir().join("stepback.yaml"))?;
    let ran = Binary::in_dir(&above).ends(2, "rollback --to 1.2.0")?;
    contains(&ran, "--config shop/stepback.yaml")?;
    let ran = Binary::in_dir(&folder).ends(2, "rollback --to 1.2.0")?;
    contains(&ran, "stepback init")?;
    Ok(())
}

async fn unfinished_run(ctx: Ctx) -> Outcome {
    let stepback = shop(&ctx)?;
    fs::remove_file(ctx.dir().join("stepback.yaml"))?;
    let file = ctx.dir().join("shop.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await?;
    connection
        .execute(
            "UPDATE stepback_run SET status = 'halted', closes_itself = 0, title = 'rollback 1.3.0 -> 1.2.0';
             DELETE FROM stepback_journal WHERE sequence = (SELECT max(sequence) FROM stepback_journal)",
        )
        .await?;
    connection.close().await?;
    let runs = stepback.ends(0, "runs -o json")?.out;
    let runs: serde_json::Value = serde_json::from_str(&runs)?;
    let run = runs["items"][0]["run"].as_str().unwrap_or_default().to_owned();
    let shown = (run.as_str(), "01J8ZQ4T3KX2M9V6B1C5D7E8F0");
    answers(
        &ctx,
        &stepback,
        "unfinished-run",
        5,
        "migrate down --data-loss accept --yes --quiet",
        &[shown],
    )
}

fn new_database(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?;
    let ran = stepback.ends(2, "migrate up --url sqlite:shpo.db")?;
    contains(
        &ran,
        "shpo.db does not exist, and is made as a new database; beside it lies shop.db",
    )?;
    assert!(!ctx.dir().join("shpo.db").exists());
    let ran = stepback.ends(0, "migrate up --url sqlite:new.db?mode=rwc --yes")?;
    contains(&ran, "new: ")?;
    assert!(ran.out.contains("on       shop, sqlite:new.db"), "{}", ran.out);
    let ran = stepback.ends(0, "migrate down --to 0 --url sqlite:new.db --data-loss accept --yes")?;
    assert!(!ran.err.contains("new: "), "{}", ran.err);
    Ok(())
}

fn no_place(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?;
    for typed in ["foo:bar", "cluster:", "s3cret"] {
        let ran = stepback.ends(2, &format!("resume --journal {typed}"))?;
        contains(&ran, "cluster:NAMESPACE, file:PATH")?;
        assert!(!ran.err.contains("s3cret"), "{}", ran.err);
    }
    Ok(())
}

/// Only the address is another one.
fn url_beside_app_file(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx)?;
    fs::rename(ctx.dir().join("migrations"), ctx.dir().join("scripts"))?;
    let file = fs::read_to_string(ctx.dir().join("stepback.yaml"))?;
    fs::write(
        ctx.dir().join("stepback.yaml"),
        file.replace("migrations: migrations", "migrations: scripts"),
    )?;
    stepback.ends(0, "migrate up --yes --url sqlite://other.db")?;
    let ran = stepback.ends(0, "migrate status --url sqlite://other.db")?;
    assert!(ran.out.starts_with("shop 1.3.0\n"), "{}", ran.out);
    assert!(ran.out.contains("4 migrations applied"), "{}", ran.out);
    Ok(())
}
