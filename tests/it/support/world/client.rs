//! One coordinator's connection to the simulated world: the three seams over it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use stepback::{
    cluster::{Cluster, ClusterError, Counts, Exited, Follow, LogOf, Wire},
    database::{Database, DbError, LeaseRequest, Record, Reply},
    journal::{Journal, JournalError, Stored},
    run::{Stop, stop},
};
use stepback_core::{
    catalog::Migration,
    journal::{Entry, read_lines},
    model::{
        Bound, Digest, Direction, Engine, Fingerprint, LedgerRow, LookAround, MigrationSet, Pairing, PodEvent, Removal,
        RunId, RunRow, ScriptRef, SeenAround, SeenCluster, SeenDatabase, SeenWorkload, Stamp, TemplateRef, Token,
        UpdateStrategy, WorkloadRef,
    },
    plan::Plan,
};
use tokio::sync::Notify;

use super::{Called, Change, Effect, PodVersion, Refusal, Set, Shared, World, objects, set::UID};

#[derive(Clone)]
pub struct Client {
    pub world: Shared,
    /// Told when this process dies.
    pub died: Arc<Notify>,
    /// Told when this process falls asleep.
    pub asleep: Arc<Notify>,
    /// Tells this process to wake up.
    pub wake: Arc<Notify>,
    /// The wish that this process stop.
    pub stop: Stop,
    /// What it said that it tries again.
    pub retrying: Arc<Mutex<Vec<String>>>,
    token: Arc<Mutex<Option<Token>>>,
    /// The `resourceVersion` that this process has looked at: what its next write was decided on.
    looked_at: Arc<Mutex<u64>>,
    /// The same of the pods.
    looked_at_pods: Arc<Mutex<Option<Set>>>,
}

impl Client {
    pub fn new(world: Shared) -> Self {
        Client {
            world,
            died: Arc::default(),
            asleep: Arc::default(),
            wake: Arc::default(),
            stop: stop().1,
            retrying: Arc::default(),
            token: Arc::default(),
            looked_at: Arc::default(),
            looked_at_pods: Arc::default(),
        }
    }

    /// One call through a seam.
    async fn call(&self, effect: Option<Effect>) -> Result<(), Refusal> {
        self.ask(effect, |_| ()).await
    }

    /// One call through a seam, and what its answer tells of the world at that moment.
    async fn ask<T>(&self, effect: Option<Effect>, read: impl Fn(&mut World) -> T) -> Result<T, Refusal> {
        self.ask_through(World::call, effect, read).await
    }

    async fn ask_journal<T>(&self, effect: Option<Effect>, read: impl Fn(&mut World) -> T) -> Result<T, Refusal> {
        self.ask_through(World::call_journal, effect, read).await
    }

    async fn ask_through<T>(
        &self,
        seam: fn(&mut World, Option<Effect>) -> Called,
        effect: Option<Effect>,
        read: impl Fn(&mut World) -> T,
    ) -> Result<T, Refusal> {
        let (called, read_then) = {
            let mut world = self.world.lock();
            let called = seam(&mut world, effect);
            (called, read(&mut world))
        };
        match called {
            Called::Answer(answer) => answer.map(|()| read_then),
            Called::Crash => {
                self.died.notify_one();
                std::future::pending().await
            }
            Called::SleepAfter => {
                self.sleep().await;
                Ok(read_then)
            }
            Called::SleepBefore(effect) => {
                self.sleep().await;
                let mut world = self.world.lock();
                effect.map_or(Ok(()), |effect| world.land(&effect))?;
                Ok(read(&mut world))
            }
        }
    }

    async fn sleep(&self) {
        self.asleep.notify_one();
        self.wake.notified().await;
    }

    fn is_twice(&self) -> bool {
        self.world.lock().twice
    }

    /// A look at the database sees this client's lost sessions gone first (LAWS D5).
    async fn look_at_database<T>(&self, read: impl Fn(&super::Database) -> T) -> Result<T, DbError> {
        if self.is_twice() {
            drop(self.call(None).await);
        }
        let read = |world: &mut World| {
            world.end_lost_sessions();
            read(&world.database)
        };
        self.ask(None, read).await.map_err(|_| lost())
    }

    async fn change_database(&self, effect: Effect) -> Result<(), DbError> {
        self.call(Some(effect)).await.map_err(|refusal| match refusal {
            Refusal::Fenced => DbError::Fenced,
            Refusal::Ledger => DbError::Own {
                message: "the ledger is not as the script needs it".into(),
            },
            _ => lost(),
        })
    }

