//! Plans over a world written by hand: the shop at 1.3.0.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::json;

mod abort;
mod around;
mod turn;
mod ways;

use super::*;
use crate::appfile::AppFile;
use crate::catalog::Catalog;
use crate::model::{
    ArchiveRow, Capture, DatabaseIdentity, Engine, Fingerprint, LedgerRef, LedgerRow, LedgerSeen, MigrationId,
    ReleaseRow, SeenCluster, SeenDatabase, SeenWorkload, UrlSource, Version, WorkloadKind, annotation,
};

mod at_zero;
mod bound;
mod capture;
mod dead;
mod foreign_ledger;
mod found;
mod late;
mod pairing;
mod reconcile;
mod rights;

const APP: &str = include_str!("../../../testdata/apps/shop/stepback.yaml");

/// Version, name, up, down.
const SHOP: [(&str, &str, &str, &str); 4] = [
    (
        "20240101090000",
        "create_orders",
        "CREATE TABLE orders (id integer)",
        "DROP TABLE orders",
    ),
    (
        "20240115120000",
        "add_customer",
        "ALTER TABLE orders ADD c text",
        "ALTER TABLE orders DROP COLUMN c",
    ),
    (
        "20240220103000",
        "rename",
        "ALTER TABLE orders RENAME id TO i",
        "ALTER TABLE orders RENAME i TO id",
    ),
    (
        "20240301090000",
        "payments",
        "CREATE TABLE payments (id integer)",
        "DROP TABLE payments",
    ),
];

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn catalog() -> Catalog {
    let files: Vec<(String, Vec<u8>)> = SHOP
        .iter()
        .flat_map(|(version, name, up, down)| {
            [
                (format!("{version}_{name}.up.sql"), up.as_bytes().to_vec()),
                (format!("{version}_{name}.down.sql"), down.as_bytes().to_vec()),
            ]
        })
        .collect();
    Catalog::read(&files, Engine::Sqlite).unwrap()
}

/// Everything applied and captured, in order.
pub(super) fn seen() -> Seen {
    let rows = SHOP.iter().zip(1..);
    let mut bodies = BTreeMap::new();
    let archive = rows.clone().map(|((number, name, up, down), sequence)| {
        for body in [up, down] {
            bodies.insert(Digest::of(body), Ok(body.as_bytes().to_vec()));
        }
        ArchiveRow {
            migration: MigrationId {
                version: version(number),
                name: (*name).to_owned(),
            },
            revision: 1,
            capture: Capture::Captured,
            up_sha256: Digest::of(up),
            down_sha256: Some(Digest::of(down)),
            down_empty: false,
            ledger_sequence: Some(sequence),
            intact: true,
        }
    });
    let archive = archive.collect();
    let ledger = rows
        .map(|((number, name, up, _), sequence)| LedgerRow {
            sequence: Some(sequence),
            migration: MigrationId {
                version: version(number),
                name: (*name).to_owned(),
            },
            up_sha256: Some(Digest::of(up)),
            up_checksum: None,
            dirty: false,
            applied_at: "2024-03-01T09:00:00Z".to_owned(),
        })
        .collect();
    Seen {
        database: SeenDatabase {
            database: DatabaseRef {
                engine: Engine::Sqlite,
                source: UrlSource::Env("DATABASE_URL".to_owned()),
                redacted: "sqlite://shop.db".to_owned(),
                state_schema: "stepback".to_owned(),
                ledger: LedgerRef::default(),
                identity: DatabaseIdentity::default(),
            },
            server_version: "SQLite 3".to_owned(),
            prepared: true,
            read_only: false,
            ledger_table: LedgerSeen::default(),
            ledger,
            archive,
            releases: Vec::new(),
            fingerprints: Vec::new(),
            bound: Vec::new(),
            open_run: None,
            lease: None,
            highest_token: 0,
            missing_rights: crate::model::MissingRights::default(),
            server: crate::model::SeenServer::default(),
        },
        fingerprint: Fingerprint {
            format: 1,
            server: String::new(),
            objects: BTreeMap::new(),
            drifted: BTreeMap::new(),
        },
        recorded: None,
        compared: None,
        unverified: None,
        bodies,
        cluster: None,
        probes: vec![],
        around: vec![],
        missing_rights: vec![],
        missing_pairing: vec![],
        missing_evidence: vec![],
    }
}

