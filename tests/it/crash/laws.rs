//! The executor's laws by name, where it takes a world to break them (ARCHITECTURE, "The executor"). The rest of the
//! suite watches them too: a breach is noted wherever it happens.

use stepback_core::journal::What;

use super::*;

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("crash::law1_intent_before_effect", |_ctx| law1()),
        sync_case("crash::law5_never_edit_history", |_ctx| law5()),
    ]
}

/// Where the intent was not written, nothing has happened.
fn law1() -> Outcome {
    let (story, plan) = (Story::Single, Story::Single.plan());
    block_on(async {
        for n in 1..=calls(story, &plan).await? {
            for fault in [Fault::CrashBefore, Fault::Tear(500), Fault::ErrorBefore] {
                let world = story.world().with(&[(n, fault), (n + 1, Fault::CrashBefore)]).share();
                coordinate(&Client::new(world.clone()), &plan).await;
                let world = world.lock();
                let started = world
                    .entries
                    .iter()
                    .any(|entry| matches!(entry.what, What::StepStarted { .. }));
                let touched = world.set.replicas != 1 || !world.database.history.is_empty();
                assert!(started || !touched, "{fault:?} at call {n}");
                assert_eq!(world.breaches, Vec::<String>::new(), "{fault:?} at call {n}");
            }
        }
        Ok(())
    })
}

/// What a process has written stays as it is, whatever becomes of it and whoever goes on.
fn law5() -> Outcome {
    let (story, plan) = (Story::Single, Story::Single.plan());
    block_on(async {
        for n in 1..=calls(story, &plan).await? {
            for fault in [
                Fault::CrashBefore,
                Fault::CrashAfter,
                Fault::Tear(500),
                Fault::ErrorAfter,
            ] {
                let world = story.world().with(&[(n, fault), (n + 2, Fault::CrashBefore)]).share();
                coordinate(&Client::new(world.clone()), &plan).await;
                let before = world.lock().clone();
                let (after, _) = live(story, &plan, before.clone(), &format!("{fault:?} at call {n}")).await?;
                assert_eq!(
                    after.entries[..before.entries.len()],
                    before.entries,
                    "{fault:?} at call {n}"
                );
                let whole = before
                    .entries
                    .iter()
                    .map(|entry| entry.to_line() + "\n")
                    .collect::<String>();
                assert!(after.journal.starts_with(whole.as_bytes()), "{fault:?} at call {n}");
            }
        }
        Ok(())
    })
}
