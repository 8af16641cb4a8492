//! Probes on the road: they hold the way back, they are tried before it, and a pod on which one fails is shown.

use std::fs;

use serde_json::Value;

use super::{
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case},
};

/// What holds on 1.2.0; the table's third column is 1.3.0's.
const HOLD_WITH_EXEC: &str = "    - { tcp: { port: 8080 }, successes: 1 }
    - { sql: \"SELECT count(*) FROM orders\", successes: 2, period: 50ms }
    - { exec: { container: shop, command: [sh, -c, \"test $SHOP_RELEASE = 1.2.0\"] }, successes: 2, period: 50ms }
";

/// The same without the command: the kubelet's certificate is none that the real API server takes.
const HOLD: &str = "    - { tcp: { port: 8080 }, successes: 1 }
    - { sql: \"SELECT count(*) FROM orders\", successes: 2, period: 50ms }
";

/// A page that the shop does not have, and a port on which it does not listen: the pods are reached all the same.
const FAIL: &str = "    - { http: { path: /nowhere, port: 8080 }, successes: 1, timeout: 2s }
    - { tcp: { port: 9 } }
";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (engine, kind) in [
        (Engine::Sqlite, Kind::Sandbox),
        (Engine::Postgres, Kind::Sandbox),
        (Engine::Sqlite, Kind::Real),
    ] {
        let name = |what: &str| format!("main_road::{}_{}_{what}", engine.name(), kind.name());
        cases.push(case(name("probes_hold"), async move |ctx| {
            hold(ctx, engine, kind).await
        }));
        cases.push(case(name("a_failed_probe_is_shown"), async move |ctx| {
            fail(ctx, engine, kind).await
        }));
    }
    cases.push(case(
        "main_road::an_exec_probe_that_fails_holds_the_way_back",
        refused_by_a_command,
    ));
    cases.push(case("main_road::w17_a_probe_that_can_never_hold_refuses", unfit));
    cases
}

async fn hold(ctx: Ctx, engine: Engine, kind: Kind) -> Outcome {
    let (app, count) = match kind {
        Kind::Sandbox => (HOLD_WITH_EXEC, 4),
        _ => (HOLD, 3),
    };
    let setting = Setting {
        app,
        replicas: 1,
        ..Setting::new(engine, kind, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let folder = stage.folder("1.2.0");
    let plan = stage.credentials.run(0, &folder, "plan --to 1.2.0").await?;
    assert!(!plan.out.contains("probe-"), "{}", plan.out);
    let ran = stage.credentials.run(0, &folder, "rollback --to 1.2.0 --yes").await?;
    assert!(ran.err.contains(&format!("{count} probes passed")), "{}", ran.err);
    TO_1_2_0.check(&stage).await
}

async fn fail(ctx: Ctx, engine: Engine, kind: Kind) -> Outcome {
    let setting = Setting {
        app: FAIL,
        replicas: 1,
        ..Setting::new(engine, kind, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    let folder = stage.folder("1.2.0");
    let plan = stage.credentials.run(0, &folder, "plan --to 1.2.0").await?;
    assert!(
        plan.out.contains("probe-unanswered") && plan.out.contains("port 9"),
        "{}",
        plan.out
    );

    let ran = stage.credentials.run(4, &folder, "rollback --to 1.2.0 --yes").await?;
    for part in [
        "GET /nowhere on shop-0:8080",
        "404",
        "shop-0:",
        "container shop runs",
        "events:",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let told = ran.err.rsplit("error: ").next().unwrap_or_default();
    // An address is never broken.
    let fits = |line: &str| line.chars().count() <= 80 || line.contains("://");
    assert!(told.lines().all(fits), "{told}");
    let report = stage.credentials.run(0, &folder, "report").await?;
    assert!(report.out.contains("container shop runs"), "{}", report.out);
    let json = stage.credentials.run(0, &folder, "report -o json").await?;
    let json: Value = serde_json::from_str(&json.out)?;
    let text = json.to_string();
    assert!(text.contains("\"evidence\":{"), "{text}");
    if kind == Kind::Sandbox {
        assert!(ran.err.contains("shop 1.2.0 listens on"), "{}", ran.err);
    } else {
        // The kubelet's certificate is none that this API server takes, which hides nothing else.
        assert!(
            ran.err.contains("not read:") && ran.err.contains("the log of shop"),
            "{}",
            ran.err
        );
    }
    Ok(())
}

/// What the command said is what is shown.
async fn refused_by_a_command(ctx: Ctx) -> Outcome {
    let app = "    - { exec: { command: [sh, -c, \"printf 'not yet %s amqp://shop:hunter2@mq/a\\\\033]0;title\\\\007' $SHOP_RELEASE >&2; exit 3\"] }, period: 50ms, timeout: 1s }\n";
    let setting = Setting {
        app,
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    let folder = stage.folder("1.2.0");
    let ran = stage.credentials.run(4, &folder, "rollback --to 1.2.0 --yes").await?;
    for part in [
        "did not succeed within 1 s",
        "exit status 3: not yet 1.2.0 amqp://shop:(hidden)@mq/a",
        "container shop runs",
    ] {
        assert!(ran.says(part), "{part}: {}", ran.err);
    }
    let written = format!("{}{}{:?}", ran.out, ran.err, stage.objects().await?);
    let told: Vec<_> = written.lines().filter(|line| line.contains("not yet 1.2.0")).collect();
    assert!(!told.is_empty(), "{written}");
    for line in told {
        assert!(!line.contains("hunter2") && !line.contains("title"), "{line}");
    }
    Ok(())
}

/// Refused before anything is touched: exit 3.
async fn unfit(ctx: Ctx) -> Outcome {
    let app = "    - { sql: \"DELETE FROM orders\" }
    - { sql: SELECT 1; SELECT 2 }
    - { exec: { container: shopp, command: [\"true\"] } }
";
    let setting = Setting {
        app,
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    let database = fs::read(ctx.dir().join("shop.db")).ok();
    let ran = stage
        .credentials
        .run(3, &stage.folder("1.2.0"), "rollback --to 1.2.0 --yes")
        .await?;
    assert_eq!(ran.err.matches("probe-unfit").count(), 3, "{}", ran.err);
    for part in ["readonly", "2 statements", "shopp"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert_eq!(fs::read(ctx.dir().join("shop.db")).ok(), database);
    Ok(())
}