fn shop_set(change: impl FnOnce(&mut serde_json::Value)) -> SeenCluster {
    let mut set = json!({
        "metadata": { "name": "shop", "namespace": "shop", "uid": "u-1", "generation": 1 },
        "spec": {
            "replicas": 3, "serviceName": "shop", "selector": { "matchLabels": { "app": "shop" } },
            "template": { "metadata": { "labels": { "app": "shop" } },
                          "spec": { "containers": [{ "name": "shop", "image": "shop:1.3.0" }] } },
        },
        "status": { "replicas": 3, "observedGeneration": 1, "updateRevision": "shop-new", "currentRevision": "shop-new" },
    });
    change(&mut set);
    let revision = |name: &str, image: &str| {
        serde_json::from_value(json!({
            "metadata": { "name": name }, "revision": 1,
            "data": { "spec": { "template": { "$patch": "replace", "metadata": { "labels": { "app": "shop" } },
                      "spec": { "containers": [{ "name": "shop", "image": image }] } } } },
        }))
        .unwrap()
    };
    let set: StatefulSet = serde_json::from_value(set).unwrap();
    SeenCluster {
        uid: "cluster-1".to_owned(),
        place: None,
        workloads: vec![SeenWorkload {
            workload: WorkloadRef {
                kind: WorkloadKind::StatefulSet,
                namespace: "shop".into(),
                name: "shop".into(),
            },
            set: Some(set),
            pods: Vec::new(),
            revisions: vec![revision("shop-old", "shop:1.2.0"), revision("shop-new", "shop:1.3.0")],
        }],
    }
}

fn ask<'a>(goal: Goal, app: Option<&'a AppFile>, catalog: &'a Catalog) -> Request<'a> {
    Request {
        goal,
        app,
        catalog,
        accept_loss: true,
        accepted: Accepted::default(),
        dead: BTreeSet::new(),
        order: None,
        journal: None,
    }
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| step.action.describe()).collect()
}

#[test]
fn a_rollback_stops_migrates_repoints_and_starts() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let world = Seen {
        cluster: Some(shop_set(|_| {})),
        ..seen()
    };
    let plan = plan(
        &ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty),
        &world,
    )
    .unwrap();
    insta::assert_snapshot!(steps(&plan).join("\n"), @"
    stop a pod of StatefulSet shop/shop: 3 -> 2
    stop a pod of StatefulSet shop/shop: 2 -> 1
    stop a pod of StatefulSet shop/shop: 1 -> 0
    revert 2 migrations, 20240301090000 to 20240220103000
    point StatefulSet shop/shop at revision shop-old
    start a pod of StatefulSet shop/shop: 0 -> 1
    start a pod of StatefulSet shop/shop: 1 -> 2
    start a pod of StatefulSet shop/shop: 2 -> 3
    pair revision shop-old with release 1.2.0
    give StatefulSet shop/shop back
    record the pairing of release 1.2.0
    ");
    assert_eq!(plan.title, "rollback 1.3.0 -> 1.2.0");
    assert_eq!(plan.compute_id().unwrap(), plan.id);
    let codes: Vec<&str> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["fingerprint-unknown"]);
}

#[test]
fn same_inputs_same_plan() {
    let catalog = catalog();
    let request = ask(Goal::Down(2), None, &catalog);
    assert_eq!(plan(&request, &seen()), plan(&request, &seen()));
    let mut other = seen();
    other.database.ledger.pop();
    assert_ne!(plan(&request, &seen()).unwrap().id, plan(&request, &other).unwrap().id);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let mut world = Seen {
        cluster: Some(shop_set(|set| {
            set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenScaled": "Delete" });
        })),
        ..seen()
    };
    world.database.archive[3].down_sha256 = None;
    world.database.archive[2].down_empty = true;
    let mut request = ask(Goal::Release("1.1.0".parse().unwrap()), Some(&app), &empty);
    request.accept_loss = false;
    world.database.archive[1].intact = false;
    let refusals = plan(&request, &world).unwrap_err();
    assert_eq!(
        refusals.codes(),
        [
            "data-loss",
            "down-missing",
            "down-empty",
            "archive-damaged",
            "claims-deleted"
        ]
    );
    // What cannot run destroys nothing.
    let told = refusals
        .refusing()
        .map(|finding| format!("[{}] {}", finding.code, finding.message));
    let told: Vec<String> = told.collect();
    assert_eq!(told[0].matches("2024").count(), 1, "{told:?}");
}

#[test]
fn a_down_that_cannot_be_trusted_is_refused() {
    let edit = |change: &dyn Fn(&mut Seen)| {
        let mut world = seen();
        change(&mut world);
        let empty = Catalog::default();
        let refusals = plan(&ask(Goal::Down(1), None, &empty), &world).unwrap_err();
        refusals.codes().join(" ")
    };
    assert_eq!(
        edit(&|world| world.database.archive[3].ledger_sequence = Some(99)),
        "stale-capture"
    );
    assert_eq!(
        edit(&|world| world.database.archive[3].up_sha256 = Digest::of("x")),
        "up-differs"
    );
    assert_eq!(edit(&|world| world.bodies.clear()), "archive-damaged");
    assert_eq!(edit(&|world| world.database.archive.truncate(3)), "down-unknown");
    assert_eq!(
        edit(&|world| {
            world.database.archive[3].capture = Capture::Staged;
            world.database.archive[3].up_sha256 = Digest::of("x");
        }),
        "down-unknown"
    );
    assert_eq!(
        edit(&|world| {
            let down = Digest::of(SHOP[3].3);
            world.bodies.insert(down, Ok(b"COMMIT; DROP TABLE payments".to_vec()));
        }),
        "script-unfit"
    );
    // Captured by an earlier version, which did not take it for empty.
    assert_eq!(
        edit(&|world| {
            let down = Digest::of(SHOP[3].3);
            world.bodies.insert(down, Ok(b"BEGIN; -- stub\nCOMMIT;".to_vec()));
        }),
        "down-empty"
    );
}

