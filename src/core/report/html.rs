//! A run as one page of HTML: no script, no network, light and dark as the reader has it, and fit for paper.

use std::io::{self, Write};

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::outage::Outage;
use super::page::{clock, count, duration, moment};
use super::run::{Pause, Report, StepReport, strategy_name};
use super::timeline::Timeline;
use crate::model::Finding;

const STYLE: &str = include_str!("html.css");

/// The page's own style is all that it may use: no script runs and nothing is fetched, whatever a message holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Writes a run's report as a page. Every value is escaped.
///
/// # Errors
/// As the writer's.
pub fn write_report_html(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    out.write_all(render(report).into_string().as_bytes())
}

fn render(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (arrows(&report.title)) ": " (report.state) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (arrows(&report.title)) }
                    span class=(format!("state {}", tone(report.state))) { (sign(report.state)) " " (report.state) }
                }
                (say(report))
                (figures(report))
                (facts(report))
                h2 { (count(report.steps.len(), "step")) }
                (timeline(report))
                @if !report.pauses.is_empty() {
                    h2 { "Interruptions" }
                    ol.list { @for pause in &report.pauses { (interruption(pause)) } }
                }
                @if !report.findings.is_empty() {
                    h2 { "Found beforehand" }
                    ol.list { @for finding in &report.findings { (found(finding)) } }
                }
                footer { "Made from the run's journal alone. All times are UTC. Plan " code { (report.plan) } "." }
            }
        }
    }
}

fn tone(state: &str) -> &'static str {
    match state {
        "done" => "good",
        "halted" | "stopped" => "bad",
        _ => "",
    }
}

fn sign(state: &str) -> &'static str {
    match state {
        "done" => "\u{2713}",
        "halted" | "stopped" => "\u{25a0}",
        _ => "\u{25b6}",
    }
}

/// What somebody who opens the page must know first.
fn say(report: &Report) -> Markup {
    let halt = report.pauses.last().filter(|pause| pause.resumed_at.is_none());
    html! {
        @if let Some(run) = &report.handed_over_to {
            div class="say open" { p { "Run " code { (run) } " took it back." } }
        } @else if let Some(halt) = halt.and_then(|pause| pause.halt.as_ref()) {
            div.say {
                p { @if let Some(step) = halt.step { "At step " (step) ": " } (lines(&halt.message)) }
                @if let Some(hint) = &halt.hint { p { (hint) } }
                @if report.is_unfinished() { p { "To continue: " code { "stepback resume " (report.run) } } }
            }
        } @else if report.is_unfinished() {
            div class="say open" {
                p { "It is being carried out, or its coordinator is gone." }
                p { "Who holds the lease: " code { "stepback status" } ". To continue: " code { "stepback resume " (report.run) } }
            }
        } @else if let Some(run) = &report.aborts {
            div class="say open" { p { "It took run " code { (run) } " back." } }
        }
    }
}

fn figures(report: &Report) -> Markup {
    let passed = report.steps.iter().filter(|step| step.state == "passed").count();
    html! {
        div.figures {
            @if let Some(outage) = &report.outage {
                div {
                    span.quiet { "outage" }
                    b { (duration(outage.ms)) @if outage.lasts { ", and it lasts" } }
                    span.quiet { (outage.span("")) }
                }
            }
            div {
                span.quiet { "took" }
                b { (duration(report.took_ms)) }
                @if let Some(at) = report.opened_at { span.quiet { (moment(at)) } }
            }
            div { span.quiet { "steps" } b { (passed) " of " (report.steps.len()) } span.quiet { "passed" } }
        }
    }
}

fn facts(report: &Report) -> Markup {
    html! {
        dl {
            @if let Some(app) = &report.app { dt { "app" } dd { (app) } }
            dt { "database" } dd { code { (report.database) } }
            @if let Some(on) = &report.acts_on { dt { "cluster" } dd { (on) } }
            dt { "from" } dd { (report.from) }
            dt { "to" } dd { (report.to) }
            @if let Some(chosen) = &report.strategy {
                dt { "strategy" } dd { b { (strategy_name(chosen.strategy)) } ": " (chosen.reason) }
            }
            @if let Some(by) = &report.by { dt { "opened by" } dd { (by) } }
            dt { "run" } dd { code { (report.run) } }
        }
    }
}

fn timeline(report: &Report) -> Markup {
    let (Some(from), Some(to)) = (report.opened_at, report.last_at) else {
        return html! { ol { @for step in &report.steps { (row(step, None, from_nothing())) } } };
    };
    let spans: Vec<_> = report.pauses.iter().filter_map(Pause::span).collect();
    let line = Timeline::new(from, to, &spans);
    let bands: Vec<String> = spans.iter().map(|(a, b)| band(line.at(*a), line.at(*b))).collect();
    let bands = if bands.is_empty() {
        "none".to_owned()
    } else {
        bands.join(", ")
    };
    html! {
        div style=(format!("--bands: {bands}")) {
            div.axis {
                div.ticks aria-hidden="true" {
                    @for at in [0u8, 25, 50, 75, 100] {
                        span style=(format!("left: {at}%")) { "+" (duration(line.elapsed_at(at.into()))) }
                    }
                }
            }
            ol { @if let Some(outage) = &report.outage { (outage_row(outage, &line)) } @for step in &report.steps { (row(step, Some((&line, to)), from)) } }
        }
        div.legend {
            span { i.workload {} "workload" }
            span { i.database {} "database" }
            span { i.waiting {} "waiting for its gate" }
            @if !spans.is_empty() { span { i.pause {} "stood still (drawn shorter where it was long)" } }
        }
    }
}

