//! `reconcile` on the schema alone: whichever side the database is on, at once or after the other, interrupted or not.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
};

use sqlx::Row as _;

use crate::cli::{CREATE, CUSTOMER, PAYMENTS, PRODUCT, dump, files, open, shop, shop_migrations};
use crate::support::{
    binary::{Binary, Ran},
    runner::{Case, Ctx, NotPassed, Outcome, case, fail, sync_case},
};

pub fn cases() -> Vec<Case> {
    vec![
        case("reconcile::goes_up_back_and_nowhere_as_the_ledger_says", directions),
        case("reconcile::equal_touches_nothing_and_needs_no_cluster", equal),
        case("reconcile::of_several_at_once_one_acts_and_all_are_content", several),
        case("reconcile::a_halt_is_no_success_when_it_is_run_again", halted_again),
        sync_case("reconcile::a_signal_ends_the_look_with_130", |ctx| stopped(&ctx)),
    ]
}

async fn applied(dir: &Path) -> Result<Vec<String>, NotPassed> {
    let rows = sqlx::query("SELECT version FROM stepback_ledger ORDER BY sequence")
        .fetch_all(&mut open(&dir.join("shop.db")).await?)
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn says(ran: &Ran, words: &str) {
    assert!(ran.out.contains(words), "{words}: {}{}", ran.out, ran.err);
}

/// No `--yes` anywhere: nobody sits before it.
async fn directions(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    says(&stepback.ends(0, "reconcile --to 1.2.0")?, "migrate up nothing");
    assert_eq!(applied(dir).await?, [CREATE, CUSTOMER]);
    let at_1_2_0 = dump(&dir.join("shop.db")).await?;
    says(&stepback.ends(0, "reconcile --to 1.3.0")?, "migrate up");
    assert_eq!(applied(dir).await?, [CREATE, CUSTOMER, PRODUCT, PAYMENTS]);

    // Back, from an image that has never held the newer files. What it destroys must have been accepted.
    let older = dir.join("older");
    fs::create_dir(&older)?;
    shop(&older, "migrations")?;
    let older = Binary::in_dir(&older).env("DATABASE_URL", format!("sqlite://{}", dir.join("shop.db").display()));
    let refused = older.ends(3, "reconcile --to 1.2.0")?;
    assert!(refused.err.contains("data-loss"), "{}", refused.err);
    says(
        &older.ends(0, "reconcile --to 1.2.0 --data-loss accept")?,
        "rollback 1.3.0 -> 1.2.0",
    );
    assert_eq!(applied(dir).await?, [CREATE, CUSTOMER]);
    assert_eq!(dump(&dir.join("shop.db")).await?, at_1_2_0);
    // And up again from there: the archive has what the folder has not.
    older.ends(0, "reconcile --to 1.3.0")?;
    assert_eq!(applied(dir).await?, [CREATE, CUSTOMER, PRODUCT, PAYMENTS]);

    let unknown = older.ends(3, "reconcile --to 9.9.9")?;
    assert!(unknown.err.contains("release-unknown"), "{}", unknown.err);
    // The next one below, and not whichever is written most alike.
    let unknown = older.ends(3, "reconcile --to 1.4.0")?;
    assert!(unknown.err.contains("did you mean 1.3.0? known are"), "{}", unknown.err);
    older.ends(2, "reconcile")?;
    // Without the app file nobody knows what a release is.
    let nowhere = dir.join("nowhere");
    fs::create_dir(&nowhere)?;
    Binary::in_dir(&nowhere).ends(2, "reconcile --to 1.2.0 --url sqlite://shop.db")?;
    Ok(())
}

async fn equal(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    // The cluster of its workload answers to nobody.
    let app = fs::read_to_string(dir.join("stepback.yaml"))?;
    let workload = "  workloads: [{ kind: StatefulSet, namespace: shop, name: shop }]\n  releases:";
    fs::write(dir.join("stepback.yaml"), app.replace("  releases:", workload))?;
    let stepback = stepback.env("KUBECONFIG", "/nowhere");
    stepback.ends(0, "reconcile --to 1.3.0")?;
    let before = files(dir)?;
    let ran = stepback.ends(0, "reconcile --to 1.3.0")?;
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("nothing to do: already at 1.3.0 (schema 20240301090000)\n", "")
    );
    let json: serde_json::Value = serde_json::from_str(&stepback.ends(0, "reconcile --to 1.3.0 -o json")?.out)?;
    assert_eq!(
        (&json["kind"], &json["steps"]),
        (&"Plan".into(), &serde_json::json!([]))
    );
    assert_eq!(files(dir)?, before);
    // The way back needs the cluster, and says so before anything is touched.
    stepback.ends(6, "reconcile --to 1.2.0 --data-loss accept")?;
    assert_eq!(files(dir)?, before);
    Ok(())
}

