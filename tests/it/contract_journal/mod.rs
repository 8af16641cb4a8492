//! The laws of a journal, over every place that one is kept in. What only one kind of place has stands in `file` and
//! `cluster`; `arena` makes the places.

mod arena;
mod cluster;
mod file;

use futures::future::join_all;
use jiff::Timestamp;
use stepback::journal::JournalError;
use stepback_core::{
    journal::{Entry, FORMAT, What},
    model::{Digest, PlanId, RunId, Token},
};

pub use arena::plan_of;

use crate::support::runner::{Case, Ctx, Outcome, case};
use arena::{Arena, Place, RUN, by, seen};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    macro_rules! law {
        ($places:expr, $law:path) => {
            for place in $places {
                let law = stringify!($law).rsplit("::").next().unwrap_or_default();
                let name = format!("contract_journal::{}::{}", place.name(), law.trim());
                cases.push(case(name, async move |ctx: Ctx| {
                    $law(&Arena::start(place, &ctx).await?).await
                }));
            }
        };
    }
    let every = [Place::File, Place::Sandbox, Place::Real, Place::Sqlite];
    let clusters = [Place::Sandbox, Place::Real];
    law!(every, entries_are_read_back_as_they_were_appended);
    law!(every, a_run_that_is_not_there_is_not_found);
    law!(every, w8_a_plan_is_written_once);
    law!(every, w8_a_plan_that_somebody_changed_is_damaged);
    law!(every, w8_entries_of_another_plan_are_damaged);
    law!(every, w10_a_stale_writer_changes_nothing);
    law!(every, w10_what_others_wrote_is_appended_behind);
    law!(every, w10_of_two_writers_one_gets_each_number);
    law!(every, w10_an_entry_that_is_there_is_not_appended_again);
    law!(clusters, the_newest_run_comes_first);
    law!([Place::File], file::a_torn_last_line_is_cut_and_told);
    law!([Place::File], file::a_bad_line_before_others_is_damage);
    law!([Place::File], file::a_torn_birth_is_no_run);
    law!([Place::File], file::a_run_that_is_over_is_moved_aside);
    law!(clusters, cluster::w10_full_segments_are_sealed);
    law!(clusters, cluster::w10_a_large_plan_lies_in_several_immutable_parts);
    law!(clusters, cluster::w10_too_large_is_refused_beforehand);
    law!(clusters, cluster::w10_a_stale_writer_cannot_pass_a_sealed_segment);
    law!(clusters, cluster::w10_the_newest_ten_finished_runs_are_kept);
    law!(clusters, cluster::w10_what_never_began_is_removed);
    law!(clusters, cluster::a_missing_part_is_damage);
    law!([Place::Sandbox], cluster::w10_a_lost_reply_is_read_back);
    law!(
        [Place::Sandbox],
        cluster::w10_a_lost_request_is_unknown_and_can_be_tried_again
    );
    law!(
        [Place::Sandbox],
        cluster::w10_an_append_that_arrives_late_is_not_lost_and_not_doubled
    );
    law!(
        [Place::Sandbox],
        cluster::w10_an_append_without_an_answer_is_unknown_and_never_twice
    );
    cases
}

async fn entries_are_read_back_as_they_were_appended(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    journal.create(&story.run, &story.plan, story.token).await?;
    story.assert_stored(&*arena.journal()).await?;
    story.begin(&*journal, 5).await?;
    story.assert_stored(&*journal).await?;
    // Another process goes on where this one stopped.
    let other = arena.journal();
    story.append(&*other, seen("more")).await?;
    story.append(&*other, seen("and more")).await?;
    story.assert_stored(&*arena.journal()).await?;
    // In a database the run's row says that there is a run, and that is not the journal's.
    if !matches!(arena, Arena::Sqlite { .. }) {
        assert_eq!(arena.journal().runs().await?, [story.run]);
    }
    Ok(())
}

async fn a_run_that_is_not_there_is_not_found(arena: &Arena) -> Outcome {
    let run = RunId(RUN.to_owned());
    let read = arena.journal().read(&run).await;
    assert!(
        matches!(&read, Err(JournalError::NotFound(missing)) if *missing == run),
        "{read:?}"
    );
    Ok(())
}

async fn the_newest_run_comes_first(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut old = arena.story("01J8ZQ4M5N6P7Q8R9S0T1V2W3X");
    let mut new = arena.story("01J9ZQ4M5N6P7Q8R9S0T1V2W3X");
    new.begin(&*journal, 1).await?;
    old.begin(&*journal, 1).await?;
    assert_eq!(journal.runs().await?, [new.run.clone(), old.run.clone()]);
    old.assert_stored(&*journal).await?;
    new.assert_stored(&*journal).await
}

