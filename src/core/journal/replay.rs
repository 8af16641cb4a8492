//! From entries to the state of a run, by one table of legal transitions.
//!
//! `pending → started → (started again: next attempt) → applied → passed`; `halted` and `closed` belong to the run.
//! The same table is asked before an append, so a run can never write a journal that it could not resume.

use crate::model::{DatabaseIdentity, PlanId, RunId, StepId, Token};

use super::entry::{By, Entry, FORMAT, Halt, LineError, Outcome, What};

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Nothing of it was intended yet.
    Pending,
    /// It may have effects.
    Started {
        /// Which attempt.
        attempt: u32,
    },
    /// All its effects were seen.
    Applied,
    /// Its gate held.
    Passed,
}

/// The state of a run, as its journal tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// Its name.
    pub run: RunId,
    /// Its plan.
    pub plan: PlanId,
    /// Who opened it.
    pub opened_by: By,
    /// The run that it takes back, when it aborts one.
    pub aborts: Option<RunId>,
    /// The steps, in the plan's order.
    pub steps: Vec<StepState>,
    /// Why it stands still, when it does.
    pub halted: Option<Halt>,
    /// How it ended, when it did.
    pub closed: Option<Outcome>,
    /// The run that took over from it, when one did.
    pub handed_over: Option<RunId>,
    /// The database that it was bound to anew, when it was (LAWS D13).
    pub rebound: Option<Box<DatabaseIdentity>>,
    /// Whether the present holder of the token is not the one that opened it.
    pub resumed: bool,
    /// The token of the newest entry.
    pub token: Token,
    /// The sequence number that the next entry gets.
    pub next_sequence: u64,
    /// The newest entry's hash.
    pub last_hash: String,
    /// Whether an entry has a newer format than this program writes.
    pub newer_format: bool,
}

/// An entry that the table does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The journal does not begin with the opening of a run.
    #[error("entry {0} comes before the run was opened")]
    NotOpened(u64),
    /// The run is opened a second time.
    #[error("entry {0} opens the run a second time")]
    OpenedTwice(u64),
    /// The sequence number is not the next one.
    #[error("entry {found} stands where entry {expected} should be")]
    Sequence {
        /// The number it should have.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// The hash of the entry before it is another one: a line was changed, taken out or put in.
    #[error("entry {0} does not follow from the entry before it")]
    Chain(u64),
    /// The token is lower than one seen before, or changes without a resume.
    #[error("entry {sequence} was written by token {found}, but {seen} holds the run")]
    Token {
        /// Which entry.
        sequence: u64,
        /// Its token.
        found: Token,
        /// The token that holds the run.
        seen: Token,
    },
    /// The step is not in the plan.
    #[error("entry {sequence} names step {step}, which the plan does not have")]
    NoSuchStep {
        /// Which entry.
        sequence: u64,
        /// The step.
        step: StepId,
    },
    /// The step cannot go there from where it is.
    #[error("entry {sequence}: step {step} cannot go from {from} to {to}")]
    Transition {
        /// Which entry.
        sequence: u64,
        /// The step.
        step: StepId,
        /// Where it is.
        from: &'static str,
        /// Where it should go.
        to: &'static str,
    },
    /// Steps are carried out in order, one at a time.
    #[error("entry {sequence}: step {step} starts before step {blocking} has passed")]
    Order {
        /// Which entry.
        sequence: u64,
        /// The step.
        step: StepId,
        /// The step before it that has not passed.
        blocking: StepId,
    },
    /// The run stands still, and the entry is no resume.
    #[error("entry {0} continues a run that has halted without resuming it")]
    Halted(u64),
    /// The run is over.
    #[error("entry {0} continues a run that is over")]
    Closed(u64),
    /// The run is closed as done although a step has not passed.
    #[error("entry {sequence} closes the run as done, but step {step} has not passed")]
    Unfinished {
        /// Which entry.
        sequence: u64,
        /// The step.
        step: StepId,
    },
    /// The journal holds entries of a newer format: it may be read and shown, but not continued.
    #[error("entry {0} continues a journal that a newer version of this program has written to")]
    Format(u64),
    /// A line that is no entry, with others after it.
    #[error("line {line} is damaged: {error}")]
    Damaged {
        /// Which line, from 1.
        line: usize,
        /// How.
        error: LineError,
    },
}

