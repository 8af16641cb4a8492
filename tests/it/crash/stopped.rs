//! Somebody starts a stopped workload again while its scripts have not run yet: an autoscaler, GitOps, a colleague.

use stepback_core::journal::HaltKind;

use super::*;

pub fn cases() -> Vec<Case> {
    [Story::Rollback, Story::Single, Story::Broken]
        .map(|story| {
            let name = format!("crash::{}_no_script_runs_under_pods_that_came_back", story.name());
            sync_case(name, move |_ctx| started_between(story))
        })
        .into()
}

/// The run halts before a script and says what to type; once it is typed, the run is resumed to its end.
fn started_between(story: Story) -> Outcome {
    let plan = story.plan();
    let revert = plan.steps.iter().find(|step| step.action.changes_schema());
    let revert = revert.expect("the story has downs").id;
    block_on(async {
        let mut halts = 0;
        for n in 1..=calls(story, &plan).await? {
            // In the run that stopped it, and between that run's death and the resume.
            let one = vec![(n, Fault::Started(1))];
            let died = vec![(n, Fault::CrashBefore), (n + 1, Fault::Started(1))];
            for faults in [one, died] {
                let what = format!("{faults:?}");
                let world = story.world().with(&faults).share();
                let mut closed = false;
                for _ in 0..6 {
                    let life = coordinate(&Client::new(world.clone()), &plan).await;
                    if let Some(breach) = world.lock().breaches.first() {
                        return fail(format_args!("{what}: {breach}"));
                    }
                    match life {
                        Life::Ended(Ending::Closed(RunOutcome::Done)) => {
                            closed = true;
                            break;
                        }
                        Life::Ended(Ending::Halted(halt))
                            if halt.step == Some(revert) && halt.message.contains("is not stopped any more") =>
                        {
                            assert_eq!(halt.kind, HaltKind::Foreign, "{what}");
                            let typed = "kubectl -n production scale statefulset shop --replicas 0";
                            assert!(halt.message.contains(typed), "{what}: {}", halt.message);
                            halts += 1;
                        }
                        Life::Died => continue,
                        // Before the last pod's end was seen, or after the downs: a gate that never holds, or a count
                        // that the next step does not know.
                        Life::Ended(Ending::Halted(_)) => {}
                        other => return fail(format_args!("{what}: {other:?}")),
                    }
                    let mut world = world.lock();
                    world.set.scale_by_another(0);
                    while world.set.step() {}
                }
                assert!(closed, "{what}: it was not resumed to its end");
                let mut world = world.lock();
                world.come_to_rest();
                let (found, expected) = (story::tell(&world), story.expected());
                assert_eq!(found.scripts, expected.scripts, "{what}");
                assert_eq!(found.pods, expected.pods, "{what}");
                assert_eq!(found.run, expected.run, "{what}");
            }
        }
        assert!(halts > 0, "nobody halted");
        Ok(())
    })
}