fn from_nothing() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// The time in which the run stood still, behind every bar.
fn band(from: f64, to: f64) -> String {
    // At least a hair's breadth, so that a short one is seen.
    let to = to.max(from + 0.2);
    format!(
        "linear-gradient(90deg, transparent {from:.2}%, var(--pause) {from:.2}%, var(--pause) {to:.2}%, transparent \
         {to:.2}%)"
    )
}

fn outage_row(outage: &Outage, line: &Timeline) -> Markup {
    html! {
        li.step.outage {
            span.number {}
            div.does {
                b { "outage" }
                small { "from the last pod's stop until the first one was healthy" }
            }
            div.track role="img" aria-label=(format!("outage of {}", duration(outage.ms))) {
                @for part in &outage.parts { div.bar.outage style=(place(line.at(part.from), line.at(part.to))) {} }
            }
            span class="took number" { b { (duration(outage.ms)) } }
        }
    }
}

/// Where a bar lies; one that is too short to be seen stays on the track.
fn place(left: f64, right: f64) -> String {
    format!("left: min({left:.2}%, 100% - 4px); width: {:.2}%", right - left)
}

/// With an arrow that is one, and that no line breaks off from what it stands between.
fn arrows(text: &str) -> String {
    text.replace(" -> ", "\u{a0}\u{2192}\u{a0}")
}

fn row(step: &StepReport, line: Option<(&Timeline, Timestamp)>, opened: Timestamp) -> Markup {
    let took = step.ms.map(duration).unwrap_or_default();
    html! {
        li class=(format!("step {}", step.state)) {
            span.number { (step.step) }
            div.does {
                (arrows(&step.does))
                @if step.attempts > 1 { span.quiet { " (" (step.attempts) " attempts)" } }
                @if step.state != "passed" { " " b.state-is { (words(step.state)) } }
                small {
                    @if let Some(at) = step.started_at { span class="at number" { (clock(at)) } }
                    @for (index, seen) in step.seen.iter().enumerate() { @if index > 0 { "; " } (lines(seen)) }
                }
            }
            div.track role="img" aria-label=(label(step, opened)) {
                @if let (Some((line, last)), Some(started)) = (line, step.started_at) { (bars(step, line, started, last)) }
            }
            span class="took number" { (took) }
        }
    }
}

/// What a state means to whoever has not read the journal's table.
fn words(state: &str) -> &str {
    match state {
        "pending" => "not started",
        "started" => "started, not done",
        "applied" => "done, its gate has not passed",
        state => state,
    }
}

fn label(step: &StepReport, opened: Timestamp) -> String {
    let since = |at: Timestamp| u64::try_from(at.as_millisecond() - opened.as_millisecond()).unwrap_or(0);
    match (step.started_at, step.ms) {
        (Some(at), Some(ms)) => format!("from +{} for {}", duration(since(at)), duration(ms)),
        (Some(at), None) => format!("from +{}, not finished", duration(since(at))),
        _ => "not started".to_owned(),
    }
}

fn bars(step: &StepReport, line: &Timeline, started: Timestamp, last: Timestamp) -> Markup {
    let applied = step.applied_at.unwrap_or(last);
    let passed = step.passed_at.unwrap_or(last);
    let unfinished = if step.passed_at.is_none() { " unfinished" } else { "" };
    let bar = |more: &str, from: Timestamp, to: Timestamp| {
        let class = format!("bar {}{more}{unfinished}", step.on);
        let style = place(line.at(from), line.at(to));
        html! { div class=(class) style=(style) {} }
    };
    html! {
        @if passed > applied { (bar(" waiting", applied, passed)) }
        (bar("", started, applied))
    }
}

fn interruption(pause: &Pause) -> Markup {
    html! {
        li {
            @if let (Some(at), Some(halt)) = (pause.halted_at, &pause.halt) {
                p {
                    b { "halted" } " " span.number { (moment(at)) }
                    @if let Some(step) = halt.step { " at step " (step) } ": " (lines(&halt.message))
                }
                @if let Some(hint) = &halt.hint { p.quiet { (hint) } }
            } @else {
                p {
                    b { "its coordinator ended without a word" }
                    @if let Some(at) = pause.last_heard_at { " after " span.number { (moment(at)) } }
                }
            }
            @if let (Some(at), Some(by)) = (pause.resumed_at, &pause.resumed_by) {
                p { b { "resumed" } " " span.number { (moment(at)) } " by " (by) (pause.said()) }
            }
        }
    }
}

fn found(finding: &Finding) -> Markup {
    html! {
        li {
            p { b { (finding.word()) } " " code { (finding.code) } " " (finding.subject) ": " (lines(&finding.message)) }
            @if !finding.remedy.is_empty() { p.quiet { (finding.remedy) } }
        }
    }
}

/// Text with its own line breaks.
fn lines(text: &str) -> Markup {
    html! { @for (index, line) in text.lines().enumerate() { @if index > 0 { br; } (line) } }
}
