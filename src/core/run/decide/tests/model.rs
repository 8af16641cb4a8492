//! `decide` over random plans and random faults, with a world of numbers: fast, and without any seam.

use proptest::prelude::*;

use super::*;

/// What goes wrong at one call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Answered with an error; nothing happened.
    Before(bool),
    /// It happened; the answer was an error.
    After(bool),
    /// Only part of it happened, and the answer was a success.
    Part,
    /// The process died before the call.
    CrashBefore,
    /// The process died after it.
    CrashAfter,
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        6 => Just(Fault::None),
        1 => any::<bool>().prop_map(Fault::Before),
        1 => any::<bool>().prop_map(Fault::After),
        1 => Just(Fault::Part),
        1 => Just(Fault::CrashBefore),
        1 => Just(Fault::CrashAfter),
    ];
    prop::collection::vec(fault, 0..40)
}

struct Crash;

struct World {
    /// For each step how much of it is done, and of how much.
    steps: Vec<(u32, u32)>,
    entries: Vec<Entry>,
    faults: std::vec::IntoIter<Fault>,
    performs: u32,
}

impl World {
    fn fault(&mut self) -> Fault {
        self.faults.next().unwrap_or(Fault::None)
    }

    fn observe(&mut self, step: StepId) -> Result<Result<Observed, Failure>, Crash> {
        match self.fault() {
            Fault::CrashBefore | Fault::CrashAfter => return Err(Crash),
            Fault::Before(retry) | Fault::After(retry) => return Ok(Err(failure(retry))),
            Fault::None | Fault::Part => {}
        }
        let (done, of) = self.steps[step.0 as usize - 1];
        Ok(Ok(match done {
            done if done == of => Observed::Done("seen".into()),
            0 => Observed::Untouched,
            done => Observed::Partial(Progress { done, of }),
        }))
    }

    /// Carries on from where the caller saw it; doing any of it twice would show.
    fn perform(&mut self, step: StepId, seen: &Observed) -> Result<Result<(), Failure>, Crash> {
        self.performs += 1;
        let durable = self
            .entries
            .iter()
            .any(|entry| matches!(entry.what, What::StepStarted { step: s, .. } if s == step));
        assert!(durable, "step {step} is carried out without its StepStarted");
        for earlier in &self.steps[..step.0 as usize - 1] {
            assert_eq!(
                earlier.0, earlier.1,
                "step {step} is carried out before one ahead of it is done"
            );
        }
        let fault = self.fault();
        let (done, of) = &mut self.steps[step.0 as usize - 1];
        let begin = match seen {
            Observed::Untouched => 0,
            Observed::Partial(progress) => progress.done,
            other => panic!("carried out although it was seen {other:?}"),
        };
        assert_eq!(begin, *done, "step {step} is carried on from the wrong place");
        match fault {
            Fault::CrashBefore => return Err(Crash),
            Fault::Before(retry) => return Ok(Err(failure(retry))),
            Fault::Part => *done += 1,
            Fault::None | Fault::After(_) | Fault::CrashAfter => *done = *of,
        }
        match fault {
            Fault::After(retry) => Ok(Err(failure(retry))),
            Fault::CrashAfter => Err(Crash),
            _ => Ok(Ok(())),
        }
    }

    fn append(&mut self, state: &mut RunState, what: What) -> Result<(), Crash> {
        let entry = Entry {
            format: FORMAT,
            sequence: state.next_sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            token: Token {
                number: state.token.number + u64::from(matches!(what, What::RunResumed { .. })),
                nonce: 0,
            },
            previous: state.last_hash.clone(),
            what,
        };
        state.accept(&entry).expect("decide proposes only legal entries");
        match self.fault() {
            Fault::CrashBefore => return Err(Crash),
            Fault::CrashAfter => {
                self.entries.push(entry);
                return Err(Crash);
            }
            // Lost replies of the journal are read back by `run::append`.
            _ => self.entries.push(entry),
        }
        Ok(())
    }
}