    async fn patch(&self, change: Change, stamp: &Stamp) -> Result<(), ClusterError> {
        let version = *self.looked_at.lock().expect("never held over a panic");
        let stamp = stamp.clone();
        self.write(&stamp.clone(), Effect::Patch { version, change, stamp })
            .await
    }

    /// A write to the pod as it was last looked at, where it is one that is to go.
    async fn write_pod(
        &self,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
        effect: fn(PodVersion, Stamp) -> Effect,
    ) -> Result<(), ClusterError> {
        let ordinal = pod.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok());
        let ordinal: i32 = ordinal.expect("a pod's name ends in its ordinal");
        let seen = {
            let seen = self.looked_at_pods.lock().expect("never held over a panic");
            let set = seen.as_ref().expect("it was looked at before");
            if set
                .stamped()
                .is_some_and(|stamped| stamped.token.number > stamp.token.number)
            {
                return Err(ClusterError::Fenced {
                    object: pod.into(),
                    token: stamp.token,
                });
            }
            let found = set.pods.get(&ordinal).filter(|_| set.is_to_go(ordinal, removal));
            found.map(|found| PodVersion {
                ordinal,
                uid: found.uid,
                version: found.version,
            })
        };
        match seen {
            Some(seen) => self.write(stamp, effect(seen, stamp.clone())).await,
            None => Ok(()),
        }
    }

    async fn write(&self, stamp: &Stamp, effect: Effect) -> Result<(), ClusterError> {
        if self.world.lock().laws.lease_seen {
            let held = self.ask(None, |world| world.cluster_token).await;
            let held = held.map_err(|_| ClusterError::Unreachable("no answer".into()))?;
            if held != Some(stamp.token) {
                return Err(ClusterError::Fenced {
                    object: "the cluster lease".into(),
                    token: held.unwrap_or(stamp.token),
                });
            }
        }
        let done = self.call(Some(effect.clone())).await.map_err(|refusal| match refusal {
            Refusal::Fenced => ClusterError::Fenced {
                object: "shop".into(),
                token: stamp.token,
            },
            Refusal::Changed => ClusterError::Changed {
                object: "shop".into(),
                message: "replicas".into(),
            },
            Refusal::Conflict => ClusterError::Conflict { object: "shop".into() },
            _ => ClusterError::Unreachable("no answer".into()),
        });
        if self.is_twice() {
            drop(self.call(Some(effect)).await);
        }
        done
    }

    async fn see(&self) -> Result<SeenWorkload, ClusterError> {
        let lost = |_| ClusterError::Unreachable("no answer".into());
        let read = |world: &mut World| (world.set.clone(), objects::seen(&world.set));
        let (set, seen) = self.ask(None, read).await.map_err(lost)?;
        *self.looked_at.lock().expect("never held over a panic") = set.version;
        *self.looked_at_pods.lock().expect("never held over a panic") = Some(set);
        Ok(seen)
    }
}

fn lost() -> DbError {
    DbError::Unreachable {
        database: "simulated".into(),
        message: "no answer".into(),
    }
}

#[async_trait]
impl Database for Client {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    async fn look(&self) -> Result<SeenDatabase, DbError> {
        unreachable!("an execution asks for parts only")
    }

    async fn ledger(&self) -> Result<Vec<LedgerRow>, DbError> {
        self.look_at_database(|database| database.ledger.clone()).await
    }

    async fn fingerprint(&self) -> Result<Fingerprint, DbError> {
        self.look_at_database(super::Database::fingerprint).await
    }

    async fn recorded_fingerprint(&self, schema: &MigrationSet) -> Result<Option<Fingerprint>, DbError> {
        self.look_at_database(|database| database.fingerprints.get(&schema.digest()).cloned())
            .await
    }

    async fn recorded(&self, record: &Record) -> Result<bool, DbError> {
        self.look_at_database(|database| database.is_kept(record)).await
    }

    async fn bodies(&self, _scripts: &[Digest]) -> Result<Vec<Vec<u8>>, DbError> {
        unreachable!("the simulated scripts have no bodies")
    }

