//! Laws about two ledgers in one database: nothing that is kept for one is taken for the other's (LAWS D16).

use stepback::database::{Database, DbError, LedgerChoice, Record};
use stepback_core::catalog::Migration;
use stepback_core::model::{Capture, Direction, LedgerTool, MigrationSet, RunRow, RunStatus, Token};

use super::harness::{Fresh, Kept, acquire, applied, carry, migration, run_row, scripts, stamp};
use crate::support::runner::{NotPassed, Outcome, fail};

/// A coordinator on a ledger. It takes the lease for each thing that it does: sqlx has one lock for both of its ledgers.
struct App {
    database: Box<dyn Database>,
    /// The ledger's full name.
    ledger: &'static str,
}

/// Two apps, each on a ledger of its own.
async fn two_apps(fresh: &Fresh) -> Result<[App; 2], NotPassed> {
    let tool = match fresh.place.ledger() {
        Kept::ByUs => LedgerTool::Stepback,
        Kept::BySqlx => LedgerTool::Sqlx,
    };
    let second = fresh.place.add_ledger().await?;
    let first = on_ledger(fresh, tool, fresh.place.first_ledger()).await?;
    Ok([first, on_ledger(fresh, LedgerTool::Sqlx, second).await?])
}

async fn on_ledger(fresh: &Fresh, tool: LedgerTool, ledger: &'static str) -> Result<App, NotPassed> {
    let database = fresh.place.open_on(LedgerChoice::In(tool, ledger.to_owned()));
    database.prepare().await?;
    let named = database.look().await?.database.ledger;
    assert_eq!((named.tool, named.table.as_str()), (tool, ledger));
    Ok(App { database, ledger })
}

impl App {
    async fn take(&self) -> Result<Token, DbError> {
        acquire(&*self.database, "somebody").await
    }

    /// Gives the lease back after something was done under it.
    async fn give<T>(&self, done: Result<T, DbError>) -> Result<T, DbError> {
        self.database.release().await?;
        done
    }

    async fn stage(&self, migrations: &[Migration]) -> Result<(), DbError> {
        let token = self.take().await?;
        let done = self.database.stage(token, migrations).await;
        self.give(done).await
    }

    async fn advance(&self, direction: Direction, migrations: &[Migration]) -> Result<(), DbError> {
        let token = self.take().await?;
        let done = carry(&*self.database, direction, &scripts(direction, migrations), token).await;
        self.give(done).await
    }

    async fn record(&self, record: &Record) -> Result<(), DbError> {
        let token = self.take().await?;
        let done = self.database.record(record, &stamp(token)).await;
        self.give(done).await
    }

    async fn write_run(&self, row: &RunRow) -> Result<(), DbError> {
        let token = self.take().await?;
        let done = self.database.write_run(token, row).await;
        self.give(done).await
    }

    async fn hand_over(&self, from: &RunRow, to: &RunRow) -> Result<(), DbError> {
        let token = self.take().await?;
        let done = self.database.hand_over(token, &from.run, to).await;
        self.give(done).await
    }

    /// The newest archive row of version 1: its up script, whether it is captured and intact, and its revision.
    async fn archived(&self) -> Result<(String, Capture, bool, i64), NotPassed> {
        let archive = self.database.look().await?.archive;
        let [row] = archive.as_slice() else {
            return fail(format_args!("{archive:?}"));
        };
        Ok((row.up_sha256.to_string(), row.capture, row.intact, row.revision))
    }
}