#[test]
fn an_edited_file_is_refused_even_though_the_archive_has_the_script() {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, name, up, _) in SHOP {
        files.push((format!("{number}_{name}.up.sql"), up.as_bytes().to_vec()));
        files.push((format!("{number}_{name}.down.sql"), b"SELECT 1".to_vec()));
    }
    let edited = Catalog::read(&files, Engine::Sqlite).unwrap();
    let refusals = plan(&ask(Goal::Down(1), None, &edited), &seen()).unwrap_err();
    assert_eq!(refusals.codes(), ["down-edited"]);
}

#[test]
fn d1_a_recorded_set_beats_the_newest_version() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let mut world = Seen {
        cluster: Some(shop_set(|_| {})),
        ..seen()
    };
    // 1.2.0 was recorded without 20240101090000? It was never applied then; it is outside the set now.
    world.database.releases.push(ReleaseRow {
        release: "1.2.0".parse().unwrap(),
        schema: [version("20240101090000"), version("20240115120000")]
            .into_iter()
            .collect(),
        recorded_at: String::new(),
    });
    let goal = Goal::Release("1.2.0".parse().unwrap());
    let made = plan(&ask(goal.clone(), Some(&app), &empty), &world).unwrap();
    assert_eq!(made.to.schema.0.len(), 2);
    world.database.releases[0].schema = [version("20240101090000")].into_iter().collect();
    let refusals = plan(&ask(goal, Some(&app), &empty), &world).unwrap_err();
    assert_eq!(refusals.codes(), ["pairing-differs"]);
}

#[test]
fn up_stops_at_each_release_to_record_it() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let catalog = catalog();
    let mut world = seen();
    world.database.ledger.truncate(1);
    let plan = plan(&ask(Goal::Up(None), Some(&app), &catalog), &world).unwrap();
    insta::assert_snapshot!(steps(&plan).join("\n"), @"
    apply 20240115120000_add_customer
    record the schema's fingerprint
    record the pairing of release 1.2.0
    apply 2 migrations, 20240220103000 to 20240301090000
    record the schema's fingerprint
    record the pairing of release 1.3.0
    ");
}

#[test]
fn nothing_to_do_is_a_plan_without_steps() {
    let catalog = catalog();
    let mut world = seen();
    let goal = Goal::Schema(Some(version("20240301090000")));
    assert!(plan(&ask(goal, None, &catalog), &world).unwrap().steps.is_empty());
    let up = ask(Goal::Up(None), None, &catalog);
    assert_eq!(
        steps(&plan(&up, &world).unwrap()),
        ["record the schema's fingerprint"],
        "an up that was interrupted is completed"
    );
    let schema = world.database.applied().digest();
    world.database.fingerprints.push((schema, world.fingerprint.digest()));
    assert!(plan(&up, &world).unwrap().steps.is_empty());
}

#[test]
fn an_applied_migration_whose_file_was_edited_stops_an_up() {
    let files = vec![(
        "20240101090000_create_orders.up.sql".to_owned(),
        b"CREATE TABLE other (id int)".to_vec(),
    )];
    let edited = Catalog::read(&files, Engine::Sqlite).unwrap();
    let refusals = plan(&ask(Goal::Up(None), None, &edited), &seen()).unwrap_err();
    assert_eq!(refusals.codes(), ["up-edited"]);
}

#[test]
fn what_the_run_may_not_do_refuses_beforehand() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let world = Seen {
        cluster: Some(shop_set(|_| {})),
        missing_rights: vec!["may not patch statefulsets.apps in namespace shop".to_owned()],
        ..seen()
    };
    let goal = Goal::Release("1.2.0".parse().unwrap());
    let refusals = plan(&ask(goal, Some(&app), &empty), &world).unwrap_err();
    assert_eq!(refusals.codes(), ["rights-missing"]);
}

#[test]
fn an_up_without_a_way_back_is_warned_of() {
    for down in [None, Some("-- later\n")] {
        let mut files = vec![(
            "20990101090000_new.up.sql".to_owned(),
            b"CREATE TABLE n (i int)".to_vec(),
        )];
        files.extend(down.map(|down| ("20990101090000_new.down.sql".to_owned(), down.as_bytes().to_vec())));
        let catalog = Catalog::read(&files, Engine::Sqlite).unwrap();
        let made = plan(&ask(Goal::Up(None), None, &catalog), &seen()).unwrap();
        let codes: Vec<&str> = made.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert!(codes.contains(&"no-way-back"), "{codes:?}");
    }
}
