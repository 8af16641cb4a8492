//! Crash-resume, tested at every call through a seam, against worlds written by hand (ARCHITECTURE, "The executor").

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use stepback::run::Ending;
use stepback_core::{
    journal::{Outcome as RunOutcome, RunState},
    model::{
        DatabaseIdentity, DatabaseRef, Digest, Direction, Engine, JournalPlace, LedgerRef, LedgerRow, MigrationId,
        MigrationSet, Pairing, PlanId, Removal, RunId, RunStatus, ScriptRef, Stamp, StepId, Target, TemplateRef, Token,
        UpdateStrategy, UrlSource, Version, annotation,
    },
    plan::{Action, FORMAT, Gate, Plan, RunLimits, Step},
};

use crate::support::{
    runner::{Case, NotPassed, Outcome, fail, sync_case},
    world::{
        Client, Database, Fault, Laws, Life, LostSession, Set, World, coordinate, live_until_closed, objects, set,
    },
};

mod away;
mod laws;
mod standing;
mod stopped;
mod story;

use story::Story;

/// Thousands of runs, which do nothing but compute: a minute on a machine that is free, some on a busy one.
const EVERY_PAIR: Duration = Duration::from_secs(400);

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for story in Story::ALL {
        let name = story.name();
        cases.extend([
            sync_case(format!("crash::{name}_undisturbed"), move |_ctx| undisturbed(story)),
            sync_case(format!("crash::{name}_killed_at_every_call"), move |_ctx| killed(story)),
            sync_case(format!("crash::{name}_every_lost_or_late_reply"), move |_ctx| {
                replies(story)
            })
            .limit(EVERY_PAIR),
            sync_case(format!("crash::{name}_everything_done_twice"), move |_ctx| twice(story)),
            sync_case(format!("crash::{name}_a_sleeper_wakes_up_fenced"), move |_ctx| {
                sleeper(story)
            }),
        ]);
    }
    for story in Story::ALL {
        let name = story.name();
        let pairs = sync_case(format!("crash::{name}_killed_at_every_pair_of_calls"), move |_ctx| {
            pairs(story)
        });
        cases.push(pairs.limit(EVERY_PAIR));
    }
    cases.extend([
        sync_case("crash::d5_a_lost_session_that_is_not_seen_gone_is_noticed", |_ctx| d5()),
        sync_case("crash::w6_a_write_without_its_version_is_noticed", |_ctx| {
            w6(|laws| laws.precondition = false)
        }),
        sync_case("crash::w6_a_write_without_a_look_at_the_lease_is_noticed", |_ctx| {
            w6(|laws| laws.lease_seen = false)
        }),
        sync_case("crash::d4_a_token_that_is_not_checked_is_noticed", |_ctx| d4()),
    ]);
    cases.extend(away::cases());
    cases.extend(laws::cases());
    cases.extend(standing::cases());
    cases.extend(stopped::cases());
    cases
}

/// A runtime whose clock jumps to the next timer when nothing else is left to do.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    runtime.block_on(future)
}

/// Carries the story out with these faults and compares with the world written by hand.
async fn live(story: Story, plan: &Plan, world: World, what: &str) -> Result<(World, u32), NotPassed> {
    let (world, lives) = match live_until_closed(world, plan).await {
        Ok(ended) => ended,
        Err(why) => return fail(format_args!("{what}: {why}")),
    };
    if let Some(breach) = world.breaches.first() {
        return fail(format_args!("{what}: {breach}"));
    }
    let (found, expected) = (story::tell(&world), story.expected());
    if found != expected {
        return fail(format_args!(
            "{what}: the world is {found:#?}\nand should be {expected:#?}"
        ));
    }
    Ok((world, lives))
}

/// How many calls an undisturbed run makes.
async fn calls(story: Story, plan: &Plan) -> Result<u32, NotPassed> {
    Ok(live(story, plan, story.world(), "undisturbed").await?.0.calls)
}

fn undisturbed(story: Story) -> Outcome {
    let plan = story.plan();
    let (world, lives) = block_on(live(story, &plan, story.world(), "undisturbed"))?;
    assert_eq!(lives, 1);
    assert_eq!(world.entries.len(), story.entries());
    for length in 1..=world.entries.len() {
        RunState::replay(&world.entries[..length], plan.steps.len())?;
    }
    Ok(())
}

const DEATHS: [Fault; 5] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Tear(10),
    Fault::Tear(500),
    Fault::Tear(1000),
];

fn killed(story: Story) -> Outcome {
    let plan = story.plan();
    block_on(async {
        for n in 1..=calls(story, &plan).await? {
            for fault in DEATHS {
                let world = story.world().with(&[(n, fault)]);
                let (_, lives) = live(story, &plan, world, &format!("{fault:?} at call {n}")).await?;
                assert_eq!(lives, 2, "{fault:?} at call {n}");
            }
        }
        Ok(())
    })
}

fn replies(story: Story) -> Outcome {
    let plan = story.plan();
    let faults = [
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::Later(1),
        Fault::Later(4),
        Fault::Later(30),
    ];
    block_on(async {
        for n in 1..=calls(story, &plan).await? {
            for fault in faults {
                // Alone, and followed by a death soon after.
                for death in [None, Some(2)] {
                    let mut faults = vec![(n, fault)];
                    faults.extend(death.map(|after| (n + after, Fault::CrashBefore)));
                    let mut world = story.world().with(&faults);
                    if n % 2 == 0 {
                        world.lost_session = LostSession::IsKilled;
                    }
                    live(story, &plan, world, &format!("{faults:?}")).await?;
                }
            }
        }
        Ok(())
    })
}