/// The same version is another migration in another app.
pub async fn d16_scripts_are_one_ledgers(fresh: Fresh) -> Outcome {
    let [one, two] = two_apps(&fresh).await?;
    let ones = [migration("1", "CREATE TABLE ones (i int)", "DROP TABLE ones")];
    let twos = [migration("1", "CREATE TABLE twos (i int)", "DROP TABLE twos")];
    let up = |migrations: &[Migration]| migrations[0].up.sha256().to_string();
    one.stage(&ones).await?;
    one.advance(Direction::Up, &ones).await?;
    assert_eq!(
        two.database.look().await?.archive,
        [],
        "the other app's are none of this one's"
    );
    two.stage(&twos).await?;
    assert_eq!(two.archived().await?, (up(&twos), Capture::Staged, true, 1));
    two.advance(Direction::Up, &twos).await?;
    for (app, migrations) in [(&one, &ones), (&two, &twos)] {
        assert_eq!(app.archived().await?, (up(migrations), Capture::Captured, true, 1));
        // Nothing of the other app's is staged or bound anew.
        app.stage(&migrations[..]).await?;
        assert_eq!(app.archived().await?, (up(migrations), Capture::Captured, true, 1));
    }

    // A revision that is appended by hand is one ledger's too.
    let token = two.take().await?;
    let replaced = two.database.replace(token, &twos[0], "mended").await;
    two.give(replaced).await?;
    assert_eq!(two.archived().await?, (up(&twos), Capture::Captured, true, 2));
    assert_eq!(one.archived().await?, (up(&ones), Capture::Captured, true, 1));

    // What is one app's is not run for the other, even where its ledger holds the same version.
    let foreign = two.advance(Direction::Down, &ones).await;
    assert!(
        matches!(foreign, Err(DbError::Archive { .. } | DbError::Check { .. })),
        "{foreign:?}"
    );
    one.advance(Direction::Down, &ones).await?;
    assert!(!fresh.has_table("ones").await && fresh.has_table("twos").await);
    assert_eq!(applied(&*one.database).await?, [""; 0]);
    assert_eq!(applied(&*two.database).await?, ["1"]);
    two.advance(Direction::Down, &twos).await?;
    assert!(!fresh.has_table("twos").await);

    // A row that is given to the other ledger by hand is not what was stored.
    one.stage(&ones).await?;
    let (archive, ledger) = (fresh.place.own("archive"), one.ledger);
    let forge = format!("DELETE FROM {archive} WHERE ledger = '{ledger}'; UPDATE {archive} SET ledger = '{ledger}'");
    fresh.place.run(&forge).await?;
    let forged = one.database.look().await?.archive;
    assert!(!forged.is_empty() && forged.iter().all(|row| !row.intact), "{forged:?}");
    Ok(())
}

/// The same release, and the same set of versions, is another in another app.
pub async fn d16_facts_are_one_ledgers(fresh: Fresh) -> Outcome {
    let [one, two] = two_apps(&fresh).await?;
    let migrations = [
        migration("1", "SELECT 1", "SELECT 1"),
        migration("2", "SELECT 1", "SELECT 1"),
    ];
    let versions = |count: usize| -> MigrationSet {
        let applied = migrations.iter().take(count);
        applied.map(|migration| migration.version.clone()).collect()
    };
    let release = semver::Version::new(1, 2, 0);
    let paired = |count| Record::Release {
        release: release.clone(),
        schema: versions(count),
    };
    for app in [&one, &two] {
        app.stage(&migrations).await?;
        app.advance(Direction::Up, &migrations[..1]).await?;
    }
    one.record(&paired(1)).await?;
    assert!(!two.database.recorded(&paired(1)).await?);
    assert_eq!(two.database.look().await?.releases, []);
    // The same fact is another's too, and the newest pairing is that of the ledger.
    two.record(&paired(1)).await?;
    two.advance(Direction::Up, &migrations[1..]).await?;
    two.record(&paired(2)).await?;
    for (app, count, rows) in [(&one, 1, 1), (&two, 2, 2)] {
        assert!(app.database.recorded(&paired(count)).await?);
        let seen = app.database.look().await?;
        assert_eq!(
            seen.paired(&release).map(|row| row.schema.clone()),
            Some(versions(count))
        );
        assert_eq!(seen.releases.len(), rows);
    }

    two.advance(Direction::Down, &migrations[1..]).await?;
    let mut looks = one.database.fingerprint().await?;
    for (app, object) in [(&one, "table ones"), (&two, "table twos")] {
        looks.objects.insert(object.to_owned(), "(i)".to_owned());
        let record = Record::Fingerprint {
            schema: versions(1),
            fingerprint: looks.clone(),
        };
        assert_eq!(app.database.recorded_fingerprint(&versions(1)).await?, None);
        app.record(&record).await?;
        assert!(app.database.recorded(&record).await?);
        let seen = app.database.look().await?;
        assert_eq!(seen.fingerprints, [(versions(1).digest(), looks.digest())]);
    }
    let ones = one.database.recorded_fingerprint(&versions(1)).await?;
    assert!(ones.is_some_and(|ones| !ones.objects.contains_key("table twos")));
    Ok(())
}