    async fn prepare(&self) -> Result<(), DbError> {
        Ok(())
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Token, DbError> {
        let above = request.above;
        let taken = self
            .ask(Some(Effect::Acquire { above }), |world| world.database.lease)
            .await;
        let token = taken.map_err(|_| lost())?.expect("it was just taken");
        *self.token.lock().expect("never held over a panic") = Some(token);
        Ok(token)
    }

    async fn release(&self) -> Result<(), DbError> {
        let token = *self.token.lock().expect("never held over a panic");
        match token {
            Some(token) => self.change_database(Effect::Release { token }).await,
            None => Ok(()),
        }
    }

    async fn stage(&self, _token: Token, _migrations: &[Migration]) -> Result<(), DbError> {
        unreachable!("an execution stages nothing")
    }

    async fn replace(&self, _token: Token, _migration: &Migration, _reason: &str) -> Result<(), DbError> {
        unreachable!("an execution replaces nothing")
    }

    async fn write_run(&self, token: Token, row: &RunRow) -> Result<(), DbError> {
        let row = row.clone();
        self.change_database(Effect::WriteRun { row, token }).await
    }

    async fn bind(&self, _: Token, _: &Bound) -> Result<(), DbError> {
        unreachable!("an execution is open already")
    }

    async fn hand_over(&self, _: Token, _: &RunId, _: &RunRow) -> Result<(), DbError> {
        unreachable!("no run of the story takes over from another")
    }

    async fn advance(&self, direction: Direction, scripts: &[ScriptRef], stamp: &Stamp) -> Result<(), DbError> {
        // A batch is two: the caller asks the ledger and calls again, and an `Ok` proves nothing.
        for script in scripts.iter().take(2) {
            let effect = Effect::Script {
                direction,
                script: script.clone(),
                stamp: stamp.clone(),
            };
            let done = self.change_database(effect.clone()).await;
            if self.is_twice() {
                drop(self.change_database(effect).await);
            }
            done?;
        }
        Ok(())
    }

    async fn record(&self, record: &Record, stamp: &Stamp) -> Result<(), DbError> {
        let effect = Effect::Record {
            record: record.clone(),
            stamp: stamp.clone(),
        };
        if self.is_twice() {
            drop(self.change_database(effect.clone()).await);
        }
        self.change_database(effect).await
    }

    async fn write_plan(&self, _token: Token, _run: &RunId, _plan: &[u8]) -> Result<(), DbError> {
        unreachable!("the simulated journal is a place of its own")
    }

    async fn append_line(&self, _token: Token, _run: &RunId, _sequence: u64, _line: &str) -> Result<bool, DbError> {
        unreachable!("the simulated journal is a place of its own")
    }

    async fn read_lines(&self, _run: &RunId) -> Result<Option<(Vec<u8>, Vec<String>)>, DbError> {
        unreachable!("the simulated journal is a place of its own")
    }

    async fn ask(&self, _: &str, _: Duration) -> Result<Reply, DbError> {
        unreachable!("no gate of the story asks a probe")
    }

    fn redact(&self, text: &str) -> String {
        text.to_owned()
    }

    async fn runs(&self) -> Result<Vec<RunRow>, DbError> {
        unreachable!("an execution knows its run")
    }
}

#[async_trait]
impl Cluster for Client {
    async fn look(&self, _workloads: &[WorkloadRef]) -> Result<SeenCluster, ClusterError> {
        if self.is_twice() {
            drop(self.see().await);
        }
        Ok(SeenCluster {
            uid: "c".into(),
            place: None,
            workloads: vec![self.see().await?],
        })
    }

    /// Each poll lets the controller make one move; where there is none to make, nothing will ever change.
    fn changes(&self, _: &WorkloadRef, _: Follow<'_>) -> BoxStream<'static, Result<SeenWorkload, ClusterError>> {
        let step = |(client, begun): (Client, bool)| async move {
            if begun {
                let moved = client.world.lock().set.step();
                if !moved {
                    std::future::pending::<()>().await;
                }
            }
            let seen = client.see().await;
            Some((seen, (client, true)))
        };
        stream::unfold((self.clone(), false), step).boxed()
    }

    async fn scale(
        &self,
        _workload: &WorkloadRef,
        uid: &str,
        Counts { from, to, original, .. }: Counts<'_>,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        self.patch(Change::Scale { from, to, original }, stamp).await
    }

    async fn repoint(
        &self,
        _workload: &WorkloadRef,
        uid: &str,
        to: &TemplateRef,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        self.patch(Change::Repoint { to: to.clone() }, stamp).await
    }

    async fn update_strategy(
        &self,
        _workload: &WorkloadRef,
        uid: &str,
        from: &UpdateStrategy,
        to: &UpdateStrategy,
        original: &UpdateStrategy,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        let [from, to, original] = [from, to, original].map(|strategy| strategy.0.clone());
        self.patch(Change::Strategy { from, to, original }, stamp).await
    }

    async fn remove_pod(
        &self,
        _workload: &WorkloadRef,
        uid: &str,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        let effect = |pod, stamp| Effect::RemovePod { pod, stamp };
        self.write_pod(pod, removal, stamp, effect).await
    }

    async fn stamp_pod(
        &self,
        _workload: &WorkloadRef,
        uid: &str,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        let effect = |pod, stamp| Effect::StampPod { pod, stamp };
        self.write_pod(pod, removal, stamp, effect).await
    }

    async fn pair(
        &self,
        _workload: &WorkloadRef,
        uid: &str,
        revision: &TemplateRef,
        pairing: &Pairing,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        let change = Change::Pair {
            revision: revision.revision.clone().unwrap_or_default(),
            pairing: pairing.clone(),
        };
        self.patch(change, stamp).await
    }

    async fn give_back(&self, _workload: &WorkloadRef, uid: &str, stamp: &Stamp) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        self.patch(Change::GiveBack, stamp).await
    }

