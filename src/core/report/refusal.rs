//! Findings, each with its remedy.

use std::io;

use super::page::{Page, Paint};
use crate::model::{Finding, Severity};

/// Writes every finding, in the order given.
///
/// # Errors
/// As the writer's.
pub fn write_findings(page: &mut Page<'_>, findings: &[Finding]) -> io::Result<()> {
    for finding in findings {
        write_finding(page, finding)?;
    }
    Ok(())
}

/// Writes one finding: severity, code and subject; what was found; what to do.
///
/// # Errors
/// As the writer's.
pub fn write_finding(page: &mut Page<'_>, finding: &Finding) -> io::Result<()> {
    let paint = match finding.severity {
        Severity::Refusal => Paint::Red,
        Severity::Warning => Paint::Yellow,
        Severity::Note => Paint::Dim,
    };
    let head = format!("{} [{}]", finding.subject, finding.code);
    page.labelled(&format!("  {:<8} ", finding.word()), Some(paint), &head)?;
    page.labelled("           ", None, &finding.message)?;
    if !finding.remedy.is_empty() {
        page.labelled("           do: ", None, &finding.remedy)?;
    }
    Ok(())
}
