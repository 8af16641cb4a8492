//! The state of things as text.

use std::io;

use super::page::{Page, Paint, count, duration};
use super::status::{MigrationStatus, Reach, SchemaMatch, Standing, Status};
use crate::model::{Progress, RunStatus};

/// Writes the state of things, migrations left out.
///
/// # Errors
/// As the writer's.
pub fn write_status(page: &mut Page<'_>, status: &Status) -> io::Result<()> {
    let title = status.app.as_deref().unwrap_or("schema");
    let releases: Vec<String> = status.releases.iter().map(ToString::to_string).collect();
    let title = match releases.as_slice() {
        [] => title.to_owned(),
        releases => format!("{title} {}", releases.join(" or ")),
    };
    let title = page.paint(Paint::Bold, &title);
    page.line(&title)?;
    if let Some(why) = &status.database_unknown {
        let text = format!("{}: not known: {why}", status.database);
        page.labelled("  database ", Some(Paint::Yellow), &text)?;
        return write_workloads(page, status);
    }
    page.labelled("  database ", None, &format!("{} ({})", status.database, status.server))?;
    let schema = match &status.schema {
        Some(schema) => format!("{schema}, {} applied", count(status.applied, "migration")),
        None => "nothing is applied".to_owned(),
    };
    let pending = match status.pending {
        0 => String::new(),
        pending => format!(", {pending} pending"),
    };
    page.labelled("  schema   ", None, &format!("{schema}{pending}"))?;
    write_match(page, &status.fingerprint)?;
    write_workloads(page, status)?;
    write_run(page, status)?;
    if !status.reach.is_empty() {
        page.blank()?;
        let known = status.cluster_unknown.is_none();
        let heading = page.paint(
            Paint::Bold,
            if known {
                "releases"
            } else {
                "releases, by the schema alone"
            },
        );
        page.line(&heading)?;
        for reach in &status.reach {
            write_reach(page, reach, known)?;
        }
    }
    Ok(())
}

fn write_workloads(page: &mut Page<'_>, status: &Status) -> io::Result<()> {
    if let Some(cluster) = &status.cluster {
        page.labelled("  cluster  ", None, &cluster.to_string())?;
    }
    for workload in &status.workloads {
        let text = if workload.exists {
            let images = workload.images.join(", ");
            format!(
                "{}: {} of {} ready, {images}",
                workload.workload, workload.ready, workload.replicas
            )
        } else {
            format!("{} does not exist", workload.workload)
        };
        page.labelled("  workload ", None, &text)?;
        if let Some(state) = &workload.state {
            page.labelled("           ", Some(Paint::Yellow), state)?;
        }
    }
    if let Some(why) = &status.cluster_unknown {
        page.labelled("  workload ", Some(Paint::Yellow), &format!("not known: {why}"))?;
    }
    Ok(())
}

fn write_match(page: &mut Page<'_>, fingerprint: &SchemaMatch) -> io::Result<()> {
    match fingerprint {
        SchemaMatch::AsRecorded => page.labelled("           ", None, "as it was recorded"),
        SchemaMatch::Unknown => page.labelled("           ", None, "no fingerprint is recorded for it"),
        SchemaMatch::Differs { differences } => {
            page.labelled(
                "  drift    ",
                Some(Paint::Yellow),
                "the schema was changed since it was recorded",
            )?;
            for difference in differences {
                page.labelled("           ", None, difference)?;
            }
            Ok(())
        }
    }
}

