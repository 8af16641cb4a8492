//! Laws about versions that are spelled in two ways: `0002` and `2` are one migration (LAWS D3, D7).

use stepback_core::model::{ArchiveRow, Capture, Direction};

use super::harness::{Fresh, acquire, applied, carry, migration, scripts};
use crate::support::runner::{NotPassed, Outcome, fail};

/// The only archive row that there is.
async fn only(database: &dyn stepback::database::Database) -> Result<ArchiveRow, NotPassed> {
    let archive = database.look().await?.archive;
    match archive.as_slice() {
        [row] => Ok(row.clone()),
        rows => fail(format_args!("{rows:?}")),
    }
}

/// The file was renamed, and its scripts are edited, while it was not applied.
pub async fn d3_a_version_that_is_spelled_anew_is_the_same_migration(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let first = [migration("0002", "CREATE TABLE u (i int)", "DROP TABLE u")];
    database.stage(token, &first).await?;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &first), token).await?;
    carry(&*database, Direction::Down, &scripts(Direction::Down, &first), token).await?;

    let kept = "ALTER TABLE u RENAME TO u_kept";
    let renamed = [migration("2", "CREATE TABLE u (i int, j int)", kept)];
    database.stage(token, &renamed).await?;
    let row = only(&*database).await?;
    assert_eq!((row.migration.version.as_str(), row.revision), ("0002", 2));
    assert!(row.intact && row.up_sha256 == renamed[0].up.sha256(), "{row:?}");
    // What is planned is spelled as the archive spells it.
    let mut spelled = renamed.clone();
    spelled[0].version = row.migration.version;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &spelled), token).await?;
    let row = only(&*database).await?;
    let seen = database.look().await?;
    assert!(row.intact && row.capture == Capture::Captured, "{row:?}");
    assert_eq!(row.ledger_sequence, seen.ledger[0].sequence);
    // Nor is it another one to whoever replaces it, or captures it again.
    database.replace(token, &renamed[0], "mended").await?;
    database.stage(token, &renamed).await?;
    let row = only(&*database).await?;
    assert_eq!((row.migration.version.as_str(), row.revision), ("0002", 3));

    carry(&*database, Direction::Down, &scripts(Direction::Down, &spelled), token).await?;
    assert_eq!(applied(&*database).await?, [""; 0]);
    assert!(fresh.has_table("u_kept").await && !fresh.has_table("u").await);
    Ok(())
}

/// An earlier version of stepback made a row of its own for each spelling.
pub async fn d3_of_one_version_under_two_spellings_the_newest_counts(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let (old, new) = (
        [migration("2", "CREATE TABLE u (i int)", "DROP TABLE u")],
        [migration(
            "2",
            "CREATE TABLE u (i int)",
            "ALTER TABLE u RENAME TO u_kept",
        )],
    );
    database.stage(token, &old).await?;
    database.stage(token, &new).await?;
    // Only the number of the revision tells them apart.
    let respell = format!(
        "UPDATE {} SET version = '0002' WHERE revision = 1",
        fresh.place.own("archive")
    );
    fresh.place.run(&respell).await?;
    let row = only(&*database).await?;
    assert_eq!((row.migration.version.as_str(), row.revision), ("2", 2));
    carry(&*database, Direction::Up, &scripts(Direction::Up, &new), token).await?;
    database.release().await?;
    let other = fresh.open();
    let token = acquire(&*other, "other").await?;
    other.replace(token, &new[0], "mended").await?;
    let row = only(&*other).await?;
    assert_eq!((row.migration.version.as_str(), row.revision), ("2", 3));
    assert_eq!(row.down_sha256, new[0].down.as_ref().map(|down| down.sha256()));
    Ok(())
}