async fn w8_a_plan_is_written_once(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 2).await?;
    arena.journal().create(&story.run, &story.plan, story.token).await?;
    story.assert_stored(&*journal).await?;
    let other = plan_of("another");
    // Where it is refused only on a look, what is stored must not have changed.
    let again = arena.journal().create(&story.run, &other, story.token).await;
    if !matches!(arena, Arena::Sqlite { .. }) {
        assert!(matches!(again, Err(JournalError::Damaged { .. })), "{again:?}");
    }
    story.assert_stored(&*arena.journal()).await
}

async fn w8_a_plan_that_somebody_changed_is_damaged(arena: &Arena) -> Outcome {
    let mut story = arena.story(RUN);
    story.begin(&*arena.journal(), 0).await?;
    arena.forge(&story).await?;
    let read = arena.journal().read(&story.run).await;
    assert!(
        matches!(&read, Err(JournalError::Damaged { message, .. }) if message.contains("changed")),
        "{read:?}"
    );
    Ok(())
}

async fn w8_entries_of_another_plan_are_damaged(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    journal.create(&story.run, &story.plan, story.token).await?;
    let opened = What::RunOpened {
        run: story.run.clone(),
        plan: PlanId(Digest::of("another")),
        by: by(),
        aborts: None,
    };
    story.append(&*journal, opened).await?;
    let read = arena.journal().read(&story.run).await;
    assert!(matches!(&read, Err(JournalError::Damaged { .. })), "{read:?}");
    Ok(())
}

async fn w10_what_others_wrote_is_appended_behind(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 3).await?;
    for what in ["theirs", "and more"] {
        story.append(&*arena.journal(), seen(what)).await?;
    }
    // The story has read on; what this value remembers of the journal has not.
    story.append(&*journal, seen("ours")).await?;
    story.assert_stored(&*arena.journal()).await
}

async fn w10_a_stale_writer_changes_nothing(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 3).await?;
    let mut stale = story.clone();
    // Another coordinator takes over; where the database's lease decides, this only stands for it.
    if !matches!(arena, Arena::Sqlite { .. }) {
        story.token = Token { number: 2, nonce: 0 };
    }
    story
        .append(
            &*arena.journal(),
            What::RunResumed {
                by: by(),
                rebound: None,
                dead: Vec::new(),
            },
        )
        .await?;
    for writer in [journal, arena.journal()] {
        let appended = stale.append(&*writer, seen("late")).await;
        let refused = match arena {
            // The number is taken; whose entry it is, the caller reads.
            Arena::Sqlite { .. } => matches!(appended, Err(JournalError::Unknown(_) | JournalError::Fenced(_))),
            _ => matches!(appended, Err(JournalError::Fenced(_))),
        };
        assert!(refused, "{appended:?}");
        story.assert_stored(&*arena.journal()).await?;
    }
    Ok(())
}

async fn w10_of_two_writers_one_gets_each_number(arena: &Arena) -> Outcome {
    const EACH: usize = 12;
    let mut story = arena.story(RUN);
    story.begin(&*arena.journal(), 1).await?;
    let writers = ["a", "b"].map(|name| {
        let (journal, run, token) = (arena.journal(), story.run.clone(), story.token);
        async move {
            let mut mine = Vec::new();
            for number in 0..EACH {
                let entries = journal.read(&run).await?.entries;
                let entry = Entry {
                    format: FORMAT,
                    sequence: entries.len() as u64 + 1,
                    at: Timestamp::UNIX_EPOCH,
                    token,
                    previous: entries.last().map(Entry::hash).unwrap_or_default(),
                    what: seen(&format!("{name} {number}")),
                };
                match journal.append(&run, &entry).await {
                    Ok(()) => mine.push(entry),
                    Err(JournalError::Fenced(_) | JournalError::Unknown(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(mine)
        }
    });
    let mut accepted = 0;
    let both = join_all(writers).await;
    let stored = arena.journal().read(&story.run).await?.entries;
    for mine in both {
        let mine = mine?;
        accepted += mine.len();
        for entry in mine {
            assert!(
                stored.contains(&entry),
                "an entry that was accepted is not there: {entry:?}"
            );
        }
    }
    assert_eq!(stored.len(), accepted + 1, "something is there that nobody was told of");
    assert!(accepted >= EACH, "only {accepted} entries were accepted");
    let mut previous = String::new();
    for (index, entry) in stored.iter().enumerate() {
        assert_eq!(entry.sequence, index as u64 + 1);
        assert_eq!(entry.previous, previous);
        previous = entry.hash();
    }
    Ok(())
}

async fn w10_an_entry_that_is_there_is_not_appended_again(arena: &Arena) -> Outcome {
    let mut story = arena.story(RUN);
    story.begin(&*arena.journal(), 3).await?;
    let newest = story.entries.last().unwrap();
    let again = arena.journal().append(&story.run, newest).await;
    match arena {
        Arena::Sqlite { .. } => assert!(matches!(again, Err(JournalError::Unknown(_))), "{again:?}"),
        _ => again?,
    }
    story.assert_stored(&*arena.journal()).await
}
