//! The same run as Markdown and as a page of HTML.

use proptest::prelude::*;

use super::*;

fn markdown(report: &Report) -> String {
    let mut text = Vec::new();
    write_report_markdown(&mut text, report).unwrap();
    String::from_utf8(text).unwrap()
}

fn html(report: &Report) -> String {
    let mut text = Vec::new();
    write_report_html(&mut text, report).unwrap();
    String::from_utf8(text).unwrap()
}

fn after(entries: &[Entry]) -> Report {
    Report::new(&RunId("01J8".into()), &plan(), entries)
}

#[test]
fn markdown_tells_the_run() {
    insta::assert_snapshot!(markdown(&after(&entries())));
}

#[test]
fn the_page_tells_the_run() {
    let page = html(&after(&entries()));
    let body = page.split("</style>").nth(1).unwrap();
    // A line for each tag, so that a difference can be read.
    insta::assert_snapshot!(body.replace("><", ">\n<"));
}

#[test]
fn every_prefix_of_a_journal_has_both_forms() {
    let entries = entries();
    for length in 0..=entries.len() {
        let report = after(&entries[..length]);
        let resumes = "stepback resume 01J8";
        assert_eq!(markdown(&report).contains(resumes), report.is_unfinished(), "{length}");
        let page = html(&report).replace("</code>", "");
        assert_eq!(page.contains(resumes), report.is_unfinished(), "{length}");
    }
}

#[test]
fn the_page_fetches_nothing_and_runs_nothing() {
    // The API server's address is text, and no link.
    let page = html(&after(&entries())).replace("(https://10.0.0.1:6443)", "");
    assert!(page.contains("default-src 'none'"));
    for forbidden in ["http://", "https://", "<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

proptest! {
    #[test]
    fn whatever_a_message_holds_is_text(evil in "[<>\"'&a-z/=\n]{0,40}") {
        let mut entries = entries();
        for entry in &mut entries {
            if let What::RunHalted { halt } = &mut entry.what {
                halt.message.clone_from(&evil);
                halt.hint = Some(evil.clone());
            }
            if let What::StepPassed { seen, .. } = &mut entry.what {
                seen.clone_from(&evil);
            }
        }
        let tags = |page: &str| page.split("</style>").nth(1).map(|body| body.matches('<').count());
        let quiet = |evil: &str| evil.lines().count();
        // Only line breaks make tags, and as many as the text has.
        let plain: String = evil.chars().map(|c| if c == '\n' { c } else { 'x' }).collect();
        let mut harmless = entries.clone();
        for entry in &mut harmless {
            if let What::RunHalted { halt } = &mut entry.what {
                halt.message.clone_from(&plain);
                halt.hint = Some(plain.clone());
            }
            if let What::StepPassed { seen, .. } = &mut entry.what {
                seen.clone_from(&plain);
            }
        }
        prop_assert_eq!(quiet(&evil), quiet(&plain));
        prop_assert_eq!(tags(&html(&after(&entries))), tags(&html(&after(&harmless))));
    }
}
