//! What only ConfigMaps have: segments, parts, versions, and requests that get lost.

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use stepback::journal::{Journal as _, JournalError, Pruning};
use stepback_core::{
    journal::{Outcome as RunOutcome, What},
    model::{DatabaseRef, Digest, RunId, RunRow, RunStatus, Token},
    plan::Plan,
};
use stepback_sandbox::api::Hold;
use tokio::time::timeout;

use super::arena::{Arena, RUN, Story, by, seen, with_id};
use crate::support::runner::{NotPassed, Outcome, fail};

/// A fact whose entry takes up about a kibibyte.
fn long(number: usize) -> What {
    seen(&format!("{number} {}", "x".repeat(1000)))
}

async fn segments(arena: &Arena) -> Result<Vec<ConfigMap>, NotPassed> {
    let params = ListParams::default().labels("stepback.dev/part=entries");
    let mut maps = arena.maps().list(&params).await?.items;
    maps.sort_by_key(|map| {
        let index = &map.metadata.labels.as_ref().unwrap()["stepback.dev/index"];
        index.parse::<usize>().unwrap()
    });
    Ok(maps)
}

pub async fn w10_full_segments_are_sealed(arena: &Arena) -> Outcome {
    let mut journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 1).await?;
    for number in 0..100 {
        if number % 30 == 0 {
            // Whoever begins anew finds the right segment.
            journal = arena.journal();
        }
        story.append(&*journal, long(number)).await?;
    }
    story.assert_stored(&*arena.journal()).await?;
    let segments = segments(arena).await?;
    assert_eq!(segments.len(), 4);
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        assert_eq!(segment.immutable == Some(true), !last, "segment {index}");
        let bytes = segment.data.as_ref().unwrap()["lines"].len();
        assert!(bytes <= 32 * 1024, "segment {index} has {bytes} bytes");
    }
    Ok(())
}

pub async fn w10_a_stale_writer_cannot_pass_a_sealed_segment(arena: &Arena) -> Outcome {
    let (stale_journal, journal) = (arena.journal(), arena.journal());
    let mut story = arena.story(RUN);
    story.begin(&*stale_journal, 1).await?;
    // 31 of them fill a segment; the next one goes into a new one.
    while story.entries.len() < 31 {
        story.append(&*stale_journal, long(story.entries.len())).await?;
    }
    let mut stale = story.clone();
    story.token = Token { number: 2, nonce: 0 };
    for number in 0..3 {
        story.append(&*journal, long(number)).await?;
    }
    assert_eq!(segments(arena).await?.len(), 2);
    let appended = stale.append(&*stale_journal, long(0)).await;
    assert!(matches!(appended, Err(JournalError::Fenced(_))), "{appended:?}");
    story.assert_stored(&*arena.journal()).await
}

/// Text that does not compress, the same every time.
fn noise(bytes: usize) -> String {
    let digests = (0u32..).map(|number| Digest::of(number.to_le_bytes()).to_string());
    // Hexadecimal digits compress to a little more than half.
    digests.take(bytes / 32).collect()
}

pub async fn w10_a_large_plan_lies_in_several_immutable_parts(arena: &Arena) -> Outcome {
    let mut story = arena.story(RUN);
    story.plan = with_id(Plan {
        title: noise(1_200_000),
        ..story.plan
    });
    let journal = arena.journal();
    story.begin(&*journal, 2).await?;
    story.assert_stored(&*arena.journal()).await?;
    let params = ListParams::default().labels("stepback.dev/part=plan");
    let parts = arena.maps().list(&params).await?.items;
    assert_eq!(parts.len(), 3);
    for part in &parts {
        assert_eq!(part.immutable, Some(true));
        let bytes = part.binary_data.as_ref().unwrap().values().next().unwrap().0.len();
        assert!(bytes <= 512 * 1024, "{bytes}");
        let patch = Patch::Merge(json!({ "data": { "more": "text" } }));
        let name = part.metadata.name.as_deref().unwrap();
        let patched = arena.maps().patch(name, &PatchParams::default(), &patch).await;
        assert!(
            matches!(&patched, Err(kube::Error::Api(status)) if status.code == 422),
            "{patched:?}"
        );
    }
    Ok(())
}

pub async fn w10_too_large_is_refused_beforehand(arena: &Arena) -> Outcome {
    let mut story = arena.story(RUN);
    story.plan = with_id(Plan {
        title: noise(9_000_000),
        ..story.plan
    });
    let created = arena.journal().create(&story.run, &story.plan, story.token).await;
    assert!(matches!(created, Err(JournalError::TooLarge { .. })), "{created:?}");
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=stepback");
    assert_eq!(arena.maps().list(&ours).await?.items, []);
    Ok(())
}

