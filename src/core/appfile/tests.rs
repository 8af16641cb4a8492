use std::time::Duration;

use super::*;
use crate::catalog::Catalog;
use crate::model::{Engine, Version};

/// SPEC 3, word for word.
const WHOLE: &str = r#"
apiVersion: stepback.dev/v1
kind: App
metadata: { name: shop }
spec:
  database:
    url: { env: DATABASE_URL }            # or {file: PATH}, {secret: NAME, key: KEY}; a literal URL only without a password
    directUrl: null                       # around a transaction pooler, for scripts that need a session
    migrations: migrations                # folder, relative to this file
    layout: auto                          # see 5
    ledger: auto
    stateSchema: stepback                 # where our own tables live
    appRoles: [shop]                      # the app's own database roles: whose sessions must be gone when it is stopped
    hostedBy: null                        # the workload that IS the database server
  workloads:                              # in starting order; stopped in reverse
    - { kind: StatefulSet, namespace: production, name: shop, startTogether: 1 }
  alsoUses:                               # others that use the database: suspended during a run
    - { kind: CronJob, namespace: production, name: shop-reports }
  releases:
    - version: 1.3.0
      schema: "20240301090000"            # newest migration of this release
      accepts: { min: "20240115120000", max: "20240301090000" }   # schemas it can run on; default: its own only
      images: { shop: { shop: registry.example/shop:1.3.0 } }     # workload -> container -> image
      engine: { mysql: ">=8.0.36, <8.1" }                         # stored data versions its server can open
    - { version: 1.2.0, schema: "20240115120000", images: { shop: { shop: registry.example/shop:1.2.0 } } }
  migratesAtStart: false                  # true: the app migrates by itself on boot; permits offline only
  strategy: auto                          # auto | offline | app-first | schema-first | app-only
  dataLoss: refuse                        # refuse | salvage | accept
  probes:                                 # all must hold on a pod before the next pod is touched
    - { http: { path: /healthz, port: 8080 }, successes: 3, period: 1s, timeout: 120s }
    - { sql: "SELECT 1" }
    - { exec: { container: shop, command: ["shop", "selfcheck"] } }
  limits:
    step: 10m                             # one migration
    pod: 5m                               # one pod, its gate included
    statement: 10m
    lockWait: 5s                          # for a lock inside the engine
    lock: 30s                             # for our lease, when another holds it
    lease: 15s                            # its life without a heartbeat
  onFailure: halt                         # halt | abort (go back to where the run started, while that is free)
"#;

