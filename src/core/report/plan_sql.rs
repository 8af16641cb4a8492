//! A plan as SQL: its scripts in order, for reading, reviewing and rehearsing.
//!
//! What is not SQL stands between them as comments. Running the text by hand is possible and said to be half the truth:
//! it moves no ledger row.

use std::io::{self, Write};

use super::Bodies;
use crate::plan::{Action, Plan};

/// Writes every script that the plan runs, in order, each under a comment that names its migration and checksum.
///
/// # Errors
/// As the writer's.
pub fn write_plan_sql(out: &mut dyn Write, plan: &Plan, bodies: &Bodies) -> io::Result<()> {
    let mut note = |text: &str| -> io::Result<()> { comment(out, text) };
    note(&plan.title)?;
    note(&format!(
        "database: {} ({})",
        plan.database.redacted,
        plan.database.engine.title()
    ))?;
    if let Some(on) = plan.acts_on() {
        note(&format!("cluster:  {on}"))?;
    }
    note(&format!("from:     {}", plan.from))?;
    note(&format!("to:       {}", plan.to))?;
    note(&format!("plan:     {}", plan.id))?;
    note("")?;
    note("For reading. By hand it would leave the ledger as it is: `stepback rollback` or")?;
    note("`stepback apply` runs each script together with its ledger row, and nothing twice.")?;
    if plan.scripts().is_empty() {
        note("")?;
        note("This plan runs no SQL.")?;
    }
    for step in &plan.steps {
        writeln!(out)?;
        comment(out, &format!("step {}: {}", step.id, step.action.describe()))?;
        let (Action::Revert { scripts, .. } | Action::Apply { scripts }) = &step.action else {
            continue;
        };
        for (at, script) in scripts.iter().enumerate() {
            writeln!(out)?;
            let verb = match script.direction {
                crate::model::Direction::Up => "apply",
                crate::model::Direction::Down => "revert",
            };
            comment(
                out,
                &format!("{} of {}: {verb} {}", at + 1, scripts.len(), script.migration),
            )?;
            comment(out, &format!("version {}", script.migration.version))?;
            comment(out, &format!("sha256  {}", script.sha256))?;
            match bodies.get(&script.sha256) {
                Some(body) => {
                    let body = body.trim_end();
                    writeln!(out, "{body}")?;
                    // Two scripts must not run into each other where the first leaves its last semicolon out.
                    if !body.ends_with(';') {
                        writeln!(out, ";")?;
                    }
                }
                None => comment(out, "its body is not known here")?,
            }
        }
    }
    Ok(())
}

fn comment(out: &mut dyn Write, text: &str) -> io::Result<()> {
    // A name with a line break in it would end the comment and be SQL.
    let text = text.replace(|c: char| c.is_control(), " ");
    writeln!(out, "{}", format!("-- {text}").trim_end())
}