impl RunState {
    /// The state after a journal's first entry.
    ///
    /// # Errors
    /// When the entry is not the opening of a run.
    pub fn open(entry: &Entry, steps: usize) -> Result<Self, Illegal> {
        let What::RunOpened { run, plan, by, aborts } = &entry.what else {
            let is_newer = entry.format > FORMAT;
            let illegal = if is_newer { Illegal::Format } else { Illegal::NotOpened };
            return Err(illegal(entry.sequence));
        };
        if entry.sequence != 1 {
            return Err(Illegal::Sequence {
                expected: 1,
                found: entry.sequence,
            });
        }
        if !entry.previous.is_empty() {
            return Err(Illegal::Chain(entry.sequence));
        }
        Ok(Self {
            run: run.clone(),
            plan: *plan,
            opened_by: by.clone(),
            aborts: aborts.clone(),
            steps: vec![StepState::Pending; steps],
            halted: None,
            closed: None,
            handed_over: None,
            rebound: None,
            resumed: false,
            token: entry.token,
            next_sequence: 2,
            last_hash: entry.hash(),
            newer_format: entry.format > FORMAT,
        })
    }

    /// The state after a whole journal.
    ///
    /// # Errors
    /// When an entry is not allowed where it stands.
    pub fn replay(entries: &[Entry], steps: usize) -> Result<Option<Self>, Illegal> {
        let Some((first, rest)) = entries.split_first() else {
            return Ok(None);
        };
        let mut state = Self::open(first, steps)?;
        for entry in rest {
            state.take(entry)?;
        }
        Ok(Some(state))
    }

    /// Takes one more entry, or refuses it and stays as it was.
    ///
    /// # Errors
    /// When the table does not allow the entry here, or a newer version of this program has written to the journal.
    pub fn accept(&mut self, entry: &Entry) -> Result<(), Illegal> {
        if self.newer_format {
            return Err(Illegal::Format(entry.sequence));
        }
        self.take(entry)
    }

    /// Takes an entry that was read. From the first of a newer format on there is no table to go by: what can be
    /// understood is taken, so that it can be shown, and nothing is called damaged.
    fn take(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let sequence = entry.sequence;
        if sequence != self.next_sequence {
            return Err(Illegal::Sequence {
                expected: self.next_sequence,
                found: sequence,
            });
        }
        if !self.newer_format && entry.previous != self.last_hash {
            return Err(Illegal::Chain(sequence));
        }
        self.newer_format |= entry.format > FORMAT;
        let taken = self.follow(entry);
        if self.newer_format {
            self.token = entry.token;
        } else {
            taken?;
        }
        self.next_sequence += 1;
        self.last_hash = entry.hash();
        Ok(())
    }

    fn follow(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let sequence = entry.sequence;
        if self.is_over() {
            return Err(Illegal::Closed(sequence));
        }
        let resumes = matches!(entry.what, What::RunResumed { .. });
        // Whoever hands a run over has taken its leases, and continues another one.
        let takes_over = resumes || matches!(entry.what, What::RunHandedOver { .. });
        let wrong_token = if takes_over {
            entry.token.number <= self.token.number
        } else {
            entry.token != self.token
        };
        if wrong_token {
            return Err(Illegal::Token {
                sequence,
                found: entry.token,
                seen: self.token,
            });
        }
        if self.halted.is_some()
            && !matches!(
                entry.what,
                What::RunResumed { .. }
                    | What::RunHandedOver { .. }
                    | What::RunClosed {
                        outcome: Outcome::Stopped
                    }
            )
        {
            return Err(Illegal::Halted(sequence));
        }
        match &entry.what {
            What::RunOpened { .. } => return Err(Illegal::OpenedTwice(sequence)),
            What::RunResumed { rebound, .. } => {
                self.halted = None;
                self.resumed = true;
                if rebound.is_some() {
                    self.rebound.clone_from(rebound);
                }
            }
            What::StepStarted { step, attempt } => self.start(sequence, *step, *attempt)?,
            What::StepApplied { step, .. } => self.advance(sequence, *step, StepState::Applied)?,
            What::StepPassed { step, .. } => self.advance(sequence, *step, StepState::Passed)?,
            What::RunHalted { halt } => {
                if let Some(step) = halt.step {
                    self.slot(sequence, step)?;
                }
                self.halted = Some(halt.clone());
            }
            What::RunClosed { outcome } => {
                if *outcome == Outcome::Done
                    && let Some(step) = self.current()
                {
                    return Err(Illegal::Unfinished { sequence, step });
                }
                self.closed = Some(*outcome);
            }
            What::RunHandedOver { to } => self.handed_over = Some(to.clone()),
            What::Unknown => {}
        }
        self.token = entry.token;
        Ok(())
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.closed.is_some() || self.handed_over.is_some()
    }