    async fn stamp(&self, _workload: &WorkloadRef, uid: &str, stamp: &Stamp, state: &str) -> Result<(), ClusterError> {
        assert_eq!(uid, UID);
        self.patch(Change::Stamp { state: state.into() }, stamp).await
    }

    async fn acquire(
        &self,
        _namespace: &str,
        name: &str,
        _holder: &str,
        token: Token,
        _life: Duration,
        _wait: Duration,
    ) -> Result<(), ClusterError> {
        self.call(Some(Effect::ClusterLease { token }))
            .await
            .map_err(|refusal| match refusal {
                Refusal::Fenced => ClusterError::Fenced {
                    object: name.into(),
                    token,
                },
                _ => ClusterError::Unreachable("no answer".into()),
            })
    }

    async fn release(&self) -> Result<(), ClusterError> {
        self.call(None)
            .await
            .map_err(|_| ClusterError::Unreachable("no answer".into()))
    }

    async fn dial(&self, _namespace: &str, _pod: &str, _port: u16) -> Result<Box<dyn Wire>, ClusterError> {
        Err(ClusterError::Unreachable("the simulated pods have no ports".into()))
    }

    async fn exec(&self, _: &str, _: &str, _: Option<&str>, _: &[String]) -> Result<Exited, ClusterError> {
        unreachable!("no gate of the story asks a probe")
    }

    async fn log(&self, _: &str, _: &str, _: &str, _: LogOf) -> Result<Vec<String>, ClusterError> {
        Err(ClusterError::Unreachable("the simulated pods say nothing".into()))
    }

    async fn events(&self, _: &str, _: &str, _: &str) -> Result<Vec<PodEvent>, ClusterError> {
        Err(ClusterError::Unreachable("the simulated pods say nothing".into()))
    }

    async fn look_around(&self, _: &LookAround) -> Result<SeenAround, ClusterError> {
        unreachable!("an execution has its plan")
    }

    async fn missing_exec_rights(&self, _: &str) -> Result<Vec<String>, ClusterError> {
        unreachable!("no plan of the story has a probe")
    }

    async fn missing_rights(&self, _namespace: &str, _dials: bool) -> Result<Vec<String>, ClusterError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Journal for Client {
    async fn create(&self, _run: &RunId, plan: &Plan, _token: Token) -> Result<(), JournalError> {
        let plan = plan.to_json().expect("a plan is JSON");
        let unknown = |_| JournalError::Unknown("no answer".into());
        self.ask_journal(Some(Effect::Create { plan }), |_| ())
            .await
            .map_err(unknown)
    }

    async fn append(&self, run: &RunId, entry: &Entry) -> Result<(), JournalError> {
        let effect = Effect::Append { entry: entry.clone() };
        self.ask_journal(Some(effect), |_| ())
            .await
            .map_err(|refusal| match refusal {
                Refusal::Fenced => JournalError::Fenced(run.clone()),
                _ => JournalError::Unknown("no answer".into()),
            })
    }

    async fn read(&self, run: &RunId) -> Result<Stored, JournalError> {
        let unreachable = |_| JournalError::Unreachable("no answer".into());
        let read = |world: &mut World| (world.plan.clone(), world.journal.clone());
        let (plan, bytes) = self.ask_journal(None, read).await.map_err(unreachable)?;
        let plan = plan.ok_or_else(|| JournalError::NotFound(run.clone()))?;
        let read = read_lines(&bytes).map_err(|illegal| JournalError::illegal(run, &illegal))?;
        Ok(Stored {
            plan: serde_json::from_slice(&plan).expect("what was stored was a plan"),
            entries: read.entries,
            torn: read.torn,
        })
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        unreachable!("an execution knows its run")
    }
}
