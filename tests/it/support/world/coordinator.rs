//! A coordinator's life: take the lease, read the journal, say that we act, carry on. The same road for a fresh run
//! and for a resume.

use std::{pin::pin, time::Duration};

use stepback::{
    cluster::{Cluster, ClusterError},
    database::{Database, LeaseRequest},
    journal::{Journal, JournalError, Stored},
    run::{Ending, Event, Execution, Unpaired, World as Seams, append, execute},
};
use stepback_core::{
    journal::{By, Entry, FORMAT, Outcome, RunState, StepState, What},
    model::{JournalPlace, RunId, RunRow, RunStatus, Stamp, StepId, Token},
    plan::{Action, Plan},
};

use super::{Client, Shared, World};

/// How a coordinator's life ended.
#[derive(Debug, PartialEq)]
pub enum Life {
    Ended(Ending),
    /// It gave up with an error, and can be started again.
    Error(String),
    Died,
}

fn run_id() -> RunId {
    RunId("01J8".into())
}

fn by() -> By {
    By {
        user: "anna".into(),
        host: "laptop".into(),
        process: 1,
        program: "0.1.0".into(),
    }
}

/// One process from its start to its end; dropped where a fault kills it.
pub async fn coordinate(client: &Client, plan: &Plan) -> Life {
    let mut heard = Vec::new();
    let life = {
        let mut work = pin!(carry_on(client, plan, &mut heard));
        tokio::select! {
            biased;
            () = client.died.notified() => Life::Died,
            ended = &mut work => ended.map_or_else(Life::Error, Life::Ended),
        }
    };
    compare_heard(&client.world, &heard, &life);
    life
}

/// What was heard live is what the journal has of this process; a process that died may have one entry more there.
fn compare_heard(world: &Shared, heard: &[Entry], life: &Life) {
    let Some(first) = heard.first() else { return };
    let mut world = world.lock();
    let token = first.token;
    let written: Vec<Entry> = world
        .entries
        .iter()
        .filter(|entry| entry.token == token)
        .cloned()
        .collect();
    let unheard = written.len().checked_sub(heard.len());
    let fits = match life {
        // One that gave up did so because it could not learn whether its last entry was taken.
        Life::Died | Life::Error(_) => unheard.is_some_and(|unheard| unheard <= 1),
        Life::Ended(_) => unheard == Some(0),
    };
    if !fits || written[..heard.len()] != *heard {
        world.breaches.push(format!(
            "{} entries were heard, {} are written",
            heard.len(),
            written.len()
        ));
    }
}

type Step<T> = Result<T, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub async fn carry_on(client: &Client, plan: &Plan, heard: &mut Vec<Entry>) -> Step<Ending> {
    let run = run_id();
    let above = highest_token(&read(client, &run).await?);
    let request = LeaseRequest {
        holder: "anna".into(),
        life: Duration::from_secs(15),
        wait: Duration::from_secs(30),
        above,
    };
    let token = Database::acquire(client, &request).await.map_err(text)?;
    // Again: another may have written between our look and our lease.
    let stored = read(client, &run).await?;
    if highest_token(&stored) >= token.number {
        return Err("the journal knows a higher token than the lease".into());
    }
    let entries = stored.map(|stored| stored.entries).unwrap_or_default();
    let state = RunState::replay(&entries, plan.steps.len()).map_err(text)?;
    if let Some(state) = state.as_ref().filter(|state| state.is_over()) {
        let outcome = state.closed.ok_or("it was handed over")?;
        write_run(client, plan, token, RunStatus::Closed).await?;
        Database::release(client).await.map_err(text)?;
        return Ok(Ending::Closed(outcome));
    }
    let wait = Duration::from_secs(30);
    if plan.has_workload_steps() {
        Cluster::acquire(client, "production", "stepback-shop", "anna", token, wait, wait)
            .await
            .map_err(text)?;
    }
    let state = match state {
        None => open(client, plan, &run, token, heard).await?,
        Some(mut state) => {
            stamp_workloads(client, plan, &state, token).await?;
            let resumed = What::RunResumed {
                by: by(),
                rebound: None,
                dead: Vec::new(),
            };
            heard.push(append(client, &mut state, token, resumed).await.map_err(text)?);
            write_run(client, plan, token, RunStatus::Open).await?;
            state
        }
    };
    let execution = Execution {
        plan,
        state,
        token,
        journal: client,
        world: Seams {
            database: client,
            cluster: Some(client),
            unpaired: Unpaired::default(),
        },
        stop: client.stop.clone(),
    };
    let mut listener = |event: Event| match event {
        Event::Entry(entry) => heard.push(entry),
        Event::Retrying { reason, .. } => client.retrying.lock().expect("never held over a panic").push(reason),
        _ => {}
    };
    let ending = execute(execution, &mut listener).await.map_err(text)?;
    let status = match &ending {
        Ending::Closed(_) => RunStatus::Closed,
        Ending::Halted(_) => RunStatus::Halted,
        Ending::Fenced => return Ok(ending),
    };
    write_run(client, plan, token, status).await?;
    if plan.has_workload_steps() {
        Cluster::release(client).await.map_err(text)?;
    }
    Database::release(client).await.map_err(text)?;
    Ok(ending)
}