fn write_run(page: &mut Page<'_>, status: &Status) -> io::Result<()> {
    if let Some(run) = &status.open_run {
        let how = match run.status {
            RunStatus::Opening => "was being opened and has done nothing",
            RunStatus::Open => "is not finished",
            RunStatus::Halted => "has halted",
            RunStatus::Closed => "is closed",
        };
        page.labelled(
            "  run      ",
            Some(Paint::Yellow),
            &format!("{} {how}: {}", run.title, run.run),
        )?;
        if let Some(standing) = &status.standing {
            write_standing(page, standing)?;
        }
        let when = match status.lease {
            Some(_) => "once nobody holds the lease, to continue it",
            None => "to continue it",
        };
        if run.status == RunStatus::Opening {
            page.labelled("           ", None, "type the command that began it once more")?;
        } else {
            page.labelled("           ", None, &format!("{when}: stepback resume {}", run.run))?;
        }
    }
    if let Some(lease) = &status.lease {
        let heard = match lease.ahead_ms {
            0 => format!("heard {} ago", duration(lease.age_ms)),
            ahead => format!("heard {} ahead of the clock, which was set back", duration(ahead)),
        };
        page.labelled("  lease    ", None, &format!("held by {}, {heard}", lease.holder))?;
    }
    Ok(())
}

fn write_standing(page: &mut Page<'_>, standing: &Standing) -> io::Result<()> {
    let how = match (standing.state, standing.migrations) {
        ("started", Some(Progress { done, of })) => format!("{done} of {} done", count(of as usize, "migration")),
        ("started", None) => "begun, not done".to_owned(),
        ("applied", _) => "done, its gate has not held yet".to_owned(),
        _ => "done".to_owned(),
    };
    let Standing { step, of, does, .. } = standing;
    page.labelled("           ", None, &format!("step {step} of {of} ({does}): {how}"))
}

fn write_reach(page: &mut Page<'_>, reach: &Reach, known: bool) -> io::Result<()> {
    // Not forbidden, only not a way back: at night, a code alone says too little.
    let is_ahead = reach.refused == ["target-behind"];
    let price = match (reach.undone, reach.applied) {
        _ if is_ahead => format!("ahead: schema {} is not applied here (target-behind)", reach.schema),
        _ if !reach.refused.is_empty() => format!("refused: {}", reach.refused.join(", ")),
        _ if reach.steps == 0 && !known => "the schema is here".to_owned(),
        _ if reach.steps == 0 => "here".to_owned(),
        (0, 0) => format!("{}, the schema stays", count(reach.steps, "step")),
        (down, 0) => format!("undoes {}", count(down, "migration")),
        (0, up) => format!("applies {}", count(up, "migration")),
        (down, up) => format!("undoes {}, applies {up}", count(down, "migration")),
    };
    let paint = match (reach.refused.is_empty() || is_ahead, reach.steps) {
        _ if is_ahead => Paint::Dim,
        (false, _) => Paint::Red,
        (true, 0) => Paint::Green,
        _ => Paint::Bold,
    };
    page.labelled(&format!("  {:<8} ", reach.release.to_string()), Some(paint), &price)
}

/// Writes the list of migrations, oldest version first.
///
/// # Errors
/// As the writer's.
pub fn write_migrations(page: &mut Page<'_>, migrations: &[MigrationStatus]) -> io::Result<()> {
    if migrations.is_empty() {
        return page.line("no migrations");
    }
    for one in migrations {
        let (word, paint) = match one.applied_at {
            Some(_) => ("applied", Paint::Green),
            None => ("pending", Paint::Yellow),
        };
        let (word, paint) = if one.edited {
            ("edited", Paint::Red)
        } else {
            (word, paint)
        };
        let word = page.paint(paint, &format!("{word:<7}"));
        let down = match one.down {
            _ if one.down_edited => "  down edited".to_owned(),
            "captured" | "folder" => String::new(),
            "missing" => "  no down".to_owned(),
            "empty" => "  empty down".to_owned(),
            other => format!("  down {other}"),
        };
        page.line(&format!("  {word}  {}{down}", one.migration))?;
    }
    if migrations.iter().any(|one| one.edited) {
        let why = "edited: applied, and its up script was changed since; restore the file, and put the change into a new \
                   migration";
        page.blank()?;
        page.labelled("", None, why)?;
    }
    if migrations.iter().any(|one| one.down_edited) {
        let why = "down edited: the folder's down script is not the one that was captured, and every way back refuses it; \
                   restore the file, or point --dir at an empty folder: what was captured runs";
        page.blank()?;
        page.labelled("", None, why)?;
    }
    Ok(())
}
