//! What the guard says of a data directory.

use std::io;

use super::page::{Page, Paint};
use super::refusal::write_findings;
use crate::guard::{Judgement, Verdict};

/// Writes the answer first, then why; with `explain` also every file that was asked for and what it said.
///
/// # Errors
/// As the writer's.
pub fn write_judgement(page: &mut Page<'_>, dir: &str, judgement: &Judgement, explain: bool) -> io::Result<()> {
    let title = judgement.engine.title();
    let (word, paint) = match judgement.verdict {
        Verdict::Allowed => ("allowed", Paint::Green),
        Verdict::Refused => ("refused", Paint::Red),
        Verdict::Unknown => ("unknown, and so refused", Paint::Red),
    };
    page.labelled(
        &format!("guard {}: ", judgement.engine.name()),
        Some(Paint::Bold),
        &page.paint(paint, word),
    )?;
    let data = match &judgement.data {
        Some(version) => format!("{title} {version}"),
        None if judgement.verdict == Verdict::Allowed => "none: the directory is empty".to_owned(),
        None if judgement.verdict == Verdict::Refused => "another server's".to_owned(),
        None => "not known".to_owned(),
    };
    page.labelled("  data     ", None, &data)?;
    page.labelled("  target   ", None, &format!("{title} {}", judgement.target))?;
    page.labelled("  in       ", None, dir)?;
    write_findings(page, &judgement.findings)?;
    if !explain || judgement.read.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.line("read")?;
    let width = judgement.read.iter().map(|marker| marker.file.chars().count()).max();
    let width = width.unwrap_or(0);
    for marker in &judgement.read {
        page.labelled(&format!("  {:<width$}  ", marker.file), None, &marker.says)?;
    }
    Ok(())
}
