//! The lease: a row whose token is in a unique key (LAWS D4), kept alive by a heartbeat on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnectOptions;
use stepback_core::model::{LeaseSeen, Token};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::is_lock_timeout;
use super::lock::{Wanted, look_after};
use super::message::number;
use super::session::{Session, SessionId};
use super::{Own, PostgresDatabase, rows};
use crate::database::{DbError, LeaseRequest};

/// How long to wait before looking at a lease that another holds again. Its row has no event that works behind poolers.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long one attempt to change the row waits for work in flight: never long inside a lock call.
const TAKE_WAIT: Duration = Duration::from_millis(200);

const HIGHEST: &str = "SELECT max(split_part(token, '-', 1)::bigint) FROM {s}.run";
const FIRST: &str = "INSERT INTO {s}.lease (ledger, token, nonce, holder, session, life_ms, released, heartbeat_ms) \
    VALUES ($1, $2, $3, $4, $5, $6, false, {now_ms}) ON CONFLICT DO NOTHING RETURNING 1";
/// Changes a row that is still as it was seen, and still nobody's: its holder may have come back to life in between. A
/// heartbeat that has not changed for as long as the lease lives (`$9`) is a dead one's, whatever the clock says.
const TAKE_OVER: &str = "UPDATE {s}.lease SET token = $2, nonce = $3, holder = $4, session = $5, life_ms = $6, \
    released = false, heartbeat_ms = {now_ms} WHERE ledger = $1 AND token = $7 AND nonce = $8 \
    AND (released OR {now_ms} - heartbeat_ms >= life_ms OR heartbeat_ms = $9) RETURNING 1";
const BEAT: &str = "UPDATE {s}.lease SET heartbeat_ms = {now_ms} WHERE ledger = $1 AND token = $2 AND nonce = $3 \
    AND NOT released RETURNING 1";
/// What worked under the lease is named no more: behind a pooler it is somebody else's next.
const RELEASE: &str =
    "UPDATE {s}.lease SET released = true, session = '' WHERE ledger = $1 AND token = $2 AND nonce = $3";
const NAME_SESSION: &str = "UPDATE {s}.lease SET session = $4 WHERE ledger = $1 AND token = $2 AND nonce = $3";

