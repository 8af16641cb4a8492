//! The shop as its clients see it, on each engine: a release answers on its own schema and on no other.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use hyper::{Method, StatusCode};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, root},
    scene::{Scene, is_ready},
    servers::Postgres,
    shop::{Shop, ask, command},
};

pub fn cases() -> Vec<Case> {
    vec![
        case("shop::sqlite_answers_on_its_own_schema_only", |ctx| async move {
            let file = ctx.fresh_file("shop.db");
            fs::write(&file, "")?;
            each_release_on_each_schema(&format!("sqlite://{}", file.display())).await
        }),
        case("shop::postgres_answers_on_its_own_schema_only", |ctx: Ctx| async move {
            each_release_on_each_schema(&Postgres::shared().await?.fresh_database(ctx.name()).await?).await
        }),
        case("shop::real::its_manifest_runs", |ctx| manifest(Kind::Real, ctx)),
        case("shop::sandbox::its_manifest_runs", |ctx| manifest(Kind::Sandbox, ctx)),
        case("shop::a_shop_starts_without_its_database", without_database),
        case("shop::says_why_it_cannot_start", cannot_start),
    ]
}

/// The scripts of one direction in the order they run.
fn scripts(direction: &str) -> Result<Vec<String>, NotPassed> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root().join("testdata/apps/shop/migrations"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path: &PathBuf| path.to_string_lossy().ends_with(&format!(".{direction}.sql")));
    paths.sort();
    if direction == "down" {
        paths.reverse();
    }
    paths.iter().map(|path| Ok(fs::read_to_string(path)?)).collect()
}

async fn run(url: &str, sql: &str) -> Outcome {
    let sql = AssertSqlSafe(sql);
    if url.starts_with("sqlite:") {
        sqlx::raw_sql(sql)
            .execute(&mut SqliteConnection::connect(url).await?)
            .await?;
    } else {
        sqlx::raw_sql(sql)
            .execute(&mut PgConnection::connect(url).await?)
            .await?;
    }
    Ok(())
}

/// The releases that are healthy, and those whose list of orders works.
async fn working(shops: &[(&'static str, Shop)]) -> Result<(Vec<&'static str>, Vec<&'static str>), NotPassed> {
    let (mut healthy, mut listing) = (vec![], vec![]);
    for (release, shop) in shops {
        for (path, works) in [("/healthz", &mut healthy), ("/orders", &mut listing)] {
            match shop.get(path).await? {
                (StatusCode::OK, _) => works.push(*release),
                (status, body) => {
                    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
                    assert!(body["reason"].is_string(), "{body}");
                }
            }
        }
    }
    Ok((healthy, listing))
}

/// All three releases run beside each other while the schema goes up and down under them.
async fn each_release_on_each_schema(url: &str) -> Outcome {
    let mut shops = Vec::new();
    for release in ["1.1.0", "1.2.0", "1.3.0"] {
        shops.push((release, Shop::open(release, url).await?));
    }
    assert_eq!(working(&shops).await?, (vec![], vec![]));
    let mut seen = Vec::new();
    for (step, script) in scripts("up")?.iter().enumerate() {
        run(url, script).await?;
        seen.push(working(&shops).await?);
        let at = ["1.1.0", "1.2.0", "", "1.3.0"][step];
        if let Some((_, shop)) = shops.iter().find(|(release, _)| *release == at) {
            let order = json!({ "item": at, "quantity": 2, "customer": "Ada", "paid": 950 });
            assert_eq!(
                shop.ask(Method::POST, "/orders", order).await?.0,
                StatusCode::CREATED,
                "{at}"
            );
        }
    }
    // The oldest release would still list orders on the next schema, but knows that it is not its own.
    assert_eq!(seen[0], (vec!["1.1.0"], vec!["1.1.0"]));
    assert_eq!(seen[1], (vec!["1.2.0"], vec!["1.1.0", "1.2.0"]));
    assert_eq!(seen[2], (vec![], vec![]));
    assert_eq!(seen[3], (vec!["1.3.0"], vec!["1.3.0"]));
    let orders = shops[2].1.get("/orders").await?.1;
    assert_eq!(
        orders[2],
        json!({ "id": 3, "product": "1.3.0", "quantity": 2, "customer": "Ada", "paid": 950 })
    );
    for script in scripts("down")?.iter().take(2) {
        run(url, script).await?;
    }
    assert_eq!(working(&shops).await?.0, ["1.2.0"]);
    let orders = shops[1].1.get("/orders").await?.1;
    let items: Vec<_> = orders
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["item"].as_str().unwrap())
        .collect();
    assert_eq!(
        items,
        ["1.1.0", "1.2.0", "1.3.0"],
        "what was ordered outlives the way back"
    );
    Ok(())
}

async fn without_database(ctx: Ctx) -> Outcome {
    let file = ctx.fresh_file("shop.db");
    let shop = Shop::open("1.2.0", &format!("sqlite://{}", file.display())).await?;
    assert_eq!(shop.get("/healthz").await?.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(shop.get("/").await?.0, StatusCode::NOT_FOUND);
    assert_eq!(
        shop.ask(Method::DELETE, "/orders", Value::Null).await?.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let wrong = json!({ "item": "tea" });
    assert_eq!(
        shop.ask(Method::POST, "/orders", wrong).await?.0,
        StatusCode::BAD_REQUEST
    );
    assert!(!file.exists(), "looking makes no database");
    Ok(())
}

async fn cannot_start(_ctx: Ctx) -> Outcome {
    for (release, url, why) in [
        ("1.2.0-bad", "sqlite://x.db", "broken"),
        ("9.9.9", "sqlite://x.db", "1.3.0"),
        ("1.2.0", "mysql://root:hidden-word@db/shop", "postgres://"),
    ] {
        let output = command(release, Ipv4Addr::new(127, 9, 9, 9), url).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(why) && !said.contains("hidden-word"), "{said}");
    }
    Ok(())
}

/// The manifests of testdata, as they are but for namespace and database: three pods that answer on SQLite.
async fn manifest(kind: Kind, ctx: Ctx) -> Outcome {
    let scene = Scene::open(kind, ctx.name()).await?;
    let file = ctx.fresh_file("shop.db");
    fs::write(&file, "")?;
    let url = format!("sqlite://{}", file.display());
    for script in scripts("up")? {
        run(&url, &script).await?;
    }
    let text = fs::read_to_string(root().join("testdata/apps/shop/statefulset.yaml"))?;
    let (service, set) = text.split_once("\n---\n").expect("a Service and a StatefulSet");
    let mut service: Value = serde_saphyr::from_str(service)?;
    let mut set: Value = serde_saphyr::from_str(set)?;
    service["metadata"]["namespace"] = json!(scene.namespace);
    set["metadata"]["namespace"] = json!(scene.namespace);
    let env = &mut set["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(env["name"], "DATABASE_URL");
    env["value"] = json!(url);
    let services: Api<Service> = Api::namespaced(scene.client.clone(), &scene.namespace);
    services
        .create(&PostParams::default(), &serde_json::from_value(service)?)
        .await?;
    scene
        .sets
        .create(&PostParams::default(), &serde_json::from_value(set)?)
        .await?;
    let pods = scene
        .until_pods("three pods are ready", |pods| {
            pods.len() == 3 && pods.values().all(is_ready)
        })
        .await?;
    let status = pods["shop-2"].status.clone().unwrap();
    let address = status.pod_ip.unwrap().parse()?;
    let orders = ask(address, Method::GET, "/orders", Value::Null).await?;
    assert_eq!(orders, (StatusCode::OK, json!([])));
    Ok(())
}
