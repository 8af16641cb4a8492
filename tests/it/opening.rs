//! The road of a run up to its opening, in this process: what its coordinator does when it is asked to stop.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stepback::{
    database::{ConnectOptions, Database, LeaseRequest, LedgerChoice, connect},
    journal::Places,
    run::{Coordinator, Event, RoadError, stop},
};
use stepback_core::{
    catalog::Catalog,
    journal::By,
    model::{Engine, UrlSource},
    plan::{Accepted, Goal, Request, plan},
};
use tokio::time::{Instant, timeout};

use crate::support::runner::{Case, Ctx, Outcome, case};

pub fn cases() -> Vec<Case> {
    vec![
        case("opening::a_stop_while_another_holds_the_lease_opens_nothing", |ctx| {
            stopped(ctx, true)
        }),
        case("opening::a_stop_before_anything_opens_nothing", |ctx| {
            stopped(ctx, false)
        }),
    ]
}

fn open(path: &std::path::Path) -> Arc<dyn Database> {
    let options = ConnectOptions {
        source: UrlSource::Env("DATABASE_URL".to_owned()),
        state_schema: "stepback".to_owned(),
        ledger: LedgerChoice::Auto,
        lock_wait: Duration::from_secs(2),
        statement: Duration::from_secs(60),
        step: Duration::from_secs(60),
        create: true,
        by: "tester@host (process 1)".to_owned(),
    };
    Arc::from(connect(&format!("sqlite://{}", path.display()), options).unwrap())
}

async fn stopped(ctx: Ctx, is_held: bool) -> Outcome {
    let path = ctx.dir().join("shop.db");
    let rival = open(&path);
    rival.prepare().await?;
    let request = LeaseRequest {
        holder: "rival".to_owned(),
        life: Duration::from_secs(60),
        wait: Duration::ZERO,
        above: 0,
    };
    rival.acquire(&request).await?;
    if !is_held {
        rival.release().await?;
    }

    let database = open(&path);
    let coordinator = Coordinator {
        database: Arc::clone(&database),
        cluster: None,
        journals: Arc::new(Places {
            database,
            cluster: None,
        }),
        by: By {
            user: "tester".to_owned(),
            host: "here".to_owned(),
            process: 1,
            program: "0".to_owned(),
        },
    };
    let files = [
        ("1_a.up.sql".to_owned(), b"CREATE TABLE a (id int);".to_vec()),
        ("1_a.down.sql".to_owned(), b"DROP TABLE a;".to_vec()),
    ];
    let catalog = Catalog::read(&files, Engine::Sqlite).unwrap();
    let request = Request {
        goal: Goal::Up(None),
        app: None,
        catalog: &catalog,
        accept_loss: false,
        accepted: Accepted::default(),
        dead: BTreeSet::new(),
        order: None,
        journal: None,
    };
    let planned = plan(&request, &coordinator.look(&[]).await?).unwrap();
    let (stopper, stop) = stop();
    if !is_held {
        stopper.ask();
    }
    let mut listener = |event: Event| {
        if matches!(event, Event::Held { .. }) {
            stopper.ask();
        }
    };
    let began = Instant::now();
    let started = coordinator.start(&request, &planned, &[], stop, &mut listener);
    // The limit of the wait for a lease is 30 s.
    let started = timeout(Duration::from_secs(20), started).await?;
    assert!(matches!(started, Err(RoadError::Stopped)), "{started:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let seen = coordinator.look(&[]).await?.database;
    assert_eq!(seen.open_run, None, "a run was opened");
    assert_eq!(coordinator.database.runs().await?, [], "a run was left");
    assert!(seen.ledger.is_empty());
    // Whoever comes next is not kept waiting by one that has stopped.
    assert_eq!(seen.lease.map(|lease| lease.is_alive()), Some(is_held));
    Ok(())
}
