//! A run as Markdown, to be pasted into a ticket or a chat.

use std::io::{self, Write};

use super::page::{clock, duration, moment};
use super::run::{Pause, Report, StepReport, strategy_name};

/// Writes a run's report as GitHub-flavoured Markdown. Whatever the report quotes is escaped.
///
/// # Errors
/// As the writer's.
pub fn write_report_markdown(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(out, "# {}: {}\n", escape(&report.title), report.state)?;
    let mut facts: Vec<(&str, String)> = vec![("run", code(&report.run.to_string()))];
    facts.extend(report.app.iter().map(|app| ("app", escape(app))));
    facts.push(("database", code(&report.database)));
    facts.extend(report.acts_on.iter().map(|on| ("cluster", escape(on))));
    facts.push(("from", escape(&report.from.to_string())));
    facts.push(("to", escape(&report.to.to_string())));
    if let (Some(at), Some(by)) = (report.opened_at, &report.by) {
        facts.push(("opened", format!("{} by {}", moment(at), escape(&by.to_string()))));
    }
    facts.push(("took", duration(report.took_ms)));
    if let Some(outage) = &report.outage {
        let text = format!("**{}** ({})", duration(outage.ms), outage.span("Z"));
        facts.push(("outage", text));
    }
    if let Some(chosen) = &report.strategy {
        let text = format!("{}: {}", strategy_name(chosen.strategy), chosen.reason);
        facts.push(("strategy", escape(&text)));
    }
    if let Some(run) = &report.aborts {
        facts.push((
            "back",
            format!("from run {}, which it took over from", code(&run.to_string())),
        ));
    }
    if let Some(run) = &report.handed_over_to {
        facts.push(("then", format!("run {} took it back", code(&run.to_string()))));
    }
    writeln!(out, "| | |\n|---|---|")?;
    for (name, value) in facts {
        writeln!(out, "| {name} | {value} |")?;
    }
    writeln!(
        out,
        "\n## Steps\n\n| | at (UTC) | took | step | seen |\n|--:|---|--:|---|---|"
    )?;
    for step in &report.steps {
        write_step(out, step)?;
    }
    if !report.pauses.is_empty() {
        writeln!(out, "\n## Interruptions\n")?;
        for pause in &report.pauses {
            write_pause(out, pause)?;
        }
    }
    if !report.findings.is_empty() {
        writeln!(out, "\n## Found beforehand\n")?;
        for finding in &report.findings {
            let word = finding.word();
            let (subject, message) = (escape(&finding.subject), escape(&finding.message));
            writeln!(out, "- **{word}** {} {subject}: {message}", code(&finding.code))?;
        }
    }
    if report.is_unfinished() {
        writeln!(
            out,
            "\nTo continue: {}",
            code(&format!("stepback resume {}", report.run))
        )?;
    }
    Ok(())
}

fn write_step(out: &mut dyn Write, step: &StepReport) -> io::Result<()> {
    let at = step.started_at.map(clock).unwrap_or_default();
    let took = step.ms.map(duration).unwrap_or_default();
    let mut does = escape(&step.does);
    if step.attempts > 1 {
        does.push_str(&format!(" ({} attempts)", step.attempts));
    }
    if step.state != "passed" {
        does.push_str(&format!(" (**{}**)", step.state));
    }
    let seen: Vec<String> = step.seen.iter().map(|seen| escape(seen)).collect();
    writeln!(out, "| {} | {at} | {took} | {does} | {} |", step.step, seen.join("; "))
}

fn write_pause(out: &mut dyn Write, pause: &Pause) -> io::Result<()> {
    match (pause.halted_at, &pause.halt) {
        (Some(at), Some(halt)) => {
            let step = halt.step.map(|step| format!(" at step {step}")).unwrap_or_default();
            let hint = halt
                .hint
                .as_ref()
                .map(|hint| format!(" ({})", escape(hint)))
                .unwrap_or_default();
            write!(out, "- halted {}{step}: {}{hint}", moment(at), escape(&halt.message))?;
        }
        _ => {
            let after = pause
                .last_heard_at
                .map(|at| format!(" after {}", moment(at)))
                .unwrap_or_default();
            write!(out, "- its coordinator ended without a word{after}")?;
        }
    }
    match (pause.resumed_at, &pause.resumed_by) {
        (Some(at), Some(by)) => {
            writeln!(
                out,
                "; resumed {} by {}",
                moment(at),
                escape(&format!("{by}{}", pause.said()))
            )
        }
        _ => writeln!(out),
    }
}

/// Text as Markdown shows it, in one line: a quoted message can make no table cell, no link and no tag.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut last = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' => escaped.push_str("<br>"),
            '\r' => {}
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            // Within a word an underscore means nothing, and names stay readable.
            '_' if last.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric()) => escaped.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => escaped.extend(['\\', c]),
            // Nobody is to be called because a user name stands in a report.
            '@' if !last.is_alphanumeric() => escaped.push_str("&#64;"),
            c => escaped.push(c),
        }
        last = c;
    }
    escaped
}

/// Text that is shown as it is, between as many backticks as it takes; in a table too.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ").replace('|', "\\|");
    let fence = "`".repeat(longest_run(&text) + 1);
    match text.contains('`') {
        true => format!("{fence} {text} {fence}"),
        false => format!("{fence}{text}{fence}"),
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_makes_no_markup() {
        assert_eq!(
            escape("a|b <img> `x` *y* [z](u) @all\n# h a_b _c_"),
            "a\\|b &lt;img> \\`x\\` \\*y\\* \\[z\\](u) &#64;all<br>\\# h a_b \\_c\\_"
        );
        assert_eq!(escape("ada@laptop"), "ada@laptop");
        assert_eq!(code("a`b|c"), "`` a`b\\|c ``");
    }
}