    /// The first step that has not passed.
    pub fn current(&self) -> Option<StepId> {
        let index = self.steps.iter().position(|state| *state != StepState::Passed)?;
        Some(step_id(index))
    }

    /// How far a step is.
    pub fn step(&self, step: StepId) -> Option<StepState> {
        self.steps.get(usize::try_from(step.0).ok()?.checked_sub(1)?).copied()
    }

    fn slot(&mut self, sequence: u64, step: StepId) -> Result<&mut StepState, Illegal> {
        usize::try_from(step.0)
            .ok()
            .and_then(|position| position.checked_sub(1))
            .and_then(|index| self.steps.get_mut(index))
            .ok_or(Illegal::NoSuchStep { sequence, step })
    }

    fn start(&mut self, sequence: u64, step: StepId, attempt: u32) -> Result<(), Illegal> {
        let current = self.current();
        let slot = self.slot(sequence, step)?;
        let from = slot.name();
        let (expected, to) = match *slot {
            StepState::Pending => (1, "started, out of turn"),
            StepState::Started { attempt } => (attempt + 1, "started, out of turn"),
            // No attempt has this number.
            StepState::Applied | StepState::Passed => (0, "started"),
        };
        if attempt != expected || expected == 0 {
            return Err(Illegal::Transition {
                sequence,
                step,
                from,
                to,
            });
        }
        if let Some(blocking) = current.filter(|current| *current != step) {
            return Err(Illegal::Order {
                sequence,
                step,
                blocking,
            });
        }
        *slot = StepState::Started { attempt };
        Ok(())
    }

    fn advance(&mut self, sequence: u64, step: StepId, to: StepState) -> Result<(), Illegal> {
        let slot = self.slot(sequence, step)?;
        let legal = matches!(
            (*slot, to),
            (StepState::Started { .. }, StepState::Applied) | (StepState::Applied, StepState::Passed)
        );
        if !legal {
            return Err(Illegal::Transition {
                sequence,
                step,
                from: slot.name(),
                to: to.name(),
            });
        }
        *slot = to;
        Ok(())
    }
}

impl StepState {
    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started { .. } => "started",
            Self::Applied => "applied",
            Self::Passed => "passed",
        }
    }
}

fn step_id(index: usize) -> StepId {
    StepId(u32::try_from(index + 1).unwrap_or(u32::MAX))
}

/// A journal's text, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// Its entries.
    pub entries: Vec<Entry>,
    /// The torn last line, when there is one: a crash cut it, it was never durable and counts for nothing.
    pub torn: Option<String>,
    /// How many bytes of the text the entries take up; what lies behind them is the torn line.
    pub intact_bytes: usize,
}

/// Reads a journal's bytes. A damaged last line was torn by a crash, perhaps inside a character, and is reported; a
/// damaged line before it is corruption.
///
/// # Errors
/// [`Illegal::Damaged`] for a damaged line that others follow.
pub fn read_lines(bytes: impl AsRef<[u8]>) -> Result<ReadBack, Illegal> {
    let mut read = ReadBack {
        entries: Vec::new(),
        torn: None,
        intact_bytes: 0,
    };
    let lines: Vec<&[u8]> = bytes.as_ref().split_inclusive(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let last = index + 1 == lines.len();
        // A line without its line feed was not written to its end, even if what is there happens to be whole.
        let whole = line.strip_suffix(b"\n");
        let parsed = whole.map(|line| match std::str::from_utf8(line) {
            Ok(text) => Entry::from_line(text),
            Err(_) => Err(LineError::Hash),
        });
        match parsed {
            Some(Ok(entry)) => {
                read.entries.push(entry);
                read.intact_bytes += line.len();
            }
            // What has its checksum was written to its end: it is no torn line, whatever it says.
            Some(Err(error)) if !last || error != LineError::Hash => {
                return Err(Illegal::Damaged { line: index + 1, error });
            }
            _ => read.torn = Some(String::from_utf8_lossy(line).into_owned()),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
