//! One server session: messages of several statements to it, and which session it is (LAWS D5, D14).
//!
//! Everything goes through the simple protocol: no prepared statements, one round trip for a whole transaction, and
//! settings are `SET LOCAL` only, so that nothing of ours leaks through a transaction pooler.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Row as _};

use super::error::ends_session;
use super::quote::{Names, Value, fill};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How much longer than a statement may take an answer may take. The server ends a statement at its limit, so what is
/// silent for longer is not there any more: a firewall forgot the connection, or the host was lost without a word.
const SILENCE: Duration = Duration::from_secs(30);

/// How every session of ours is named outside of its transactions.
pub(super) const PROGRAM: &str = "stepback";

/// A server session, by what no later session shares with it, and nobody who is given it by a pooler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionId {
    /// The server process.
    pub(super) pid: i64,
    /// When it began, as [`WHO`] prints it.
    pub(super) started: String,
    /// What its client calls itself in every transaction: one value's own name.
    pub(super) name: String,
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.pid, self.started, self.name)
    }
}

impl SessionId {
    /// Reads what [`Display`](std::fmt::Display) wrote into the lease row.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        Some(Self {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.to_owned(),
            name: words.next().unwrap_or(PROGRAM).to_owned(),
        })
    }
}

/// What is known of a session that should do nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It does not exist, or works for somebody else by now.
    Gone,
    /// It exists and runs nothing, nor is it in a transaction.
    Idle,
    /// It is working, or in a transaction.
    Working,
    /// A session with this pid exists, and this role may not see more of it.
    Hidden,
}

/// An open connection. `None` inside means that it was lost or ended.
pub(super) struct Session {
    connection: PgConnection,
    id: SessionId,
    patience: Duration,
}

/// What each statement of a message returned.
pub(super) type Results = Vec<Vec<PgRow>>;

/// Why a message failed, and how many of its statements had been completed by then.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: sqlx::Error,
    pub(super) completed: usize,
    /// Whether the session cannot be used any more.
    pub(super) ended: bool,
    /// Whether it took longer than it may: the session may still be working, and is not listened to any more.
    pub(super) late: bool,
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self {
            ended: ends_session(&error),
            error,
            completed: 0,
            late: false,
        }
    }
}

/// Asks which session this is, and whether string constants mean what [`super::quote`] and core's reader take them for.
const WHO: &str = "SELECT pid::bigint, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') AS started, \
    current_setting('standard_conforming_strings') AS strings \
    FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";

/// The timeline of the log being written, as eight hexadecimal digits. A standby writes none. The control file names the
/// new one only after the next checkpoint, which takes minutes on a server that has just been promoted.
macro_rules! written_timeline {
    () => {
        "pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)"
    };
}
pub(super) use written_timeline;

const SERVER: &str = concat!(
    "SELECT (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
     || CASE WHEN pg_catalog.pg_is_in_recovery() THEN ', a standby' ELSE ', timeline ' || ",
    written_timeline!(),
    " END"
);

/// Whether a session works for the client of this name. A pooler gives a server session to one client after the other. In
/// a transaction of ours it has our name, which anybody may see, unless the script has set another: but then the text that
/// it runs names us. The name it has outside of transactions stays with it when the next client has none (PgBouncer 1.18),
/// so that it says something of an idle session only: a message of ours may still be on its way to it.
macro_rules! works_for {
    ($name:literal) => {
        concat!(
            "(application_name = ",
            $name,
            " OR pg_catalog.strpos(query, ",
            $name,
            ") > 0 OR (state = 'idle' AND application_name = 'stepback'))"
        )
    };
}

const LIFE: &str = concat!(
    "SELECT state, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') AS started, coalesce(",
    works_for!("$2"),
    ", false) AS ours FROM pg_catalog.pg_stat_activity WHERE pid = $1"
);

/// Terminates a session only while it is that very session, and works for that very client.
const TERMINATE: &str = concat!(
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
     WHERE pid = $1 AND to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') = $2 AND ",
    works_for!("$3")
);

impl Session {
    /// Connects. `statement` is the limit that the server will be given for one statement.
    pub(super) async fn open(options: &PgConnectOptions, statement: Duration) -> Result<Self, sqlx::Error> {
        let mut connection = within(CONNECT, options.connect()).await?;
        let asking = sqlx::raw_sql(WHO).fetch_all(&mut connection);
        let rows = within(CONNECT, asking).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        if row.try_get::<&str, _>("strings")? != "on" {
            let message =
                "standard_conforming_strings is off for this role or database; scripts would be read in two ways";
            return Err(sqlx::Error::Configuration(message.into()));
        }
        let id = SessionId {
            pid: row.try_get("pid")?,
            started: row.try_get("started")?,
            name: PROGRAM.to_owned(),
        };
        Ok(Self {
            connection,
            id,
            patience: statement.saturating_add(SILENCE),
        })
    }