/// An open run forbids another on its own ledger, and nothing on another one.
pub async fn d16_a_run_is_open_on_one_ledger(fresh: Fresh) -> Outcome {
    let [one, two] = two_apps(&fresh).await?;
    let row = |app: &App, run: &str, status| run_row(app.ledger, run, status, Token { number: 7, nonce: 7 });
    let halted = row(&one, "01J8ZQ5W3N6M2R0XQ4T1V7B9CA", RunStatus::Halted);
    one.write_run(&halted).await?;
    assert_eq!(two.database.look().await?.open_run, None);
    let open = row(&two, "01J8ZQ5W3N6M2R0XQ4T1V7B9CB", RunStatus::Open);
    two.write_run(&open).await?;
    assert_eq!(one.database.look().await?.open_run.as_ref(), Some(&halted));
    assert_eq!(two.database.look().await?.open_run.as_ref(), Some(&open));
    for (app, held) in [(&one, &halted), (&two, &open)] {
        // All of them are known everywhere, and what each belongs to.
        assert_eq!(app.database.runs().await?, [open.clone(), halted.clone()]);
        let next = row(app, "01J8ZQ5W3N6M2R0XQ4T1V7B9CC", RunStatus::Opening);
        match app.write_run(&next).await {
            Err(DbError::RunOpen(other)) => assert_eq!(other.as_ref(), held),
            other => panic!("a second run was let in: {other:?}"),
        }
    }

    // Under the lease of one ledger nothing of the other's is changed.
    for foreign in [
        one.write_run(&row(&two, &open.run.0, RunStatus::Closed)).await,
        one.write_run(&row(&one, &open.run.0, RunStatus::Closed)).await,
        one.hand_over(&open, &row(&one, "01J8ZQ5W3N6M2R0XQ4T1V7B9CD", RunStatus::Open))
            .await,
    ] {
        assert!(foreign.is_err());
    }
    assert_eq!(one.database.runs().await?, [open.clone(), halted.clone()]);
    let abort = row(&one, "01J8ZQ5W3N6M2R0XQ4T1V7B9CE", RunStatus::Open);
    one.hand_over(&halted, &abort).await?;
    assert_eq!(one.database.look().await?.open_run, Some(abort));
    assert_eq!(two.database.look().await?.open_run, Some(open));
    Ok(())
}

/// Whoever went back to nothing goes by its ledger still, and another app's in the same database is none to begin with.
pub async fn d16_a_ledger_that_was_emptied_is_not_exchanged_for_another_apps(fresh: Fresh) -> Outcome {
    let migrations = [migration("1", "CREATE TABLE ones (i int)", "DROP TABLE ones")];
    let (database, token) = fresh.holder("a").await?;
    let run = "01J8ZQ5W3N6M2R0XQ4T1V7B9CA";
    let row = |status| fresh.run_row(run, status, token);
    database.stage(token, &migrations).await?;
    database.write_run(token, &row(RunStatus::Open)).await?;
    for direction in [Direction::Up, Direction::Down] {
        carry(&*database, direction, &scripts(direction, &migrations), token).await?;
    }
    database.write_run(token, &row(RunStatus::Closed)).await?;
    database.release().await?;
    let named = fresh.open().look().await?.database.ledger.table;
    assert_eq!(named, fresh.place.first_ledger());

    // The other app's: sqlx's, which is empty; or, beside sqlx's, ours, which is not.
    match fresh.place.ledger() {
        Kept::ByUs => drop(fresh.place.add_ledger().await?),
        Kept::BySqlx => {
            let other = fresh.place.open_on(LedgerChoice::Of(LedgerTool::Stepback));
            let token = acquire(&*other, "other").await?;
            other.look().await?;
            other.stage(token, &migrations).await?;
            carry(&*other, Direction::Up, &scripts(Direction::Up, &migrations), token).await?;
            other.release().await?;
        }
    }
    for refused in [fresh.open().look().await.map(drop), fresh.open().prepare().await] {
        match refused {
            Err(DbError::LedgerUnclear { message, .. }) => assert!(message.contains(&named), "{message}"),
            other => return fail(format_args!("{other:?}")),
        }
    }
    Ok(())
}
