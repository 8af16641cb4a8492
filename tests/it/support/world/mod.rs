//! A world that survives its coordinators: a database, a cluster and a journal's bytes, behind one fuse.
//!
//! Every call through a seam is counted; a fault can be laid at any number. It models what the real ones promise
//! (tokens that fence, transactions, `resourceVersion`, a controller that moves pods), and [`Laws`] can switch some of
//! these promises off, to show that they are needed. It notes every breach of the executor's laws in `breaches`.

mod client;
mod coordinator;
mod database;
pub mod objects;
pub mod set;
mod workload;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use stepback::database::Record;
use stepback_core::{
    journal::{Entry, What, read_lines},
    model::{Direction, RunRow, ScriptRef, Stamp, StepId, Token},
};
use tokio::time::Instant;

pub use client::Client;
pub use coordinator::{Life, coordinate, live_until_closed};
pub use database::{Database, fingerprint_of};
pub use set::{Change, Set};
pub use workload::PodVersion;

/// What happens at one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The process dies before the effect.
    CrashBefore,
    /// The process dies after the effect.
    CrashAfter,
    /// As `CrashBefore`, but so many thousandths of a journal line are written.
    Tear(usize),
    /// An error, and no effect.
    ErrorBefore,
    /// The effect, and then an error: a lost reply.
    ErrorAfter,
    /// An error, and the effect this many calls later.
    Later(u32),
    /// Somebody starts the workload that was stopped, with so many pods, as soon as it is stopped; but between a look and
    /// the write that was decided on it, and between two scripts of one batch, nobody is that fast.
    Started(i32),
    /// This pod turns unready at this call, for good, where it is of the release that is left.
    TurnsUnready(i32),
    /// From this call on the journal gives no answer, for so many seconds. Where `takes_one`, the first append that comes
    /// meanwhile has its effect all the same.
    JournalAway { seconds: u64, takes_one: bool },
    /// The process sleeps before the effect, until it is woken.
    SleepBefore,
    /// The process sleeps after the effect, until it is woken.
    SleepAfter,
}

/// Promises of the real seams that can be broken to see the suite go red.
#[derive(Clone, Copy, Debug)]
pub struct Laws {
    /// Looking and taking over see a lost session's work ended first (LAWS D5).
    pub session_seen_gone: bool,
    /// Writes to the cluster are made under the version that was looked at (LAWS W6).
    pub precondition: bool,
    /// Between the look that a write to the cluster is decided on and the write, the cluster Lease is seen to be ours
    /// still: the stamp of a rival who has finished is gone again.
    pub lease_seen: bool,
    /// Transactions check the token (LAWS D4).
    pub token: bool,
}

/// How a lost session ends when somebody waits for it to be gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LostSession {
    Commits,
    IsKilled,
}

/// A change on its way through a seam.
#[derive(Clone, Debug)]
pub enum Effect {
    Acquire {
        above: u64,
    },
    Release {
        token: Token,
    },
    Script {
        direction: Direction,
        script: ScriptRef,
        stamp: Stamp,
    },
    Record {
        record: Record,
        stamp: Stamp,
    },
    WriteRun {
        row: RunRow,
        token: Token,
    },
    ClusterLease {
        token: Token,
    },
    Patch {
        version: u64,
        change: Change,
        stamp: Stamp,
    },
    /// A delete of exactly this pod.
    RemovePod {
        pod: PodVersion,
        stamp: Stamp,
    },
    StampPod {
        pod: PodVersion,
        stamp: Stamp,
    },
    Create {
        plan: Vec<u8>,
    },
    Append {
        entry: Entry,
    },
}

/// Why an effect was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No answer came: nothing is known.
    Lost,
    Fenced,
    Conflict,
    Changed,
    /// The ledger is not as the script needs it.
    Ledger,
}

/// An effect that was accepted and is not done yet.
#[derive(Clone, Debug)]
struct Pending {
    due: u32,
    effect: Effect,
}

