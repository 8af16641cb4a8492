//! What only a file can suffer.

use std::{fs, path::PathBuf};

use stepback::journal::{FileJournal, JournalError};
use stepback_core::journal::{Outcome as RunOutcome, What};

use super::arena::{Arena, RUN, seen};
use crate::support::runner::Outcome;

pub async fn a_torn_last_line_is_cut_and_told(arena: &Arena) -> Outcome {
    let path = arena.file();
    let mut story = arena.story(RUN);
    story.begin(&*arena.journal(), 3).await?;
    let whole = fs::read(path)?;
    let line = story.next(seen("torn")).to_line() + "\n";
    for length in [1, 16, 17, line.len() / 2, line.len() - 1] {
        fs::write(path, [&whole, &line.as_bytes()[..length]].concat())?;
        let stored = arena.journal().read(&story.run).await?;
        assert_eq!(stored.entries, story.entries, "{length} bytes");
        assert_eq!(stored.torn.as_deref(), Some(&line[..length]));
        let mut after = story.clone();
        after.append(&*arena.journal(), seen("next")).await?;
        let stored = arena.journal().read(&story.run).await?;
        assert_eq!((stored.entries, stored.torn), (after.entries, None), "{length} bytes");
    }
    Ok(())
}

pub async fn a_bad_line_before_others_is_damage(arena: &Arena) -> Outcome {
    let path = arena.file();
    let mut story = arena.story(RUN);
    story.begin(&*arena.journal(), 3).await?;
    let text = fs::read_to_string(path)?;
    for (what, changed) in [
        ("an entry", text.replace("fact 1", "fact 9")),
        ("the plan", text.replacen("shop.db", "shop.dc", 1)),
    ] {
        assert_ne!(changed, text);
        fs::write(path, changed)?;
        let read = arena.journal().read(&story.run).await;
        assert!(matches!(read, Err(JournalError::Damaged { .. })), "{what}: {read:?}");
        let before = fs::read(path)?;
        let appended = arena.journal().append(&story.run, &story.next(seen("next"))).await;
        assert!(
            matches!(appended, Err(JournalError::Damaged { .. })),
            "{what}: {appended:?}"
        );
        assert_eq!(fs::read(path)?, before);
    }
    Ok(())
}

pub async fn a_torn_birth_is_no_run(arena: &Arena) -> Outcome {
    let path = arena.file();
    let mut story = arena.story(RUN);
    arena.journal().create(&story.run, &story.plan, story.token).await?;
    let whole = fs::read(path)?;
    for length in [0, 10, whole.len() - 1] {
        fs::write(path, &whole[..length])?;
        assert_eq!(arena.journal().runs().await?, []);
        let read = arena.journal().read(&story.run).await;
        assert!(matches!(read, Err(JournalError::NotFound(_))), "{read:?}");
    }
    story.begin(&*arena.journal(), 2).await?;
    story.assert_stored(&*arena.journal()).await
}

pub async fn a_run_that_is_over_is_moved_aside(arena: &Arena) -> Outcome {
    let path = arena.file();
    let journal = arena.journal();
    let mut first = arena.story("01J8ZQ4M5N6P7Q8R9S0T1V2W3X");
    let mut second = arena.story("01J9ZQ4M5N6P7Q8R9S0T1V2W3X");
    first.begin(&*journal, 1).await?;
    let occupied = journal.create(&second.run, &second.plan, second.token).await;
    assert!(
        matches!(&occupied, Err(JournalError::Occupied { run, .. }) if *run == first.run),
        "{occupied:?}"
    );
    first
        .append(
            &*journal,
            What::RunClosed {
                outcome: RunOutcome::Done,
            },
        )
        .await?;
    second.begin(&*journal, 2).await?;
    second.assert_stored(&*arena.journal()).await?;
    let mut aside = path.clone().into_os_string();
    aside.push(format!(".{}", first.run));
    first.assert_stored(&FileJournal::new(PathBuf::from(aside))).await
}