fn pairs(story: Story) -> Outcome {
    let plan = story.plan();
    block_on(async {
        for n in 1..=calls(story, &plan).await? + 1 {
            // The world that is left by the first death, from which every second one is tried. Dying before call n + 1
            // is dying after call n.
            let left = story.world().with(&[(n, Fault::CrashBefore)]).share();
            if coordinate(&Client::new(left.clone()), &plan).await != Life::Died {
                continue;
            }
            let left = left.lock().clone();
            let resumed = live(story, &plan, left.clone(), "resumed").await?.0.calls;
            for m in 1..=resumed - left.calls {
                if (n + m) % story.stride() != 0 {
                    continue;
                }
                let what = format!("dead before call {n}, and again before call {m} after it");
                let (_, lives) = live(story, &plan, left.with(&[(m, Fault::CrashBefore)]), &what).await?;
                assert_eq!(lives, 2, "{what}");
            }
        }
        Ok(())
    })
}

fn twice(story: Story) -> Outcome {
    let plan = story.plan();
    let mut world = story.world();
    world.twice = true;
    block_on(live(story, &plan, world, "everything twice"))?;
    Ok(())
}

/// One coordinator is stopped at call `n`, another finishes the run, the first is woken: it changes nothing.
async fn wake(plan: &Plan, start: World, n: u32, fault: Fault) -> Result<(World, World, Life), NotPassed> {
    let world = start.with(&[(n, fault)]).share();
    let client = Client::new(world.clone());
    let mut first = std::pin::pin!(coordinate(&client, plan));
    tokio::select! {
        biased;
        () = client.asleep.notified() => {}
        life = &mut first => return fail(format_args!("it did not fall asleep at call {n}: {life:?}")),
    }
    let second = coordinate(&Client::new(world.clone()), plan).await;
    if second != Life::Ended(Ending::Closed(RunOutcome::Done)) {
        return fail(format_args!("the second one, {fault:?} at call {n}: {second:?}"));
    }
    let before = {
        let mut world = world.lock();
        while world.set.step() {}
        world.clone()
    };
    client.wake.notify_one();
    let life = first.await;
    let after = {
        let mut world = world.lock();
        world.come_to_rest();
        world.clone()
    };
    Ok((before, after, life))
}

fn sleeper(story: Story) -> Outcome {
    let plan = story.plan();
    block_on(async {
        for n in 1..=calls(story, &plan).await? {
            for fault in [Fault::SleepBefore, Fault::SleepAfter] {
                let what = format!("{fault:?} at call {n}");
                let (before, after, life) = wake(&plan, story.world(), n, fault).await?;
                if let Some(breach) = after.breaches.first() {
                    return fail(format_args!("{what}: {breach}"));
                }
                assert_eq!(story::tell(&after), story.expected(), "{what}");
                assert_eq!(after.set, before.set, "{what}: a workload was written");
                assert_eq!(after.journal, before.journal, "{what}: the journal was written");
                let is_first_entry = |token| before.entries.first().is_some_and(|entry| entry.token == token);
                let first = after
                    .entries
                    .first()
                    .map(|entry| entry.token)
                    .filter(|token| is_first_entry(*token));
                // It is fenced, unless it slept before it began or after it had finished.
                let fits = match &life {
                    Life::Ended(Ending::Fenced) | Life::Error(_) => true,
                    Life::Ended(Ending::Closed(_)) => {
                        n <= 2 || after.entries.iter().all(|entry| Some(entry.token) == first)
                    }
                    _ => false,
                };
                assert!(fits, "{what}: {life:?}");
            }
        }
        Ok(())
    })
}

/// Whether any of these worlds ends wrong or is noticed.
async fn is_noticed(story: Story, plan: &Plan, worlds: impl IntoIterator<Item = World>) -> bool {
    for world in worlds {
        if live(story, plan, world, "without the law").await.is_err() {
            return true;
        }
    }
    false
}

fn d5() -> Outcome {
    let (story, plan) = (Story::Down, Story::Down.plan());
    block_on(async {
        let calls = calls(story, &plan).await?;
        let worlds = |seen_gone: bool| {
            (1..=calls)
                .flat_map(move |n| [3, 9, 20].map(|later| (n, later)))
                .map(move |(n, later)| {
                    let mut world = story
                        .world()
                        .with(&[(n, Fault::Later(later)), (n + 1, Fault::CrashBefore)]);
                    world.laws.session_seen_gone = seen_gone;
                    world
                })
        };
        assert!(!is_noticed(story, &plan, worlds(true)).await);
        assert!(
            is_noticed(story, &plan, worlds(false)).await,
            "nobody noticed a script that ran late"
        );
        Ok(())
    })
}

fn w6(without: fn(&mut Laws)) -> Outcome {
    let (story, plan) = (Story::Rollback, Story::Rollback.plan());
    block_on(async {
        let mut noticed = 0;
        let mut start = story.world();
        without(&mut start.laws);
        let calls = live(story, &plan, start.clone(), "undisturbed").await?.0.calls;
        for n in 1..=calls {
            let world = start.clone();
            let (before, after, _) = wake(&plan, world, n, Fault::SleepBefore).await?;
            noticed += u32::from(before.set != after.set);
        }
        assert!(noticed > 0, "nobody noticed a sleeper's write");
        Ok(())
    })
}

fn d4() -> Outcome {
    let (story, plan) = (Story::Up, Story::Up.plan());
    block_on(async {
        let mut noticed = 0;
        for n in 1..=calls(story, &plan).await? {
            let mut world = story.world();
            world.laws.token = false;
            let (before, after, _) = wake(&plan, world, n, Fault::SleepBefore).await?;
            noticed += u32::from(
                before.database.run != after.database.run || before.database.history != after.database.history,
            );
        }
        assert!(noticed > 0, "nobody noticed a sleeper's transaction");
        Ok(())
    })
}
