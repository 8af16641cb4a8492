//! The journal is away for a while: an API server that is replaced, a network that drops packets. The run waits for it as
//! it waits for the rest of the world, and an entry is never there twice.

use std::time::Duration;

use stepback::run::stop;
use tokio::time::{Instant, sleep};

use super::*;

/// Far longer than a lost reply, shorter than a step's limit.
const WHILE: u64 = 45;
/// Longer than a step's limit.
const LONG: u64 = 600;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for story in Story::ALL {
        let name = format!("crash::{}_the_journal_is_away_for_a_while", story.name());
        cases.push(sync_case(name, move |_ctx| for_a_while(story)));
    }
    cases.extend([
        sync_case("crash::the_journal_is_away_past_the_limit", |_ctx| past_the_limit()),
        sync_case("crash::a_stop_ends_the_wait_for_the_journal", |_ctx| stopped()),
        sync_case("crash::a_rival_goes_on_while_one_waits_for_the_journal", |_ctx| rival()),
    ]);
    cases
}

fn away(seconds: u64, takes_one: bool) -> Fault {
    Fault::JournalAway { seconds, takes_one }
}

/// One process, one run: nobody has to resume it.
fn for_a_while(story: Story) -> Outcome {
    let plan = story.plan();
    block_on(async {
        let mut waited = 0;
        for n in 1..=calls(story, &plan).await? {
            for takes_one in [false, true] {
                let what = format!("away from call {n} on, takes one: {takes_one}");
                let world = story.world().with(&[(n, away(WHILE, takes_one))]).share();
                let client = Client::new(world.clone());
                let life = coordinate(&client, &plan).await;
                let mut world = world.lock();
                if matches!(life, Life::Error(_)) && world.entries.len() <= 1 {
                    // Before the run is open nothing is under way.
                    continue;
                }
                assert_eq!(life, Life::Ended(Ending::Closed(RunOutcome::Done)), "{what}");
                world.come_to_rest();
                assert_eq!(world.breaches, Vec::<String>::new(), "{what}");
                assert_eq!(story::tell(&world), story.expected(), "{what}");
                assert_eq!(world.entries.len(), story.entries(), "{what}");
                let said = client.retrying.lock().expect("never held over a panic").clone();
                assert!(said.len() <= 1, "{what}: {said:?}");
                waited += said.len();
            }
        }
        assert!(waited > 0, "nobody had to wait");
        Ok(())
    })
}

/// It gives up when a step would be given up, and is resumed.
fn past_the_limit() -> Outcome {
    let (story, plan) = (Story::Single, Story::Single.plan());
    block_on(async {
        for n in 1..=calls(story, &plan).await? {
            let what = format!("away from call {n} on");
            let world = story.world().with(&[(n, away(LONG, n % 2 == 0))]).share();
            let begun = Instant::now();
            let life = coordinate(&Client::new(world.clone()), &plan).await;
            let opened = world.lock().entries.len() > 1;
            match life {
                Life::Error(_) if !opened => continue,
                Life::Error(_) => {
                    let took = begun.elapsed().as_secs();
                    assert!((60..70).contains(&took), "{what}: after {took} s");
                }
                Life::Ended(Ending::Closed(_)) => {}
                other => return fail(format_args!("{what}: {other:?}")),
            }
            sleep(Duration::from_secs(LONG)).await;
            let left = world.lock().clone();
            live(story, &plan, left, &what).await?;
        }
        Ok(())
    })
}

fn stopped() -> Outcome {
    let (story, plan) = (Story::Single, Story::Single.plan());
    block_on(async {
        let mut ended_by_it = 0;
        for n in 1..=calls(story, &plan).await? {
            let what = format!("away from call {n} on");
            let world = story.world().with(&[(n, away(LONG, false))]).share();
            let mut client = Client::new(world.clone());
            let (stopper, asked) = stop();
            client.stop = asked;
            let begun = Instant::now();
            let ask = async {
                sleep(Duration::from_secs(20)).await;
                stopper.ask();
            };
            let (life, ()) = tokio::join!(
                async {
                    let life = coordinate(&client, &plan).await;
                    (life, begun.elapsed().as_secs())
                },
                ask
            );
            let (life, took) = life;
            assert!(took <= 25, "{what}: {life:?} after {took} s");
            ended_by_it += u32::from(took >= 20);
            sleep(Duration::from_secs(LONG)).await;
            let left = world.lock().clone();
            live(story, &plan, left, &what).await?;
        }
        assert!(ended_by_it > 0, "nobody waited until the stop");
        Ok(())
    })
}

/// Another one takes over, and is done before the first one looks again: what that one had to say is not written.
fn rival() -> Outcome {
    let (story, plan) = (Story::Single, Story::Single.plan());
    block_on(async {
        let mut fenced = 0;
        for n in 1..=calls(story, &plan).await? {
            for takes_one in [false, true] {
                let what = format!("away from call {n} on, takes one: {takes_one}");
                let world = story.world().with(&[(n, away(WHILE, takes_one))]).share();
                let (one, other) = (Client::new(world.clone()), Client::new(world.clone()));
                let takes_over = async {
                    sleep(Duration::from_secs(WHILE)).await;
                    coordinate(&other, &plan).await
                };
                let (first, second) = tokio::join!(coordinate(&one, &plan), takes_over);
                assert_eq!(second, Life::Ended(Ending::Closed(RunOutcome::Done)), "{what}");
                fenced += u32::from(first == Life::Ended(Ending::Fenced));
                let mut world = world.lock();
                world.come_to_rest();
                assert_eq!(world.breaches, Vec::<String>::new(), "{what}: {first:?}");
                assert_eq!(story::tell(&world), story.expected(), "{what}: {first:?}");
            }
        }
        assert!(fenced > 0, "nobody was fenced");
        Ok(())
    })
}