pub async fn w10_the_newest_ten_finished_runs_are_kept(arena: &Arena) -> Outcome {
    let journal = arena.in_cluster();
    let mut stories = Vec::new();
    for number in 10..23 {
        let mut story = arena.story(&format!("01J8ZQ4M5N6P7Q8R9S0T1V2W{number}"));
        if number == 12 {
            story.plan = with_id(Plan {
                app: Some("other".to_owned()),
                ..story.plan
            });
        }
        story.begin(&journal, 2).await?;
        if number != 11 {
            let closed = What::RunClosed {
                outcome: RunOutcome::Done,
            };
            story.append(&journal, closed).await?;
        }
        stories.push(story);
    }
    // Of 13 runs one is open and one is another app's: of the eleven left, the oldest goes.
    let database = stories[0].plan.database.clone();
    let pruning = pruning(&[], &database);
    let pruned = journal.prune(&pruning).await?;
    assert_eq!(pruned, [stories[0].run.clone()]);
    assert_eq!(journal.prune(&pruning).await?, []);
    let mut left: Vec<RunId> = stories[1..].iter().map(|story| story.run.clone()).collect();
    left.reverse();
    assert_eq!(journal.runs().await?, left);
    for story in &stories[1..] {
        story.assert_stored(&journal).await?;
    }
    let gone = format!("stepback.dev/run={}", stories[0].run);
    assert_eq!(arena.maps().list(&ListParams::default().labels(&gone)).await?.items, []);
    // A removal that was cut off is finished by the next one.
    let name = format!("stepback-{}-plan-0", stories[3].run.0.to_lowercase());
    arena.maps().delete(&name, &DeleteParams::default()).await?;
    assert_eq!(journal.prune(&pruning).await?, [stories[3].run.clone()]);
    Ok(())
}

/// What whoever knows these rows of this database removes.
fn pruning<'a>(rows: &'a [RunRow], database: &'a DatabaseRef) -> Pruning<'a> {
    Pruning {
        app: "shop",
        keep: 10,
        rows,
        database,
    }
}

const THIS: &str = "this database";

fn row(story: &Story, status: RunStatus) -> RunRow {
    RunRow {
        run: story.run.clone(),
        ledger: story.plan.database.ledger.table.clone(),
        plan: story.plan.id,
        app: story.plan.app.clone(),
        journal: story.plan.journal.clone(),
        status,
        title: story.plan.title.clone(),
        closes_itself: false,
        token: story.token,
    }
}

/// A plan that its coordinator died over goes; one that a living coordinator may be about to open stays.
pub async fn w10_what_never_began_is_removed(arena: &Arena) -> Outcome {
    let journal = arena.in_cluster();
    let mut number = 10;
    let mut fresh = |own: &str, app: &str| {
        number += 1;
        let mut story = arena.story(&format!("01J8ZQ4M5N6P7Q8R9S0T1V2W{number}"));
        story.plan.database.identity.own = own.to_owned();
        story.plan.app = Some(app.to_owned());
        story.plan = with_id(story.plan);
        story
    };
    let mut halted = fresh(THIS, "shop");
    halted.begin(&journal, 2).await?;
    // Killed before its row, as its row was written, and by somebody who could not reach its journal closed since.
    let (killed, opening, closed) = (fresh(THIS, "shop"), fresh(THIS, "shop"), fresh(THIS, "shop"));
    // Another database's, which has a lease of its own; and another app's.
    let (elsewhere, other) = (fresh("another database", "shop"), fresh(THIS, "other"));
    for story in [&killed, &opening, &closed, &elsewhere, &other] {
        journal.create(&story.run, &story.plan, story.token).await?;
    }
    // Two that were to abort a run and died before they took over; of the second one this database does not know the run.
    let aborts = |story: &Story, aborted: &RunId| What::RunOpened {
        run: story.run.clone(),
        plan: story.plan.id,
        by: by(),
        aborts: Some(aborted.clone()),
    };
    let (mut abort, mut unknown) = (fresh(THIS, "shop"), fresh(THIS, "shop"));
    for (story, aborted) in [(&mut abort, &halted.run), (&mut unknown, &elsewhere.run)] {
        journal.create(&story.run, &story.plan, story.token).await?;
        story.append(&journal, aborts(story, aborted)).await?;
    }
    // On another ledger of this database, which has a lease of its own too (LAWS D16).
    let mut beside = fresh(THIS, "shop");
    beside.plan.database.ledger.table = "another ledger".to_owned();
    beside.plan = with_id(beside.plan);
    journal.create(&beside.run, &beside.plan, beside.token).await?;
    let rows = [
        row(&halted, RunStatus::Halted),
        row(&opening, RunStatus::Opening),
        row(&closed, RunStatus::Closed),
    ];
    let pruned = journal.prune(&pruning(&rows, &halted.plan.database)).await?;
    assert_eq!(pruned, [abort.run.clone(), killed.run.clone()]);
    let mut left = [&halted, &opening, &closed, &elsewhere, &other, &unknown, &beside].map(|story| story.run.clone());
    left.reverse();
    assert_eq!(journal.runs().await?, left);
    // What is closed counts among those that are over.
    let none = Pruning {
        keep: 0,
        ..pruning(&rows, &halted.plan.database)
    };
    assert_eq!(journal.prune(&none).await?, std::slice::from_ref(&closed.run));
    Ok(())
}