#[derive(Clone, Debug)]
pub struct World {
    pub database: Database,
    pub set: Set,
    pub cluster_token: Option<Token>,
    /// The stored plan, as JSON.
    pub plan: Option<Vec<u8>>,
    /// The journal's bytes, as a file would have them.
    pub journal: Vec<u8>,
    /// The whole lines of `journal`, read.
    pub entries: Vec<Entry>,
    /// Calls through a seam so far.
    pub calls: u32,
    pub faults: BTreeMap<u32, Fault>,
    pub laws: Laws,
    pub lost_session: LostSession,
    /// Whether every look and every change is made twice.
    pub twice: bool,
    /// Breaches of the executor's laws, found while they happened.
    pub breaches: Vec<String>,
    /// How many pods were removed by the coordinators.
    pub removals: usize,
    /// When the journal answers again, and whether it still takes an append until then.
    pub journal_away: Option<(Instant, bool)>,
    pending: Vec<Pending>,
}

/// What became of a call.
pub(super) enum Called {
    Answer(Result<(), Refusal>),
    Crash,
    /// Sleep, and then land this.
    SleepBefore(Option<Box<Effect>>),
    SleepAfter,
}

impl World {
    pub fn new(database: Database, set: Set) -> Self {
        World {
            database,
            set,
            cluster_token: None,
            plan: None,
            journal: Vec::new(),
            entries: Vec::new(),
            calls: 0,
            faults: BTreeMap::new(),
            laws: Laws {
                session_seen_gone: true,
                precondition: true,
                lease_seen: true,
                token: true,
            },
            lost_session: LostSession::Commits,
            twice: false,
            removals: 0,
            breaches: Vec::new(),
            journal_away: None,
            pending: Vec::new(),
        }
    }

    /// The same world with these faults from now on, counted from its next call as 1.
    pub fn with(&self, faults: &[(u32, Fault)]) -> Self {
        let mut world = self.clone();
        world.faults = faults.iter().map(|(at, fault)| (world.calls + at, *fault)).collect();
        world
    }

    pub fn share(self) -> Shared {
        Shared(Arc::new(Mutex::new(self)))
    }

    /// A call of the journal.
    fn call_journal(&mut self, effect: Option<Effect>) -> Called {
        self.take_journal_away();
        let Some((_, takes_one)) = self.journal_away.filter(|(back, _)| Instant::now() < *back) else {
            return self.call(effect);
        };
        self.calls += 1;
        if let (true, Some(effect @ Effect::Append { .. }), Some(away)) = (takes_one, effect, &mut self.journal_away) {
            away.1 = false;
            drop(self.land(&effect));
        }
        Called::Answer(Err(Refusal::Lost))
    }

    fn take_journal_away(&mut self) {
        let next = self.calls + 1;
        if let Some(Fault::JournalAway { seconds, takes_one }) = self.faults.get(&next).copied() {
            self.faults.remove(&next);
            self.journal_away = Some((Instant::now() + Duration::from_secs(seconds), takes_one));
        }
    }

    fn call(&mut self, effect: Option<Effect>) -> Called {
        self.take_journal_away();
        self.calls += 1;
        if let Some(Fault::TurnsUnready(ordinal)) = self.faults.get(&self.calls) {
            self.set.turn_unready(*ordinal);
        }
        // The controller does not wait for us.
        if self.calls.is_multiple_of(3) {
            self.set.step();
        }
        self.land_due();
        self.start_by_another(effect.as_ref());
        let land = |world: &mut World, effect: Option<Effect>| effect.map_or(Ok(()), |effect| world.land(&effect));
        match self.faults.remove(&self.calls) {
            None | Some(Fault::Started(_) | Fault::TurnsUnready(_) | Fault::JournalAway { .. }) => {
                Called::Answer(land(self, effect))
            }
            Some(Fault::CrashBefore) => Called::Crash,
            Some(Fault::CrashAfter) => {
                drop(land(self, effect));
                Called::Crash
            }
            Some(Fault::Tear(thousandths)) => {
                if let Some(Effect::Append { entry }) = effect {
                    self.cut_torn();
                    let line = entry.to_line() + "\n";
                    // Never the whole line: that would be `CrashAfter`.
                    self.journal
                        .extend(&line.as_bytes()[..(line.len() - 1) * thousandths / 1000]);
                }
                Called::Crash
            }
            Some(Fault::ErrorBefore) => Called::Answer(Err(Refusal::Lost)),
            Some(Fault::ErrorAfter) => {
                drop(land(self, effect));
                Called::Answer(Err(Refusal::Lost))
            }
            Some(Fault::Later(calls)) => {
                if let Some(effect) = effect.filter(|effect| self.is_accepted(effect)) {
                    let due = self.calls + calls;
                    self.pending.push(Pending { due, effect });
                }
                Called::Answer(Err(Refusal::Lost))
            }
            Some(Fault::SleepBefore) => Called::SleepBefore(effect.map(Box::new)),
            Some(Fault::SleepAfter) => {
                drop(land(self, effect));
                Called::SleepAfter
            }
        }
    }