const SMALL: &str = "
apiVersion: stepback.dev/v1
kind: App
metadata: { name: shop }
spec:
  database: { url: sqlite://shop.db }
";

fn parse(text: &str) -> AppFile {
    AppFile::parse(text, "stepback.yaml")
        .map_err(|errors| errors.to_string())
        .unwrap()
}

fn errors(text: &str) -> String {
    AppFile::parse(text, "stepback.yaml").unwrap_err().to_string()
}

fn with_spec(more: &str) -> String {
    format!("{SMALL}{more}")
}

#[test]
fn reads_the_whole_shape() {
    let app = parse(WHOLE);
    assert_eq!(app.name, "shop");
    assert_eq!(app.database.url, UrlSource::Env("DATABASE_URL".to_owned()));
    assert_eq!((app.database.direct_url.as_ref(), app.database.layout), (None, None));
    assert_eq!(app.workloads[0].start_together, Some(1));
    assert_eq!(app.also_uses[0].kind, UserKind::CronJob);
    assert_eq!(app.limits, Limits::default());
    let newest = app.release(&semver::Version::new(1, 3, 0)).unwrap();
    assert!(newest.accepts.includes(&Version::parse("20240115120000").unwrap()));
    assert_eq!(newest.images["shop"]["shop"], "registry.example/shop:1.3.0");
    assert!(newest.engine[&DataEngine::Mysql].matches(&semver::Version::new(8, 0, 36)));
    let older = &app.releases[1];
    assert_eq!((&older.accepts.min, &older.accepts.max), (&older.schema, &older.schema));
    assert_eq!(
        app.probes[0].ask,
        Ask::Http {
            tls: None,
            path: "/healthz".to_owned(),
            port: 8080
        }
    );
    assert_eq!(app.probes[1].successes, 3);
    assert_eq!(app.probes[2].timeout, Duration::from_secs(120));
}

#[test]
fn most_of_it_may_be_left_out() {
    let app = parse(SMALL);
    assert_eq!(app.database.migrations, "migrations");
    assert_eq!(app.database.state_schema, None);
    assert_eq!(
        (app.strategy, app.data_loss, app.on_failure),
        (Strategy::Auto, DataLoss::Refuse, OnFailure::Halt)
    );
    assert_eq!(app.limits, Limits::default());
    assert!(app.workloads.is_empty() && app.releases.is_empty() && app.probes.is_empty());
}

#[test]
fn versions_are_text_even_where_yaml_sees_a_number() {
    let app = parse(&with_spec(
        "  releases:\n    - { version: 1.10.0, schema: 0010 }\n    - { version: 1.9.0, schema: 1.10 }",
    ));
    assert_eq!(app.releases[0].schema.as_str(), "0010");
    assert_eq!(app.releases[1].schema.as_str(), "1.10");
}

#[test]
fn images_may_leave_out_the_only_workload() {
    let more = "  workloads: [{ kind: Deployment, name: web }]\n  releases: [{ version: 1.0.0, schema: 1, images: { app: web:1 } }]";
    assert_eq!(parse(&with_spec(more)).releases[0].images["web"]["app"], "web:1");
}

#[test]
fn anchors_are_followed() {
    let more = "  probes:\n    - { tcp: { port: 80 }, period: &p 2s }\n    - { sql: SELECT 2, period: *p }";
    assert_eq!(parse(&with_spec(more)).probes[1].period, Duration::from_secs(2));
}

#[test]
fn every_mistake_at_once_with_place_choices_and_nearest() {
    insta::assert_snapshot!(errors(
        r#"
apiVersion: stepback.dev/v2
kind: app
metadata: { name: Shop_1, labels: {} }
extra: 1
spec:
  databse: {}
  database:
    url: postgres://shop:hunter2@db/shop
    directUrl: { env: A, secret: B }
    layout: golangmigrate
    ledger: liquibase
    stateSchema: "step back"
    appRoles: shop
    hostedBy: databse
  workloads:
    - { kind: statefulset, name: shop }
    - { kind: StatefulSet, name: shop, startTogether: 0 }
    - { kind: Deployment, name: shop }
    - { kind: Deployment }
  alsoUses:
    - { kind: DaemonSet, name: agent }
  releases:
    - { version: 1.3, schema: "20240301090000" }
    - { version: 1.3.0, schema: v7, images: { shpo: { shop: a } } }
    - { version: 1.2.0, schema: 5, accepts: { min: 6, max: 4 }, engine: { mysq: ">=8", mariadb: newest } }
    - { version: 1.2.0, schema: 5, accepts: { min: 6 } }
    - { version: 1.1.0, schema: 5, accepts: { max: 4 }, images: { shop: "a b" } }
    - { schema: 5, accept: {} }
  migratesAtStart: yes
  strategy: app_first
  dataLoss: maybe
  probes:
    - { http: { path: healthz, port: 80800 } }
    - { sql: SELECT 1, tcp: { port: 1 } }
    - { successes: 10, period: 1m }
    - { exec: { command: shop selfcheck } }
    - { grpc: { port: 1 } }
  limits: { step: 10, lockwait: 5s, lease: 0s }
  onFailure: aboort
  onFailure: halt
"#
    ));
}

#[test]
fn probes_say_whom_to_trust_and_whose_they_are() {
    let more = "  workloads: [{ kind: StatefulSet, name: web }]
  probes:
    - { https: { port: 8443, serverName: \"{pod}.web\", ca: ca.pem }, workload: web }
    - { https: { port: 8443, insecure: true } }
    - https: { port: 8443, serverName: web, ca: \"-----BEGIN CERTIFICATE-----\" }
    - { https: { port: 8443, serverName: web } }";
    let app = parse(&with_spec(more));
    let trusts: Vec<_> = app
        .probes
        .iter()
        .map(|probe| match &probe.ask {
            Ask::Http { tls: Some(tls), .. } => (tls.server_name.as_deref(), tls.trust.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        trusts,
        [
            (Some("{pod}.web"), Trust::File("ca.pem".to_owned())),
            (None, Trust::Anyone),
            (Some("web"), Trust::Pem("-----BEGIN CERTIFICATE-----".to_owned())),
            (Some("web"), Trust::System),
        ]
    );
    assert_eq!(app.probes[0].workload.as_deref(), Some("web"));
    let wrong = errors(&with_spec(
        "  workloads: [{ kind: StatefulSet, name: web }]
  probes:
    - { https: { port: 1 } }
    - { https: { port: 1, insecure: true, ca: x } }
    - { sql: SELECT 1, workload: wep }",
    ));
    for part in ["`https` needs `serverName`", "whom to trust", "did you mean `web`?"] {
        assert!(wrong.contains(part), "{wrong}");
    }
}

#[test]
fn a_password_is_not_repeated() {
    let text = errors(&SMALL.replace("sqlite://shop.db", "postgres://shop:hunter2@db/shop"));
    assert!(
        text.contains("spec.database.url") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_url_in_the_place_of_a_path_is_not_repeated() {
    for url in ["postgres://shop:hunter2@db/shop", "postgres:shop:hunter2@db/shop"] {
        let text = errors(&SMALL.replace("sqlite://shop.db", &format!("{{ file: \"{url}\" }}")));
        assert!(
            text.contains("no path of a file") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn migrating_at_start_permits_offline_only() {
    insta::assert_snapshot!(errors(&with_spec("  migratesAtStart: true\n  strategy: app-first")));
    assert_eq!(
        parse(&with_spec("  migratesAtStart: true\n  strategy: offline")).strategy,
        Strategy::Offline
    );
}

#[test]
fn broken_yaml_says_where() {
    insta::assert_snapshot!(
        [
            "",
            "# nothing",
            "- a",
            "a: [",
            "a: b: c",
            "a: 1\n---\nb: 2",
            "? [a]\n: 1",
            "a: &a [*a]",
            "a: *b",
            &format!("{}{}", "[".repeat(40), "]".repeat(40)),
            "a: \"\\x\"",
        ]
        .map(|text| format!("{:?}\n{}", text.get(..10).unwrap_or(text), errors(text)))
        .join("\n\n")
    );
}

#[test]
fn aliases_of_aliases_end() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let prior = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", [prior.as_str(); 10].join(", "));
    }
    assert!(errors(&text).contains("more than 100000 values"));
}

#[test]
fn a_schema_without_a_migration_is_found_unless_the_folder_is_empty() {
    let app = parse(WHOLE);
    let catalog = |names: &[&str]| {
        let files: Vec<_> = names
            .iter()
            .map(|name| ((*name).to_owned(), b"SELECT 1".to_vec()))
            .collect();
        Catalog::read(&files, Engine::Sqlite).unwrap()
    };
    assert_eq!(check_against(&app, &catalog(&[])), []);
    assert_eq!(
        check_against(&app, &catalog(&["20240115120000_a.up.sql", "020240301090000_b.up.sql"])),
        []
    );
    // The folder of an older release, which has never seen the newer migrations.
    assert_eq!(check_against(&app, &catalog(&["20240115120000_a.up.sql"])), []);
    let found = check_against(&app, &catalog(&["20240115120000_a.up.sql", "20240301090001_b.up.sql"]));
    insta::assert_snapshot!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_shop_of_the_demo_is_consistent() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/apps/shop");
    let app = parse(&std::fs::read_to_string(format!("{folder}/stepback.yaml")).unwrap());
    let files: Vec<_> = std::fs::read_dir(format!("{folder}/{}", app.database.migrations))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    for engine in Engine::ALL {
        let catalog = Catalog::read(&files, engine).unwrap();
        assert_eq!(check_against(&app, &catalog), []);
        for migration in catalog.migrations() {
            let down = migration.down.as_ref().unwrap();
            assert!(!down.is_empty(engine), "{}", migration.label());
            for statement in crate::sql::split(down.text(), engine).unwrap() {
                let effects = crate::sql::effects(&statement, engine);
                assert!(
                    matches!(effects, crate::sql::Effects::Known { .. }),
                    "{engine}: {effects:?}"
                );
            }
        }
    }
}