/// A lease that is ours, and the task that keeps it alive. Dropping it stops the heartbeat and gives nothing back.
pub(super) struct Heart {
    token: Token,
    /// The lock that is held beside the lease.
    pub(super) tool_lock: Option<Wanted>,
    task: JoinHandle<()>,
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The lease as it was seen, and the session that works under it.
struct Seen {
    lease: Option<(LeaseSeen, Option<SessionId>)>,
    /// The heartbeat that has been the same for as long as the lease lives.
    silent: Option<i64>,
    highest: u64,
}

/// What no heartbeat is.
const NO_HEARTBEAT: i64 = -1;

impl PostgresDatabase {
    pub(super) async fn take_lease(&self, request: &LeaseRequest) -> Result<Token, DbError> {
        let deadline = Instant::now() + request.wait;
        self.find_ledger().await?;
        loop {
            let seen = self.see_lease().await?;
            let holder = seen.lease.as_ref().map(|(lease, _)| lease.clone());
            if (seen.silent.is_some() || holder.as_ref().is_none_or(|lease| !lease.is_alive()))
                && let Some(token) = self.try_lease(request, &seen).await?
            {
                self.ledger.settle();
                return self.hold(token, request.life, deadline).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(match self.see_lease().await?.lease {
                    Some((lease, _)) => DbError::Held(Box::new(lease)),
                    None => DbError::Busy {
                        message: "another coordinator is taking the lease for the first time".to_owned(),
                    },
                });
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    /// Keeps the lease alive, and takes the lock of the ledger's tool too. Without that the lease is given back.
    async fn hold(&self, token: Token, life: Duration, deadline: Instant) -> Result<Token, DbError> {
        *self.heart.lock().await = Some(self.start_heart(token, life, None));
        let locked = async {
            let Some(wanted) = self.wanted_tool_lock().await? else {
                return Ok(());
            };
            self.take_tool_lock(&wanted, deadline).await?;
            *self.heart.lock().await = Some(self.start_heart(token, life, Some(wanted)));
            Ok(())
        };
        let locked: Result<(), DbError> = locked.await;
        match locked {
            Ok(()) => Ok(token),
            Err(error) => {
                // What is said is why there is no lock; a lease that stays dies by itself.
                drop(self.give_lease_back().await);
                Err(error)
            }
        }
    }

    async fn see_lease(&self) -> Result<Seen, DbError> {
        let queries = [self.fill(rows::LEASE, &[]), self.fill(HIGHEST, &[])];
        let doing = "looking at the lease";
        let results = self.read(doing, &queries.join("; ")).await?;
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let lease = results[0].first().map(|row| {
            let session = row.try_get::<&str, _>("session").map_err(failed)?;
            let heartbeat: i64 = row.try_get("heartbeat_ms").map_err(failed)?;
            Ok::<_, DbError>((rows::lease(row)?, SessionId::parse(session), heartbeat))
        });
        let lease = lease.transpose()?;
        let silent = lease.as_ref().and_then(|(lease, _, heartbeat)| {
            let life = Duration::from_millis(lease.life_ms);
            let is_silent = self.silence.has_lasted(lease.token, *heartbeat, life);
            is_silent.then_some(*heartbeat)
        });
        let highest: Option<i64> = results[1]
            .first()
            .ok_or(sqlx::Error::RowNotFound)
            .and_then(|row| row.try_get(0))
            .map_err(failed)?;
        Ok(Seen {
            lease: lease.map(|(lease, session, _)| (lease, session)),
            silent,
            highest: highest.and_then(|highest| u64::try_from(highest).ok()).unwrap_or(0),
        })
    }

    /// Takes a lease that nobody holds. `None`: somebody else was faster, or work of the last holder is in flight, which
    /// was asked to end.
    async fn try_lease(&self, request: &LeaseRequest, seen: &Seen) -> Result<Option<Token>, DbError> {
        let doing = "taking the lease";
        let in_row = seen.lease.as_ref().map_or(0, |(lease, _)| lease.token.number);
        let token = Token {
            number: in_row.max(seen.highest).max(request.above) + 1,
            nonce: random_bits(),
        };
        // Whoever gave the lease back was done; what its session does now is nobody's business of ours.
        let left = seen.lease.as_ref().filter(|(lease, _)| !lease.released);
        let last = left.and_then(|(_, session)| session.as_ref());
        let mut work = self.work().await?;
        let session = work.session.as_ref().expect("`work` has opened it").id().to_string();
        let ledger = self.ledger.get();
        let mut values = vec![
            (&ledger.table).into(),
            number(token).into(),
            i64::from(token.nonce).into(),
            (&request.holder).into(),
            (&session).into(),
            i64::try_from(request.life.as_millis()).unwrap_or(i64::MAX).into(),
        ];
        let change = match &seen.lease {
            None => self.fill(FIRST, &values),
            Some((old, _)) => {
                values.push(number(old.token).into());
                values.push(i64::from(old.token.nonce).into());
                values.push(seen.silent.unwrap_or(NO_HEARTBEAT).into());
                self.fill(TAKE_OVER, &values)
            }
        };
        let settings = self.settings_with(TAKE_WAIT.min(self.options.lock_wait));
        let message = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}; {change}; COMMIT");
        let taken = match self.send(&mut work, message).await {
            Ok(results) => !results[2].is_empty(),
            Err(failed) if is_lock_timeout(&failed.error) => {
                // Work of the last holder is in flight. Its client is silent for longer than it may be.
                if let (Some(last), Some(session)) = (last, work.session.as_mut()) {
                    self.see_gone(session, last, Own::No).await?;
                }
                return Ok(None);
            }
            Err(failed) => return Err(self.explain(doing, &failed.error)),
        };
        if !taken {
            return Ok(None);
        }
        work.token = Some(token);
        // The fence holds from here on; what of the dead holder is still running outside of it must end (LAWS D5).
        if let (Some(last), Some(session)) = (last, work.session.as_mut()) {
            self.see_gone(session, last, Own::No).await?;
        }
        Ok(Some(token))
    }

    /// Renews the heartbeat every third of the lease's life. One that cannot be written is not a loss: the token decides.
    fn start_heart(&self, token: Token, life: Duration, tool_lock: Option<Wanted>) -> Heart {
        let connect = self.connect.clone();
        let ledger = self.ledger.get();
        let values = [
            (&ledger.table).into(),
            number(token).into(),
            i64::from(token.nonce).into(),
        ];
        let beat = self.fill(BEAT, &values);
        let message = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; {beat}; COMMIT",
            self.settings()
        );
        let slot = Arc::clone(&self.tool_lock);
        let looked_after = tool_lock.clone();
        let task = tokio::spawn(async move {
            let mut session = None;
            loop {
                tokio::time::sleep(life / 3).await;
                match beat_once(&connect, &mut session, &message).await {
                    Ok(true) => {
                        if let Some(wanted) = &looked_after {
                            look_after(&connect, &slot, wanted).await;
                        }
                    }
                    Ok(false) => {
                        // The lease is another's, and so is the lock.
                        *slot.lock().await = None;
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "the heartbeat could not be written"),
                }
            }
        });
        Heart { token, tool_lock, task }
    }

    /// The message that names the session which works under a token.
    pub(super) fn name_session(&self, token: Token, session: &str) -> String {
        let ledger = self.ledger.get();
        let values = [
            (&ledger.table).into(),
            number(token).into(),
            i64::from(token.nonce).into(),
            session.into(),
        ];
        let update = self.fill(NAME_SESSION, &values);
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; {update}; COMMIT",
            self.settings()
        )
    }

    pub(super) async fn give_lease_back(&self) -> Result<(), DbError> {
        let Some(heart) = self.heart.lock().await.take() else {
            return Ok(());
        };
        let token = heart.token;
        drop(heart);
        self.give_tool_lock_back().await;
        let ledger = self.ledger.get();
        let values = [
            (&ledger.table).into(),
            number(token).into(),
            i64::from(token.nonce).into(),
        ];
        let release = self.fill(RELEASE, &values);
        let message = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; {release}; COMMIT",
            self.settings()
        );
        let given = self.ask("giving the lease back", message).await.map(drop);
        self.work.lock().await.token = None;
        given
    }
}

/// Writes one heartbeat; `false` when the lease is not held under the token any more.
async fn beat_once(connect: &PgConnectOptions, slot: &mut Option<Session>, message: &str) -> Result<bool, sqlx::Error> {
    let mut session = match slot.take() {
        Some(session) => session,
        None => Session::open(connect, Duration::ZERO).await?,
    };
    match session.send(message.to_owned()).await {
        Ok(results) => {
            *slot = Some(session);
            Ok(results.get(2).is_none_or(|rows| !rows.is_empty()))
        }
        Err(failed) => {
            *slot = (!failed.ended).then_some(session);
            Err(failed.error)
        }
    }
}

/// The low bits of a fresh ULID, which are random.
fn random_bits() -> u32 {
    let low = u128::from(ulid::Ulid::generate()) & u128::from(u32::MAX);
    u32::try_from(low).expect("masked to 32 bits")
}