    /// A fault that waits for its moment: it comes at its call, or at the first one after it that fits.
    fn start_by_another(&mut self, effect: Option<&Effect>) {
        let calls = self.calls;
        let due = self.faults.range(..=calls).find_map(|(at, fault)| match fault {
            Fault::Started(pods) => Some((*at, *pods)),
            _ => None,
        });
        let Some((at, pods)) = due else { return };
        let is_stopped = self.set.replicas == 0 && self.set.pods.is_empty();
        if is_stopped && !matches!(effect, Some(Effect::Script { .. } | Effect::Patch { .. })) {
            self.faults.remove(&at);
            self.set.scale_by_another(pods);
            while self.set.step() {}
        }
    }

    /// Whether the server takes the request, to be done later. A transaction has checked what it checks by then.
    fn is_accepted(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Script {
                direction,
                script,
                stamp,
            } => self.may_run(*direction, script, stamp.token).is_ok(),
            Effect::Record { stamp, .. } => self.may_write(stamp.token).is_ok(),
            Effect::Patch { .. } | Effect::RemovePod { .. } | Effect::StampPod { .. } | Effect::Append { .. } => true,
            // Taking over and the run's row are one statement each; these are lost before or after, never late.
            _ => false,
        }
    }

    fn land(&mut self, effect: &Effect) -> Result<(), Refusal> {
        match effect {
            Effect::Acquire { above } => {
                self.end_lost_sessions();
                self.database.acquire(*above);
                Ok(())
            }
            Effect::Release { token } => {
                if self.database.lease == Some(*token) {
                    self.database.released = true;
                }
                Ok(())
            }
            Effect::Script {
                direction,
                script,
                stamp,
            } => {
                self.may_run(*direction, script, stamp.token)?;
                self.commit(effect);
                Ok(())
            }
            Effect::Record { stamp, .. } => {
                self.may_write(stamp.token)?;
                self.commit(effect);
                Ok(())
            }
            Effect::WriteRun { row, token } => {
                self.may_write(*token)?;
                self.database.run = Some(row.clone());
                Ok(())
            }
            Effect::ClusterLease { token } => {
                if self.cluster_token.is_some_and(|held| held.number > token.number) {
                    return Err(Refusal::Fenced);
                }
                self.cluster_token = Some(*token);
                Ok(())
            }
            Effect::Patch { version, change, stamp } => self.patch(*version, change, stamp),
            Effect::RemovePod { pod, stamp } => self.remove_pod(pod, stamp),
            Effect::StampPod { pod, stamp } => self.stamp_pod(pod, stamp),
            Effect::Create { plan } => {
                self.plan = Some(plan.clone());
                Ok(())
            }
            Effect::Append { entry } => self.append(entry),
        }
    }

    fn may_write(&self, token: Token) -> Result<(), Refusal> {
        if self.laws.token && self.database.lease != Some(token) {
            return Err(Refusal::Fenced);
        }
        Ok(())
    }

    fn may_run(&self, direction: Direction, script: &ScriptRef, token: Token) -> Result<(), Refusal> {
        self.may_write(token)?;
        let applied = self.database.has(&script.migration.version);
        if applied != (direction == Direction::Down) {
            return Err(Refusal::Ledger);
        }
        Ok(())
    }

    /// The end of a transaction that has checked everything, however long ago.
    fn commit(&mut self, effect: &Effect) {
        match effect {
            Effect::Script {
                direction,
                script,
                stamp,
            } => {
                self.watch_intent(stamp, "a script was run");
                if let Some(expected) = self.database.pods_while_scripts_run
                    && self.set.pods.len() != expected
                {
                    let pods = self.set.pods.len();
                    self.breaches
                        .push(format!("{} ran while {pods} pods were there", script.migration));
                }
                if let Err(breach) = self.database.run_script(*direction, script) {
                    self.breaches.push(breach);
                }
            }
            Effect::Record { record, stamp } => {
                self.watch_intent(stamp, "a fact was recorded");
                self.database.keep(record);
            }
            _ => {}
        }
    }

    /// No effect without its intent on disk, and none past a closed gate.
    fn watch_intent(&mut self, stamp: &Stamp, what: &str) {
        let of = |step: StepId| {
            let mut last = "nothing";
            for entry in &self.entries {
                match &entry.what {
                    What::StepStarted { step: named, .. } if *named == step => last = "started",
                    What::StepApplied { step: named, .. } if *named == step => last = "applied",
                    What::StepPassed { step: named, .. } if *named == step => last = "passed",
                    _ => {}
                }
            }
            last
        };
        if of(stamp.step) == "nothing" {
            self.breaches
                .push(format!("step {}: {what} without its intent on disk", stamp.step));
        }
        if let Some(open) = (1..stamp.step.0).map(StepId).find(|before| of(*before) != "passed") {
            self.breaches
                .push(format!("step {}: {what} before step {open} had passed", stamp.step));
        }
    }

    fn append(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let follows = entry.sequence == self.entries.len() as u64 + 1
            && entry.previous == self.entries.last().map(Entry::hash).unwrap_or_default();
        if !follows {
            return Err(Refusal::Fenced);
        }
        self.cut_torn();
        self.journal.extend((entry.to_line() + "\n").as_bytes());
        self.entries.push(entry.clone());
        Ok(())
    }

    fn cut_torn(&mut self) {
        if self.journal.last().is_some_and(|byte| *byte != b'\n') {
            let read = read_lines(&self.journal).expect("no line before the last is damaged");
            self.journal.truncate(read.intact_bytes);
        }
    }

    fn land_due(&mut self) {
        let calls = self.calls;
        let (due, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.due <= calls);
        self.pending = rest;
        for Pending { effect, .. } in due {
            self.land_late(&effect);
        }
    }

    /// A transaction has made its checks long ago; a patch or an append makes them now.
    fn land_late(&mut self, effect: &Effect) {
        match effect {
            Effect::Script { .. } | Effect::Record { .. } => self.commit(effect),
            _ => drop(self.land(effect)),
        }
    }

    /// Nobody looks at the database, or takes it over, while a lost session still works in it.
    pub(super) fn end_lost_sessions(&mut self) {
        if !self.laws.session_seen_gone {
            return;
        }
        let in_database = |pending: &Pending| matches!(pending.effect, Effect::Script { .. } | Effect::Record { .. });
        let (lost, rest) = std::mem::take(&mut self.pending).into_iter().partition(in_database);
        self.pending = rest;
        if self.lost_session == LostSession::Commits {
            for Pending { effect, .. } in lost {
                self.commit(&effect);
            }
        }
    }

    /// Lets everything that was ever accepted happen.
    pub fn come_to_rest(&mut self) {
        for Pending { effect, .. } in std::mem::take(&mut self.pending) {
            self.land_late(&effect);
        }
        while self.set.step() {}
    }
}

/// The world, as its coordinators share it.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("nobody panics while holding the world")
    }
}