    /// The session of a client that calls itself this in every transaction.
    pub(super) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.id.name);
        self
    }

    /// Which database answers: of two answers that differ, one comes from a restored copy, or from a standby that took
    /// over and may lack what was committed last (LAWS D13). `None` where the server cannot be asked.
    pub(super) async fn server(&mut self) -> Option<String> {
        let results = self.send(SERVER.to_owned()).await.ok()?;
        results.first()?.first()?.try_get(0).ok()
    }

    /// Which session this is.
    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }

    /// Sends one message and collects what each of its statements returns. After an error no transaction is left open,
    /// or the session has [ended](Failed::ended): so also when the server is silent for longer than a statement may take.
    pub(super) async fn send(&mut self, message: String) -> Result<Results, Failed> {
        self.listen(message, self.patience).await
    }

    /// As [`send`](Session::send), for a message of scripts, all of which may take this long (LAWS D17). What the server
    /// says of the first ones may wait in its buffer until the last is done, so silence means nothing before.
    pub(super) async fn send_scripts(&mut self, message: String, limit: Duration) -> Result<Results, Failed> {
        let patience = limit.saturating_add(SILENCE);
        match tokio::time::timeout(limit, self.listen(message, patience)).await {
            Ok(sent) => sent,
            Err(_) => Err(Failed {
                late: true,
                ended: true,
                ..Failed::from(silent(limit))
            }),
        }
    }

    async fn listen(&mut self, message: String, patience: Duration) -> Result<Results, Failed> {
        let mut results = vec![Vec::new()];
        let outcome = {
            let mut stream = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(&mut self.connection);
            loop {
                match within(patience, stream.try_next()).await {
                    Ok(Some(Either::Right(row))) => results.last_mut().expect("there is always a last one").push(row),
                    Ok(Some(Either::Left(_))) => results.push(Vec::new()),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        };
        results.pop();
        let Err(error) = outcome else { return Ok(results) };
        let mut ended = ends_session(&error);
        if !ended {
            // Outside of a transaction this is a warning and nothing else.
            let rolling_back = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection);
            ended = within(self.patience, rolling_back).await.is_err();
        }
        Err(Failed {
            error,
            completed: results.len(),
            ended,
            late: false,
        })
    }

    /// Says good-bye, so that the server's log holds no broken connection. It needs no answer.
    pub(super) async fn close(self) {
        drop(self.connection.close().await);
    }

    /// What another session is doing.
    pub(super) async fn life_of(&mut self, other: &SessionId) -> Result<Life, Failed> {
        let rows = self
            .send(fill(
                LIFE,
                Names::default(),
                &[Value::Int(other.pid), Value::Text(&other.name)],
            ))
            .await?;
        let Some(row) = rows.first().and_then(|rows| rows.first()) else {
            return Ok(Life::Gone);
        };
        if !row.try_get::<bool, _>("ours")? {
            return Ok(Life::Gone);
        }
        Ok(match row.try_get::<Option<&str>, _>("started")? {
            None => Life::Hidden,
            Some(started) if started != other.started => Life::Gone,
            Some(_) if row.try_get::<Option<&str>, _>("state")? == Some("idle") => Life::Idle,
            Some(_) => Life::Working,
        })
    }

    /// Asks the server to end another session. It is not gone yet when this returns.
    pub(super) async fn terminate(&mut self, other: &SessionId) -> Result<(), Failed> {
        let message = fill(
            TERMINATE,
            Names::default(),
            &[
                Value::Int(other.pid),
                Value::Text(&other.started),
                Value::Text(&other.name),
            ],
        );
        self.send(message).await.map(drop)
    }
}

/// Waits for an answer, and no longer than this.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let answered = tokio::time::timeout(limit, answer).await;
    answered.unwrap_or_else(|_| Err(silent(limit)))
}

fn silent(limit: Duration) -> sqlx::Error {
    let message = format!(
        "no answer within {} s; the connection is taken for lost",
        limit.as_secs()
    );
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_says_nothing_is_taken_for_lost() {
        let silent = within(Duration::from_millis(1), std::future::pending::<Result<(), _>>());
        let failed = Failed::from(silent.await.unwrap_err());
        assert!(failed.ended, "another session is opened, which sees this one gone");
        assert!(failed.error.to_string().contains("taken for lost"), "{}", failed.error);
    }

    #[test]
    fn a_session_is_read_as_it_was_written_also_by_an_older_version() {
        let id = SessionId {
            pid: 17,
            started: "2026-01-02T03:04:05.000006".to_owned(),
            name: "stepback-01J8".to_owned(),
        };
        assert_eq!(SessionId::parse(&id.to_string()), Some(id.clone()));
        let old = SessionId::parse("17 2026-01-02T03:04:05.000006").unwrap();
        assert_eq!((old.pid, old.started, old.name.as_str()), (17, id.started, "stepback"));
        assert_eq!(SessionId::parse(""), None);
    }
}
