use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{
    DatabaseIdentity, DatabaseRef, Direction, Engine, JournalPlace, LedgerRef, MigrationId, PlanId, ScriptRef, StepId,
    Target, UrlSource,
};
use crate::plan::{Action, FORMAT, Gate, RunLimits, Step};

const DOWN: &str = "DROP TABLE payments; -- \"ä\"\n";

fn saved() -> SavedPlan {
    let version = Version::parse("2").expect("a version");
    let mut plan = Plan {
        format: FORMAT,
        id: PlanId(Digest::of("")),
        title: "rollback 2.0.0 -> 1.0.0".into(),
        app: None,
        from: Target {
            release: None,
            schema: std::iter::once(version.clone()).collect(),
        },
        to: Target {
            release: None,
            schema: std::iter::empty().collect(),
        },
        strategy: None,
        database: DatabaseRef {
            engine: Engine::Sqlite,
            source: UrlSource::Env("DATABASE_URL".into()),
            redacted: "sqlite:///shop.db".into(),
            state_schema: "stepback".into(),
            ledger: LedgerRef::default(),
            identity: DatabaseIdentity::default(),
        },
        cluster: None,
        journal: JournalPlace::Database,
        world: BTreeMap::new(),
        steps: vec![Step {
            id: StepId(1),
            action: Action::Revert {
                scripts: vec![ScriptRef {
                    migration: MigrationId {
                        version,
                        name: "payments".into(),
                    },
                    direction: Direction::Down,
                    sha256: Digest::of(DOWN),
                    up_sha256: Digest::of("up"),
                }],
                accept_loss: true,
            },
            gate: Gate::None,
            limit_ms: 1,
        }],
        findings: Vec::new(),
        unready: vec![],
        outdated: BTreeMap::new(),
        rewritten: BTreeMap::new(),
        turns_back: false,
        limits: RunLimits::default(),
    };
    plan.id = plan.compute_id().expect("a plan can be written");
    let catalog = Catalog::of(
        vec![Migration {
            version: Version::parse("2").expect("a version"),
            name: "payments".into(),
            up: Script::new("2_payments.up.sql", "CREATE TABLE payments (id integer);"),
            down: Some(Script::new("2_payments.down.sql", DOWN)),
        }],
        Layout::Sqlx,
    );
    let app = AppFile::parse(
        "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: shop }\nspec:\n  database: { url: { env: \
         DATABASE_URL } }\n  workloads: [{ kind: StatefulSet, name: shop }]\n  releases: [{ version: 1.0.0, schema: \
         \"2\", images: { shop: shop:1 }, engine: { mysql: \">=8\" } }]\n  probes: [{ sql: SELECT 1 }]\n",
        "stepback.yaml",
    )
    .expect("an app file");
    let request = Request {
        goal: Goal::Release("1.0.0".parse().expect("a release")),
        app: Some(&app),
        catalog: &catalog,
        accept_loss: true,
        accepted: Accepted::default(),
        dead: BTreeSet::new(),
        order: Some(Order::Version),
        journal: None,
    };
    let bodies = BTreeMap::from([(Digest::of(DOWN), DOWN.to_owned())]);
    let origin = Origin {
        by: "ada@laptop".into(),
        program: "stepback 0.1.0".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    SavedPlan::gather(&request, plan, &bodies, Some("production"), origin).expect("every body is there")
}

#[test]
fn what_was_saved_is_read_whole() {
    let saved = saved();
    let text = saved.to_text().unwrap();
    let read = SavedPlan::read(text.as_bytes()).unwrap();
    assert_eq!(read.to_text().unwrap(), text);
    assert_eq!(read.plan, saved.plan);
    let catalog = read.catalog().unwrap();
    assert_eq!(catalog.layout(), Layout::Sqlx);
    assert_eq!(catalog.migrations()[0].down.as_ref().unwrap().text(), DOWN);
    let request = read.request(&catalog);
    assert_eq!((request.accept_loss, request.order), (true, Some(Order::Version)));
    let app = request.app.unwrap();
    assert_eq!(app.workloads[0].namespace.as_deref(), Some("production"));
    assert_eq!(app.releases[0].engine.len(), 1);
}

#[test]
fn w8_no_byte_can_be_changed_or_lost() {
    let text = saved().to_text().unwrap();
    for at in 0..text.len() {
        let torn = SavedPlan::read(&text.as_bytes()[..at]);
        // The line feed at the end is the only byte that JSON does not miss, and the digest does.
        assert!(torn.is_err(), "cut at {at}");
        let mut edited = text.clone().into_bytes();
        edited[at] = if edited[at] == b'1' { b'2' } else { b'1' };
        assert!(SavedPlan::read(&edited).is_err(), "changed at {at}");
    }
    let other = text.replace("DROP TABLE payments", "DROP TABLE customers");
    assert_eq!(SavedPlan::read(other.as_bytes()), Err(SavedPlanError::Edited));
    let spaced = format!(" {text}");
    assert_eq!(SavedPlan::read(spaced.as_bytes()), Err(SavedPlanError::Edited));
}

/// The digest is no signature: a careful editor can renew it, and then names and contents must still agree.
#[test]
fn w8_a_renewed_digest_does_not_make_another_body_the_script() {
    let mut forged = saved();
    forged.scripts.insert(Digest::of(DOWN), "DROP TABLE customers;".into());
    let read = SavedPlan::read(forged.to_text().unwrap().as_bytes());
    assert!(matches!(read, Err(SavedPlanError::Unfit { .. })), "{read:?}");
    let mut forged = saved();
    forged.plan.steps.clear();
    let read = SavedPlan::read(forged.to_text().unwrap().as_bytes());
    assert!(matches!(read, Err(SavedPlanError::Unfit { .. })), "{read:?}");
    let mut forged = saved();
    forged.scripts.clear();
    let read = SavedPlan::read(forged.to_text().unwrap().as_bytes());
    assert!(matches!(read, Err(SavedPlanError::NoBody { .. })), "{read:?}");
}

#[test]
fn a_newer_format_and_other_files_are_told_apart() {
    let text = saved().to_text().unwrap();
    let newer = text.replace("\"format\": 1,\n  \"digest\"", "\"format\": 2,\n  \"digest\"");
    assert_eq!(
        SavedPlan::read(newer.as_bytes()),
        Err(SavedPlanError::Newer {
            found: 2,
            known: 1,
            program: "stepback 0.1.0".into()
        })
    );
    for (text, said) in [
        ("{\"kind\": \"Plan\"}", "-o json"),
        ("{\"kind\": \"Report\"}", "kind Report"),
        ("{}", "some other JSON"),
        ("apiVersion: stepback.dev/v1", "not whole"),
        ("", "not whole"),
    ] {
        let error = SavedPlan::read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_script_without_a_body_is_not_saved() {
    let whole = saved();
    let catalog = Catalog::default();
    let request = whole.request(&catalog);
    let gathered = SavedPlan::gather(
        &request,
        whole.plan.clone(),
        &BTreeMap::new(),
        None,
        whole.origin.clone(),
    );
    assert_eq!(
        gathered,
        Err(SavedPlanError::NoBody {
            script: "2_payments".into()
        })
    );
}
