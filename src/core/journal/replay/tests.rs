use proptest::prelude::*;

use super::*;
use crate::journal::HaltKind;
use crate::model::Digest;

const STEPS: usize = 3;

fn token(number: u64) -> Token {
    Token { number, nonce: 1 }
}

fn by() -> By {
    By {
        user: "jörg".into(),
        host: "laptop".into(),
        process: 7,
        program: "0.1.0".into(),
    }
}

fn opened() -> What {
    What::RunOpened {
        run: RunId("01J8".into()),
        plan: PlanId(Digest::of("plan")),
        by: by(),
        aborts: None,
    }
}

fn started(step: u32, attempt: u32) -> What {
    What::StepStarted {
        step: StepId(step),
        attempt,
    }
}

fn applied(step: u32) -> What {
    What::StepApplied {
        step: StepId(step),
        seen: "spec.replicas is 2 – as planned".into(),
    }
}

fn passed(step: u32) -> What {
    What::StepPassed {
        step: StepId(step),
        seen: "pod shop-2 is gone".into(),
    }
}

fn halted(step: Option<u32>) -> What {
    What::RunHalted {
        halt: Halt {
            step: step.map(StepId),
            kind: HaltKind::Failed,
            message: "it failed".into(),
            hint: None,
            evidence: None,
        },
    }
}

fn closed(outcome: Outcome) -> What {
    What::RunClosed { outcome }
}

/// The entry that a writer with this token would append.
fn next(state: &RunState, number: u64, what: What) -> Entry {
    Entry {
        format: FORMAT,
        sequence: state.next_sequence,
        at: jiff::Timestamp::UNIX_EPOCH,
        token: token(number),
        previous: state.last_hash.clone(),
        what,
    }
}

fn first() -> Entry {
    Entry {
        format: FORMAT,
        sequence: 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        token: token(1),
        previous: String::new(),
        what: opened(),
    }
}

/// A journal with these entries behind its opening. Whoever takes the run over raises the token.
fn journal(whats: &[What]) -> (Vec<Entry>, RunState) {
    let mut entries = vec![first()];
    let mut state = RunState::open(&entries[0], STEPS).unwrap();
    for what in whats {
        let takes_over = matches!(what, What::RunResumed { .. } | What::RunHandedOver { .. });
        let entry = next(&state, state.token.number + u64::from(takes_over), what.clone());
        state.accept(&entry).unwrap();
        entries.push(entry);
    }
    (entries, state)
}

fn full() -> Vec<What> {
    let mut whats = vec![];
    for step in 1..=3 {
        whats.extend([started(step, 1), started(step, 2), applied(step), passed(step)]);
    }
    whats.push(closed(Outcome::Done));
    whats
}

#[test]
fn the_table_of_a_step() {
    let before: [(&str, Vec<What>); 4] = [
        ("pending", vec![]),
        ("started", vec![started(1, 1)]),
        ("applied", vec![started(1, 1), applied(1)]),
        ("passed", vec![started(1, 1), applied(1), passed(1)]),
    ];
    let after = [
        ("started 1", started(1, 1)),
        ("started 2", started(1, 2)),
        ("started 3", started(1, 3)),
        ("applied", applied(1)),
        ("passed", passed(1)),
    ];
    let legal = [
        ("pending", "started 1"),
        ("started", "started 2"),
        ("started", "applied"),
        ("applied", "passed"),
    ];
    for (from, whats) in &before {
        for (to, what) in &after {
            let (_, mut state) = journal(whats);
            let untouched = state.clone();
            let result = state.accept(&next(&untouched, 1, what.clone()));
            assert_eq!(
                result.is_ok(),
                legal.contains(&(from, to)),
                "{from} -> {to}: {result:?}"
            );
            if result.is_err() {
                assert!(
                    matches!(result, Err(Illegal::Transition { .. })),
                    "{from} -> {to}: {result:?}"
                );
                assert_eq!(state, untouched, "a refused entry changes nothing");
            }
        }
    }
}