/// One process: from the journal to a halt or the end, in a bounded number of moves.
fn carry_out(plan: &Plan, world: &mut World) -> Result<RunState, Crash> {
    let mut state = RunState::replay(&world.entries, plan.steps.len()).unwrap().unwrap();
    if world.entries.len() > 1 && !state.is_over() {
        world.append(&mut state, resumed())?;
    }
    let mut facts = Facts::default();
    // Pauses stand for time: after a few of them the limit is over.
    let mut pauses = 0;
    for _ in 0..1000 {
        facts.out_of_time = pauses > 5;
        match decide(plan, &state, &facts) {
            Move::Record(what) => {
                world.append(&mut state, what.clone())?;
                facts.keep_recorded(&what);
                if matches!(what, What::StepPassed { .. }) {
                    pauses = 0;
                }
            }
            Move::Observe(step) => {
                let seen = world.observe(step)?;
                facts.keep_observed(seen);
            }
            Move::Recheck(step) => {
                let seen = world.observe(step)?;
                facts.keep_rechecked(step, seen);
            }
            Move::Perform(step) => {
                let Some(StepState::Started { attempt }) = state.step(step) else {
                    panic!("step {step} is carried out in state {:?}", state.step(step));
                };
                let seen = facts.begin_perform(attempt);
                let result = world.perform(step, &seen)?;
                facts.keep_performed(result);
            }
            Move::Settle(_) => {
                let verdict = match world.fault() {
                    Fault::CrashBefore | Fault::CrashAfter => return Err(Crash),
                    Fault::Before(true) => Settled::TimedOut("late".into()),
                    Fault::Before(false) => Settled::Failed("ill".into()),
                    Fault::Part => Settled::LeftStanding("one stands".into()),
                    _ => Settled::Healthy("well".into()),
                };
                facts.settled = Some(verdict);
            }
            Move::Remove(step) => {
                assert_eq!(state.step(step), Some(StepState::Applied), "step {step}");
                facts.begin_removal();
                facts.keep_performed(match world.fault() {
                    Fault::CrashBefore | Fault::CrashAfter => return Err(Crash),
                    Fault::Before(retry) | Fault::After(retry) => Err(failure(retry)),
                    Fault::None | Fault::Part => Ok(()),
                });
            }
            Move::Pause(_) => {
                pauses += 1;
                facts.paused = true;
            }
            Move::Finish => return Ok(state),
        }
    }
    panic!("1000 moves and no end: {state:?} {facts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_run_ends_and_every_prefix_of_its_journal_replays(
        steps in prop::collection::vec((any::<bool>(), 1u32..5), 0..6),
        faults in faults(),
    ) {
        let kinds: String = steps.iter().map(|(database, _)| if *database { 'd' } else { 'w' }).collect();
        let plan = plan_of(&kinds);
        let opened = What::RunOpened { run: RunId("r".into()), plan: plan.id, by: by(), aborts: None };
        let first = Entry {
            format: FORMAT,
            sequence: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            token: Token { number: 1, nonce: 0 },
            previous: String::new(),
            what: opened,
        };
        let mut world = World {
            steps: steps.iter().map(|(_, of)| (0, *of)).collect(),
            entries: vec![first],
            faults: faults.into_iter(),
            performs: 0,
        };
        // Each process ends with a crash, a halt or the close; each of the first two uses up a fault at least.
        let mut processes = 0;
        loop {
            processes += 1;
            prop_assert!(processes < 100, "no end in sight");
            if let Ok(state) = carry_out(&plan, &mut world) {
                if state.closed == Some(Outcome::Done) {
                    break;
                }
                prop_assert!(state.halted.is_some());
            }
            for length in 1..=world.entries.len() {
                prop_assert!(RunState::replay(&world.entries[..length], plan.steps.len()).is_ok());
            }
        }
        prop_assert!(world.steps.iter().all(|(done, of)| done == of));
        prop_assert!(world.performs >= u32::try_from(steps.len()).unwrap());
    }
}
