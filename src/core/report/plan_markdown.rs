//! A plan as Markdown, for a pull request, a change ticket or an incident's channel.

use std::io::{self, Write};

use super::Bodies;
use super::page::{count, limit};
use super::plan::{describe_gate, describe_journal, describe_strategy, describe_turning_back};
use crate::model::Finding;
use crate::plan::{Action, Plan, Step};

/// Writes a plan as GitHub-flavoured Markdown: what, why, every step, every finding, and the SQL folded away.
///
/// # Errors
/// As the writer's.
pub fn write_plan_markdown(out: &mut dyn Write, plan: &Plan, bodies: &Bodies) -> io::Result<()> {
    writeln!(out, "## {}\n", text(&plan.title))?;
    writeln!(out, "| | |\n|---|---|")?;
    let mut row = |name: &str, value: String| writeln!(out, "| {name} | {value} |");
    if let Some(app) = &plan.app {
        row("app", text(app))?;
    }
    let engine = plan.database.engine.title();
    row("database", format!("{} ({engine})", code(&plan.database.redacted)))?;
    if let Some(on) = plan.acts_on() {
        row("cluster", text(&on))?;
    }
    row("from", text(&plan.from.to_string()))?;
    row("to", text(&plan.to.to_string()))?;
    if let Some(chosen) = &plan.strategy {
        row("strategy", text(&describe_strategy(chosen)))?;
        if !plan.steps.is_empty() && !chosen.outage.is_empty() {
            row("outage", text(&chosen.outage))?;
        }
        if !plan.steps.is_empty() && plan.turns_back {
            row("failing", text(&describe_turning_back(plan)))?;
        }
    }
    row("journal", text(&describe_journal(&plan.journal)))?;
    row("plan", code(&plan.id.to_string()))?;

    writeln!(out, "\n### {}\n", count(plan.steps.len(), "step"))?;
    if plan.steps.is_empty() {
        writeln!(out, "Nothing to do.")?;
    }
    for step in &plan.steps {
        write_step(out, step)?;
    }
    if !plan.findings.is_empty() {
        writeln!(out, "\n### {}\n", count(plan.findings.len(), "finding"))?;
        for finding in &plan.findings {
            write_finding(out, finding)?;
        }
    }
    write_scripts(out, plan, bodies)
}

fn write_step(out: &mut dyn Write, step: &Step) -> io::Result<()> {
    write!(out, "{}. {}", step.id, text(&step.action.describe()))?;
    if let Some(gate) = describe_gate(&step.gate) {
        write!(
            out,
            "; then wait until {} (at most {})",
            text(&gate),
            limit(step.limit_ms)
        )?;
    }
    writeln!(out)?;
    if let Action::Revert { scripts, .. } | Action::Apply { scripts } = &step.action
        && scripts.len() > 1
    {
        for script in scripts {
            writeln!(out, "    - {}", code(&script.migration.to_string()))?;
        }
    }
    Ok(())
}

fn write_finding(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let word = finding.word();
    let (code, subject) = (code(&finding.code), text(&finding.subject));
    write!(out, "- **{word}** {code} {subject}: {}", text(&finding.message))?;
    if !finding.remedy.is_empty() {
        write!(out, "<br>do: {}", text(&finding.remedy))?;
    }
    writeln!(out)
}

fn write_scripts(out: &mut dyn Write, plan: &Plan, bodies: &Bodies) -> io::Result<()> {
    let scripts = plan.scripts();
    if scripts.is_empty() {
        return Ok(());
    }
    let many = count(scripts.len(), "script");
    writeln!(out, "\n<details>\n<summary>SQL of {many}, in order</summary>")?;
    for script in scripts {
        let name = code(&script.migration.to_string());
        writeln!(out, "\n{name}, SHA-256 {}\n", code(&script.sha256.to_string()))?;
        let Some(body) = bodies.get(&script.sha256) else {
            writeln!(out, "Its body is not known here.")?;
            continue;
        };
        let fence = "`".repeat(longest_ticks(body).max(2) + 1);
        writeln!(out, "{fence}sql\n{}\n{fence}", body.trim_end())?;
    }
    writeln!(out, "\n</details>")
}

/// Text in which nothing is markup: names of tables are full of underscores.
fn text(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len());
    let mut in_code = false;
    for c in plain.chars() {
        match c {
            // What our own sentences put between backticks is code, and stays it.
            '`' => {
                in_code = !in_code;
                escaped.push(c);
            }
            '|' => escaped.push_str("\\|"),
            '\\' | '*' | '_' | '[' | ']' | '#' | '~' if !in_code => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' if !in_code => escaped.push_str("&lt;"),
            '&' if !in_code => escaped.push_str("&amp;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    if in_code {
        // An odd one would make code of the rest of the page.
        escaped = escaped.replace('`', "\\`");
    }
    escaped
}

/// Text as code within a line.
fn code(plain: &str) -> String {
    let plain = plain.replace(|c: char| c.is_control(), " ").replace('|', "\\|");
    let ticks = "`".repeat(longest_ticks(&plain) + 1);
    if plain.starts_with('`') || plain.ends_with('`') {
        format!("{ticks} {plain} {ticks}")
    } else {
        format!("{ticks}{plain}{ticks}")
    }
}

fn longest_ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_markup() {
        assert_eq!(text("a_b | <c> `d_e` *"), "a\\_b \\| &lt;c> `d_e` \\*");
        assert_eq!(text("an odd ` tick"), "an odd \\` tick");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("a|b\n"), "`a\\|b `");
        assert_eq!(longest_ticks("a ``` b ` c"), 3);
    }
}