pub async fn a_missing_part_is_damage(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.plan = with_id(Plan {
        title: noise(1_200_000),
        ..story.plan
    });
    story.begin(&*journal, 1).await?;
    for number in 0..40 {
        story.append(&*journal, long(number)).await?;
    }
    let prefix = format!("stepback-{}", RUN.to_lowercase());
    for part in ["entries-0", "plan-2"] {
        arena
            .maps()
            .delete(&format!("{prefix}-{part}"), &DeleteParams::default())
            .await?;
        let read = arena.journal().read(&story.run).await;
        assert!(
            matches!(read, Err(JournalError::Damaged { .. })),
            "without {part}: {read:?}"
        );
    }
    Ok(())
}

/// Holds the next write to a segment.
fn hold_append(arena: &Arena) -> Hold {
    arena
        .server()
        .hold(|asked| asked.method != Method::GET && asked.path.contains("/configmaps"))
}

pub async fn w10_a_lost_reply_is_read_back(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 2).await?;
    let mut hold = hold_append(arena);
    let append = story.append(&*journal, seen("lost"));
    let lose = async {
        hold.arrived().await?;
        hold.perform_and_drop_reply().await
    };
    let (appended, lost) = futures::join!(append, lose);
    lost?;
    appended?;
    story.append(&*journal, seen("next")).await?;
    story.assert_stored(&*arena.journal()).await
}

pub async fn w10_a_lost_request_is_unknown_and_can_be_tried_again(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 2).await?;
    let mut hold = hold_append(arena);
    let entry = story.next(seen("lost"));
    let lose = async {
        hold.arrived().await?;
        hold.drop_request().await
    };
    let (appended, lost) = futures::join!(journal.append(&story.run, &entry), lose);
    lost?;
    assert!(matches!(appended, Err(JournalError::Unknown(_))), "{appended:?}");
    story.assert_stored(&*arena.journal()).await?;
    story.append(&*journal, seen("lost")).await?;
    story.assert_stored(&*arena.journal()).await
}

/// The server takes the entry and is silent, and is back before the next try.
pub async fn w10_an_append_without_an_answer_is_unknown_and_never_twice(arena: &Arena) -> Outcome {
    let mut story = arena.story(RUN);
    story.begin(&*arena.journal(), 2).await?;
    let journal = arena.impatient(Duration::from_millis(500));
    let mut hold = hold_append(arena);
    let entry = story.next(seen("silent"));
    let appended = timeout(Duration::from_secs(30), journal.append(&story.run, &entry)).await?;
    assert!(
        matches!(&appended, Err(JournalError::Unknown(why)) if why.contains("no answer within 0.5 s")),
        "{appended:?}"
    );
    hold.arrived().await?;
    story.assert_stored(&*arena.journal()).await?;
    assert_eq!(hold.let_through().await?, 200);
    story.append(&journal, seen("silent")).await?;
    story.append(&journal, seen("next")).await?;
    story.assert_stored(&*arena.journal()).await
}

pub async fn w10_an_append_that_arrives_late_is_not_lost_and_not_doubled(arena: &Arena) -> Outcome {
    let journal = arena.journal();
    let mut story = arena.story(RUN);
    story.begin(&*journal, 2).await?;
    let mut hold = hold_append(arena);
    let entry = story.next(seen("late"));
    {
        // The process dies while the request is under way.
        let append = std::pin::pin!(journal.append(&story.run, &entry));
        match futures::future::select(append, std::pin::pin!(hold.arrived())).await {
            futures::future::Either::Left((appended, _)) => return fail(format_args!("not held: {appended:?}")),
            futures::future::Either::Right((arrived, _)) => drop(arrived?),
        }
    }
    // Another coordinator takes over before it arrives.
    story.token = Token { number: 2, nonce: 0 };
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
    assert_eq!(hold.let_through().await?, 409);
    story.assert_stored(&*arena.journal()).await
}