#[test]
fn the_table_of_a_run() {
    let resumed = || What::RunResumed {
        by: by(),
        rebound: None,
        dead: Vec::new(),
    };
    let handed = || What::RunHandedOver {
        to: RunId("01J9".into()),
    };
    let states: [(&str, Vec<What>); 5] = [
        ("running", vec![started(1, 1)]),
        ("finished", full()[..12].to_vec()),
        ("halted", vec![started(1, 1), halted(Some(1))]),
        ("closed", full()),
        ("handed over", vec![resumed(), handed()]),
    ];
    let entries = [
        ("opened", opened()),
        ("resumed", resumed()),
        ("step", started(1, 2)),
        ("halted", halted(Some(1))),
        ("done", closed(Outcome::Done)),
        ("stopped", closed(Outcome::Stopped)),
        ("handed", handed()),
    ];
    let legal = [
        ("running", "resumed step halted stopped handed"),
        ("finished", "resumed halted done stopped handed"),
        ("halted", "resumed stopped handed"),
        ("closed", ""),
        ("handed over", ""),
    ];
    for ((name, whats), (_, legal)) in states.iter().zip(legal) {
        for (to, what) in &entries {
            let (_, mut state) = journal(whats);
            let untouched = state.clone();
            let number = state.token.number + u64::from(["resumed", "handed"].contains(to));
            let result = state.accept(&next(&untouched, number, what.clone()));
            let expected = legal.split(' ').any(|word| word == *to);
            assert_eq!(result.is_ok(), expected, "{name} -> {to}: {result:?}");
            assert!(result.is_ok() || state == untouched, "a refused entry changes nothing");
        }
    }
    // W5: who hands a run over has taken it over; its dead coordinator cannot have written that.
    let (_, mut state) = journal(&[started(1, 1)]);
    let sleeper = next(&state, 1, handed());
    assert!(matches!(state.accept(&sleeper), Err(Illegal::Token { .. })));
}

#[test]
fn a_step_waits_for_the_one_before_it() {
    let (_, mut state) = journal(&[started(1, 1), applied(1)]);
    let entry = next(&state, 1, started(2, 1));
    assert_eq!(
        state.accept(&entry),
        Err(Illegal::Order {
            sequence: 4,
            step: StepId(2),
            blocking: StepId(1)
        })
    );
    assert_eq!(state.step(StepId(2)), Some(StepState::Pending));
    for step in [0, 4] {
        for what in [started(step, 1), applied(step), passed(step), halted(Some(step))] {
            let refused = state.accept(&next(&state.clone(), 1, what));
            assert!(matches!(refused, Err(Illegal::NoSuchStep { .. })), "{refused:?}");
        }
    }
}

#[test]
fn only_a_resume_changes_the_token_and_only_upwards() {
    let (_, state) = journal(&[What::RunResumed {
        by: by(),
        rebound: None,
        dead: Vec::new(),
    }]);
    assert_eq!((state.token.number, state.resumed), (2, true));
    for (number, what, fits) in [
        (2, started(1, 1), true),
        (1, started(1, 1), false),
        (3, started(1, 1), false),
        (
            2,
            What::RunResumed {
                by: by(),
                rebound: None,
                dead: Vec::new(),
            },
            false,
        ),
        (
            1,
            What::RunResumed {
                by: by(),
                rebound: None,
                dead: Vec::new(),
            },
            false,
        ),
        (
            9,
            What::RunResumed {
                by: by(),
                rebound: None,
                dead: Vec::new(),
            },
            true,
        ),
    ] {
        let result = state.clone().accept(&next(&state, number, what));
        assert_eq!(result.is_ok(), fits, "{number}: {result:?}");
    }
    let mut twin = next(&state, 2, started(1, 1));
    twin.token.nonce = 2;
    assert!(
        matches!(state.clone().accept(&twin), Err(Illegal::Token { .. })),
        "same number, another holder"
    );
}

#[test]
fn a_line_cannot_be_changed_taken_out_or_put_in() {
    let (entries, state) = journal(&full());
    assert_eq!(RunState::replay(&entries, STEPS), Ok(Some(state)));
    assert_eq!(RunState::replay(&[], STEPS), Ok(None));
    for at in 0..entries.len() - 1 {
        let mut without = entries.clone();
        without.remove(at);
        assert!(RunState::replay(&without, STEPS).is_err(), "without {at}");
        let mut twice = entries.clone();
        twice.insert(at, entries[at].clone());
        assert!(RunState::replay(&twice, STEPS).is_err(), "twice {at}");
        let mut changed = entries.clone();
        changed[at].at = jiff::Timestamp::MAX;
        assert!(
            matches!(RunState::replay(&changed, STEPS), Err(Illegal::Chain(_))),
            "changed {at}"
        );
    }
}

#[test]
fn a_journal_that_a_newer_program_wrote_to_is_read_and_not_continued() {
    let (_, mut state) = journal(&[started(1, 1)]);
    let mut newer = next(&state, 1, applied(1));
    newer.format = FORMAT + 1;
    state.accept(&newer).unwrap();
    assert!(state.newer_format);
    let ours = next(&state, 1, passed(1));
    assert_eq!(state.accept(&ours), Err(Illegal::Format(4)));
}

/// A line as a newer program might write it.
fn newer_line(sequence: u64, token: u64, more: &str) -> String {
    let json = format!(
        "{{\"v\":{},\"seq\":{sequence},\"at\":\"2026-11-23T03:00:00Z\",\"token\":{},\"prev\":\"not as this program hashes\",{more}}}",
        FORMAT + 1,
        serde_json::to_string(&Token {
            number: token,
            nonce: 1
        })
        .unwrap(),
    );
    format!("{} {json}\n", &Digest::of(json.as_bytes()).to_string()[..16])
}

