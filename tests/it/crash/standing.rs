//! A pod turns unready after another one's step was seen done, and before the controller acts: the controller leaves that
//! other one standing. The gate sees it, and it is removed.

use super::*;

pub fn cases() -> Vec<Case> {
    vec![sync_case(
        "crash::a_pod_that_is_left_standing_is_removed_wherever_it_turns_unready",
        |_ctx| left_standing(Story::Rollback),
    )]
}

fn left_standing(story: Story) -> Outcome {
    let plan = story.plan();
    block_on(async {
        let mut removed = 0;
        for n in 1..=calls(story, &plan).await? {
            let what = format!("shop-0 turns unready at call {n}");
            let world = story.world().with(&[(n, Fault::TurnsUnready(0))]).share();
            match coordinate(&Client::new(world.clone()), &plan).await {
                Life::Ended(Ending::Closed(RunOutcome::Done)) => {}
                other => return fail(format_args!("{what}: {other:?}")),
            }
            let mut world = world.lock();
            world.come_to_rest();
            removed += world.removals;
            assert_eq!(world.breaches, Vec::<String>::new(), "{what}");
            assert_eq!(story::tell(&world), story.expected(), "{what}");
        }
        assert!(removed > 0, "no pod was left standing");
        Ok(())
    })
}
