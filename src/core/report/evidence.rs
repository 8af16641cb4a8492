//! What was read of a pod whose gate did not hold, as text.

use std::io;

use super::page::{Page, Paint};
use crate::model::Evidence;

/// Writes it, in the columns of a halt.
///
/// # Errors
/// As the writer's.
pub fn write_evidence(page: &mut Page<'_>, evidence: &Evidence) -> io::Result<()> {
    let mut rows: Vec<(String, &str)> = Vec::new();
    rows.extend(evidence.state.iter().map(|line| (evidence.of.clone(), line.as_str())));
    rows.extend(evidence.events.iter().map(|line| ("events".to_owned(), line.as_str())));
    for tail in &evidence.logs {
        let of = match tail.before_restart {
            true => format!("log of {} before its restart", tail.container),
            false => format!("log of {}", tail.container),
        };
        rows.extend(tail.lines.iter().map(|line| (of.clone(), line.as_str())));
    }
    rows.extend(
        evidence
            .unread
            .iter()
            .map(|line| ("not read".to_owned(), line.as_str())),
    );
    let mut last = String::new();
    for (heading, line) in rows {
        if heading != last {
            page.line(&format!("  {}", page.paint(Paint::Bold, &format!("{heading}:"))))?;
            last = heading;
        }
        page.labelled("    ", None, line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogTail;

    #[test]
    fn it_is_read_from_the_pod_to_its_words() {
        let tail = |before_restart, line: &str| LogTail {
            container: "shop".to_owned(),
            before_restart,
            lines: vec![line.to_owned()],
        };
        let evidence = Evidence {
            of: "shop-0".to_owned(),
            state: vec![
                "on node n1".to_owned(),
                "Ready is False since 03:04:05: ContainersNotReady, containers with unready status: [shop]".to_owned(),
            ],
            events: vec!["03:04:01 BackOff (7 times): back-off 40s restarting failed container".to_owned()],
            logs: vec![tail(true, "release 1.2.0 is broken"), tail(false, "starting")],
            unread: vec!["the log of proxy: no answer within 3 s".to_owned()],
        };
        let mut text = Vec::new();
        write_evidence(&mut Page::new(&mut text, 80, false), &evidence).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
          shop-0:
            on node n1
            Ready is False since 03:04:05: ContainersNotReady, containers with unready
            status: [shop]
          events:
            03:04:01 BackOff (7 times): back-off 40s restarting failed container
          log of shop before its restart:
            release 1.2.0 is broken
          log of shop:
            starting
          not read:
            the log of proxy: no answer within 3 s
        ");
    }
}