#[test]
fn what_a_newer_program_added_is_neither_damaged_nor_torn() {
    let (entries, state) = journal(&[started(1, 1)]);
    let token = state.token.number;
    let mut written = text(&entries);
    // A field that this program does not know, a kind, and a kind whose fields are of other types.
    for (sequence, more) in [
        (3, r#""kind":"stepApplied","step":1,"seen":"done","witness":{"rows":3}"#),
        (4, r#""kind":"stepMeasured","step":1,"ms":12"#),
        (5, r#""kind":"stepPassed","step":{"name":"one"},"seen":[]"#),
    ] {
        let mut line = newer_line(sequence, token, more);
        if sequence == 3 {
            line = line.replace("not as this program hashes", &entries[1].hash());
            let json = line[17..].trim_end().to_owned();
            line = format!("{} {json}\n", &Digest::of(json.as_bytes()).to_string()[..16]);
        }
        written.push_str(&line);
    }
    let read = read_lines(&written).unwrap();
    assert_eq!((read.entries.len(), read.torn), (5, None));
    let mut state = RunState::replay(&read.entries, STEPS).unwrap().unwrap();
    assert!(state.newer_format);
    assert_eq!(state.step(StepId(1)), Some(StepState::Applied));
    // It is shown, and never continued.
    let ours = next(&state, token, passed(1));
    assert_eq!(state.accept(&ours), Err(Illegal::Format(6)));
    // A kind that is unknown in a format that is known is damage, also in the last line: its checksum is right.
    let json = newer_line(3, token, r#""kind":"stepMeasured""#)[17..]
        .trim_end()
        .replace(&format!("\"v\":{}", FORMAT + 1), &format!("\"v\":{FORMAT}"));
    let line = format!("{} {json}\n", &Digest::of(json.as_bytes()).to_string()[..16]);
    assert!(matches!(
        read_lines(text(&entries) + &line),
        Err(Illegal::Damaged { line: 3, .. })
    ));
}

#[test]
fn every_prefix_of_a_journal_replays() {
    let (entries, _) = journal(&full());
    for length in 1..=entries.len() {
        assert!(RunState::replay(&entries[..length], STEPS).is_ok(), "{length}");
    }
}

fn text(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.to_line() + "\n").collect()
}

#[test]
fn a_journal_torn_at_any_byte_loses_its_last_line_and_nothing_else() {
    let (entries, _) = journal(&full()[..3]);
    let text = text(&entries);
    for length in 0..=text.len() {
        let read = read_lines(&text.as_bytes()[..length]).unwrap();
        let whole = text.as_bytes()[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(read.entries, entries[..whole], "{length}");
        let intact = text[..].split_inclusive('\n').take(whole).map(str::len).sum::<usize>();
        assert_eq!(read.intact_bytes, intact);
        assert_eq!(read.torn.is_some(), intact != length, "{length}");
    }
}

#[test]
fn a_last_line_of_garbage_is_torn_too() {
    let (entries, _) = journal(&full()[..3]);
    let last = entries.len() - 1;
    for tail in [&b"\0\0\0\0\n"[..], b"\n", b"\xff\xfe\n", b"0123456789abcdef {}\n"] {
        let mut bytes = text(&entries[..last]).into_bytes();
        bytes.extend(tail);
        let read = read_lines(&bytes).unwrap();
        assert_eq!(read.entries.len(), last);
        assert!(read.torn.is_some());
    }
}

#[test]
fn a_damaged_line_in_the_middle_refuses() {
    let (entries, _) = journal(&full()[..3]);
    let text = text(&entries);
    let last = text.trim_end().rfind('\n').unwrap();
    // A changed line feed joins two lines, or makes one of the last two: then only the end is missing.
    for at in (0..last).filter(|at| text.as_bytes()[*at] != b'\n') {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        match read_lines(&bytes) {
            Err(Illegal::Damaged { line: found, .. }) => assert_eq!(found, line),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn whatever_was_accepted_replays_and_reads_back(
        choices in prop::collection::vec((0u32..5, 1u32..4, 0u64..3), 0..60)
    ) {
        let mut entries = vec![first()];
        let mut state = RunState::open(&entries[0], STEPS).unwrap();
        for (kind, number, raise) in choices {
            let what = match kind {
                0 => started(number, 1 + u32::try_from(raise).unwrap()),
                1 => applied(number),
                2 => passed(number),
                3 => halted(Some(number)),
                _ => What::RunResumed { by: by(), rebound: None, dead: Vec::new() },
            };
            let entry = next(&state, state.token.number + raise, what);
            let before = state.clone();
            match state.accept(&entry) {
                Ok(()) => entries.push(entry),
                Err(_) => prop_assert_eq!(&state, &before),
            }
        }
        prop_assert_eq!(RunState::replay(&entries, STEPS), Ok(Some(state)));
        let read = read_lines(text(&entries)).unwrap();
        prop_assert_eq!(read.entries, entries);
        prop_assert_eq!(read.torn, None);
    }

    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_lines(bytes));
    }
}
