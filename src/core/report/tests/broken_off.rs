//! Journals that end in the middle: killed, or still going on.

use super::*;

#[test]
fn every_prefix_of_a_journal_has_a_report() {
    let entries = entries();
    for length in 0..=entries.len() {
        let report = Report::new(&RunId("01J8".into()), &plan(), &entries[..length]);
        page(|page| write_report(page, &report, true));
        let lasts = report.outage.is_some_and(|outage| outage.to.is_none());
        assert_eq!(lasts, (2..17).contains(&length), "after {length} entries");
    }
}

#[test]
fn a_killed_coordinator_leaves_a_pause_without_a_word() {
    let mut entries = entries();
    entries.truncate(6);
    let mut resumed = entries[5].clone();
    resumed.what = What::RunResumed {
        by: By {
            user: "bob".into(),
            host: "desk".into(),
            process: 9,
            program: "stepback 0.1.0".into(),
        },
        rebound: None,
        dead: Vec::new(),
    };
    entries.push(resumed);
    let report = Report::new(&RunId("01J8".into()), &plan(), &entries);
    let text = page(|page| write_report(page, &report, false));
    assert!(text.contains("its coordinator ended without a word"), "{text}");
    assert_eq!(report.state, "open");
}
