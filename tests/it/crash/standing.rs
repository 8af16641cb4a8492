//! A pod turns unready between the look that found another one stopped and the controller's act: the controller leaves that
//! other one standing, and its gate does not hold.

use stepback_core::journal::HaltKind;

use super::*;

pub fn cases() -> Vec<Case> {
    vec![sync_case(
        "crash::a_pod_that_is_left_standing_is_pushed_again_by_a_resume",
        |_ctx| left_standing(Story::Rollback),
    )]
}

fn left_standing(story: Story) -> Outcome {
    let plan = story.plan();
    block_on(async {
        let mut halts = 0;
        for n in 1..=calls(story, &plan).await? {
            let what = format!("shop-0 turns unready at call {n}");
            let world = story.world().with(&[(n, Fault::TurnsUnready(0))]).share();
            let mut closed = false;
            // One halt for each pod above it at most.
            for _ in 0..3 {
                match coordinate(&Client::new(world.clone()), &plan).await {
                    Life::Ended(Ending::Closed(RunOutcome::Done)) => {
                        closed = true;
                        break;
                    }
                    Life::Ended(Ending::Halted(halt)) => {
                        assert_eq!(halt.kind, HaltKind::TimedOut, "{what}: {}", halt.message);
                        let typed = "it is to go: kubectl -n production delete pod shop-";
                        assert!(halt.message.contains(typed), "{what}: {}", halt.message);
                        halts += 1;
                    }
                    other => return fail(format_args!("{what}: {other:?}")),
                }
            }
            assert!(closed, "{what}: it was not resumed to its end");
            let mut world = world.lock();
            world.come_to_rest();
            assert_eq!(world.breaches, Vec::<String>::new(), "{what}");
            assert_eq!(story::tell(&world), story.expected(), "{what}");
        }
        assert!(halts > 0, "no pod was left standing");
        Ok(())
    })
}