async fn read(client: &Client, run: &RunId) -> Step<Option<Stored>> {
    match client.read(run).await {
        Ok(stored) => Ok(Some(stored)),
        Err(JournalError::NotFound(_)) => Ok(None),
        Err(error) => Err(text(error)),
    }
}

fn highest_token(stored: &Option<Stored>) -> u64 {
    let entries = stored.iter().flat_map(|stored| &stored.entries);
    entries.map(|entry| entry.token.number).max().unwrap_or(0)
}

/// Plan; row `opening`; `RunOpened`; row `open`.
async fn open(client: &Client, plan: &Plan, run: &RunId, token: Token, heard: &mut Vec<Entry>) -> Step<RunState> {
    client.create(run, plan, token).await.map_err(text)?;
    write_run(client, plan, token, RunStatus::Opening).await?;
    let entry = Entry {
        format: FORMAT,
        sequence: 1,
        at: jiff::Timestamp::now(),
        token,
        previous: String::new(),
        what: What::RunOpened {
            run: run.clone(),
            plan: plan.id,
            by: by(),
            aborts: None,
        },
    };
    client.append(run, &entry).await.map_err(text)?;
    let state = RunState::open(&entry, plan.steps.len()).map_err(text)?;
    heard.push(entry);
    write_run(client, plan, token, RunStatus::Open).await?;
    Ok(state)
}

async fn write_run(client: &Client, plan: &Plan, token: Token, status: RunStatus) -> Step<()> {
    let row = RunRow {
        ledger: String::new(),
        run: run_id(),
        plan: plan.id,
        app: None,
        journal: JournalPlace::Database,
        status,
        title: plan.title.clone(),
        closes_itself: !plan.has_workload_steps(),
        token,
    };
    client.write_run(token, &row).await.map_err(text)
}

/// A takeover's first write to every workload in flight (LAWS W6). One that was given back is in flight no more: a
/// stamp on it would stay.
async fn stamp_workloads(client: &Client, plan: &Plan, state: &RunState, token: Token) -> Step<()> {
    for step in &plan.steps {
        let Action::GiveBack { workload, uid } = &step.action else {
            continue;
        };
        if matches!(state.step(step.id), Some(StepState::Applied | StepState::Passed)) {
            continue;
        }
        let stamp = Stamp {
            run: run_id(),
            step: state.current().unwrap_or(StepId(0)),
            token,
        };
        // The controller writes too: a conflict is no rival, a higher token is.
        for tries in 1.. {
            let seen = Cluster::look(client, std::slice::from_ref(workload))
                .await
                .map_err(text)?;
            let stamped = client.stamp(workload, uid, &stamp, "resumed").await;
            // A removal of the step may be in flight.
            let removed = plan
                .step(stamp.step)
                .and_then(|step| step.action.removes(&seen.workloads[0]));
            let stamped = match (stamped, removed) {
                (Ok(()), Some((pod, removal))) => client.stamp_pod(workload, uid, &pod, &removal, &stamp).await,
                (stamped, _) => stamped,
            };
            match stamped {
                Ok(()) => break,
                Err(ClusterError::Conflict { .. }) if tries < 5 => {}
                Err(error) => return Err(text(error)),
            }
        }
    }
    Ok(())
}

/// Starts one coordinator after the other until the run is closed; hands back the world at rest, and how many it took.
pub async fn live_until_closed(world: World, plan: &Plan) -> Result<(World, u32), String> {
    let world = world.share();
    for lives in 1..=12 {
        let life = coordinate(&Client::new(world.clone()), plan).await;
        RunState::replay(&world.lock().entries, plan.steps.len()).map_err(text)?;
        match life {
            Life::Ended(Ending::Closed(Outcome::Done)) => {
                let mut world = world.lock();
                world.come_to_rest();
                return Ok((world.clone(), lives));
            }
            Life::Ended(Ending::Closed(_) | Ending::Fenced) => return Err(format!("life {lives} ended {life:?}")),
            Life::Ended(Ending::Halted(_)) | Life::Error(_) | Life::Died => {}
        }
    }
    Err("12 coordinators did not finish it".into())
}