async fn several(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    for (to, expected) in [
        ("1.3.0", &[CREATE, CUSTOMER, PRODUCT, PAYMENTS][..]),
        ("1.1.0", &[CREATE][..]),
    ] {
        let typed = ["reconcile", "--to", to, "--data-loss", "accept"];
        let started: Vec<Child> = (0..4)
            .map(|_| {
                let mut command = stepback.command(&typed);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
            })
            .collect::<Result<_, _>>()?;
        let mut acted = 0;
        for child in started {
            let output = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.code() != Some(0) {
                let errors = String::from_utf8_lossy(&output.stderr);
                return fail(format_args!("{}: {said}{errors}", output.status));
            }
            acted += i32::from(!said.contains("nothing to do"));
        }
        assert_eq!(acted, 1, "one acts on the way to {to}");
        assert_eq!(applied(dir).await?, expected);
    }
    let runs = stepback.ends(0, "runs -o json")?;
    let runs: serde_json::Value = serde_json::from_str(&runs.out)?;
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(2), "{runs:#}");
    Ok(())
}

/// The ledger is at the release, and the schema is not: whoever only looks at the ledger would call that done.
async fn halted_again(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = Binary::with_migrations(
        dir,
        &[
            ("1_a.up.sql", "CREATE TABLE a (id integer);"),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", "CREATE TABLE b (id integer);"),
            ("2_b.down.sql", "CREATE TABLE c (id integer);"),
        ],
    )?
    .env("DATABASE_URL", "sqlite://shop.db");
    let text = "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: shop }\nspec:\n  database:\n    \
                url: { env: DATABASE_URL }\n    migrations: migrations\n  dataLoss: accept\n  releases:\n    \
                - { version: 2.0.0, schema: \"2\", images: {} }\n    - { version: 1.0.0, schema: \"1\", images: {} }\n";
    fs::write(dir.join("stepback.yaml"), text)?;
    stepback.ends(0, "reconcile --to 2.0.0")?;
    for _ in 0..2 {
        let halted = stepback.ends(4, "reconcile --to 1.0.0")?;
        assert!(halted.err.contains("compare the schema"), "{}", halted.err);
        assert_eq!(applied(dir).await?, ["1"]);
    }
    // Mended by hand, it is what was wanted.
    sqlx::raw_sql("DROP TABLE b; DROP TABLE c")
        .execute(&mut open(&dir.join("shop.db")).await?)
        .await?;
    stepback.ends(0, "reconcile --to 1.0.0")?;
    Ok(())
}

/// A server that accepts and says nothing, as behind a firewall that drops: the look takes as long as the limits allow.
fn stopped(ctx: &Ctx) -> Outcome {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let stepback = shop(ctx.dir(), "migrations")?;
    let url = format!("postgres://shop@{}/shop", server.local_addr()?);
    let mut command = stepback.command(&["reconcile", "--to", "1.2.0"]);
    let child = command
        .env("DATABASE_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It looks now.
    let _connection = server.accept()?;
    let sent = std::process::Command::new("kill")
        .args(["-s", "TERM", &child.id().to_string()])
        .status()?;
    assert!(sent.success());
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("nothing was touched"), "{said}");
    Ok(())
}
