//! Progress while a run is carried out.
//!
//! Responsible for: turning the executor's events into lines, into a writer it is given. Not for: the answer (core's
//! `report`), nor for knowing what the writer is. Only `cli` uses it.

mod bar;

use std::collections::BTreeSet;
use std::io::Write;

use stepback_core::journal::{Entry, What};
use stepback_core::model::{Observed, Progress, RunId, StepId};
use stepback_core::plan::{Gate, Plan};
use stepback_core::report::{count, wrap};

use crate::run::{Event, Listen};
use bar::Bar;

pub use bar::write_above;

/// Plain lines: one when a step starts, one when it is done, and one for each new reason for waiting. Drawn on a
/// terminal: one for each step that is done, and below them the step under way.
///
/// What the writer does not take is lost, and the run goes on.
pub struct Lines<W: Write + Send> {
    out: W,
    plan: Plan,
    quiet: bool,
    /// The step under way that was said to be.
    told: Option<StepId>,
    /// When the present step was started.
    started: Option<jiff::Timestamp>,
    /// What was seen of the present step.
    seen: String,
    /// The reasons for waiting that were said of the present step, so that none is said twice.
    reasons: BTreeSet<String>,
    /// The step that they are of.
    of_step: Option<StepId>,
    /// How far the present step was seen to be, where it was begun and is not done.
    partly: Option<(StepId, Progress)>,
    /// The run, once it is open.
    opened: Option<RunId>,
    /// Whether an entry was heard.
    begun: bool,
    /// The step under way, where it is drawn.
    bar: Option<Bar>,
    /// How wide a line may be, where somebody reads it on a terminal.
    width: Option<usize>,
}

impl<W: Write + Send> Lines<W> {
    /// Progress of a run of this plan. When `quiet`, nothing is written.
    pub fn new(out: W, plan: &Plan, quiet: bool) -> Self {
        Self {
            out,
            plan: plan.clone(),
            quiet,
            told: None,
            started: None,
            seen: String::new(),
            reasons: BTreeSet::new(),
            of_step: None,
            partly: None,
            opened: None,
            begun: false,
            bar: None,
            width: None,
        }
    }

    /// The same with lines that are broken at this width, each further one under the text of its first. Elsewhere a line
    /// stays whole, for whoever searches a log.
    #[must_use]
    pub fn within(mut self, width: Option<usize>) -> Self {
        self.width = width;
        self
    }

    /// The same with the step under way drawn on standard error, where that `can` be drawn on.
    #[must_use]
    pub fn drawn(mut self, can: bool) -> Self {
        self.bar = (can && !self.quiet).then(|| Bar::draw(&self.plan));
        self
    }

    /// The run, when its opening was heard: from then on it may have effects.
    pub fn opened(&self) -> Option<&RunId> {
        self.opened.as_ref()
    }

    /// How far a step was last seen to be that was begun and is not done.
    pub fn partly(&self) -> Option<(StepId, Progress)> {
        self.partly
    }

    /// Whether an entry was heard: this process has begun to carry the run out, or on.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    fn say(&mut self, line: &str) {
        if !self.quiet {
            // Progress that nobody reads is no reason to stop half-way.
            let out = &mut self.out;
            let mut write = || drop(writeln!(out, "{line}").and_then(|()| out.flush()));
            match &self.bar {
                Some(bar) => bar.above(write),
                None => write(),
            }
        }
    }

    fn say_of(&mut self, step: StepId, text: &str) {
        let of = self.plan.steps.len();
        self.say_behind(&format!("step {step}/{of}  "), text);
    }

    /// Says a text behind a label, on as many lines as it takes.
    fn say_behind(&mut self, label: &str, text: &str) {
        let line = self.behind(label, text);
        self.say(&line);
    }

    fn behind(&self, label: &str, text: &str) -> String {
        let indent = label.chars().count();
        match self.width {
            Some(width) => format!("{label}{}", wrapped(text, width.saturating_sub(indent), indent)),
            None => format!("{label}{text}"),
        }
    }

    /// Says something of a step, once: reasons that come and go, such as those of two pods in turn, fill no page.
    fn give_reason(&mut self, step: StepId, reason: String) {
        if self.of_step.replace(step) != Some(step) {
            self.reasons.clear();
        }
        match &self.bar {
            // Drawn again and again, it says what is waited for now.
            Some(bar) => bar.say(&reason),
            None if self.reasons.insert(reason.clone()) => self.say_of(step, &reason),
            None => {}
        }
    }

    /// Says what is acted on: whoever resumes a run was shown no plan.
    fn say_where(&mut self) {
        let database = &self.plan.database.redacted;
        let text = match self.plan.acts_on() {
            Some(on) => format!("{on}; {database}"),
            None => database.clone(),
        };
        self.say_behind("acting on   ", &text);
    }

    /// Says what is under way.
    fn begin(&mut self, step: StepId, how: &str) {
        self.told = Some(step);
        let does = self.plan.step(step).map(|step| step.action.describe());
        let text = format!("{}{how}", does.unwrap_or_default());
        let of = self.plan.steps.len();
        // Behind the sign that turns, and two blanks.
        let drawn = self.behind(&format!("step {step}/{of}  "), &text).replace('\n', "\n  ");
        match (&mut self.bar, self.plan.step(step)) {
            (Some(bar), Some(begun)) => bar.begin(&self.plan, begun, &drawn),
            _ => self.say_of(step, &text),
        }
    }

    /// A step that an earlier process began is said to be under way too: it may take long.
    fn go_on(&mut self, step: StepId) {
        if self.told != Some(step) && self.plan.step(step).is_some() {
            self.begin(step, " (going on)");
        }
    }

    fn take(&mut self, entry: &Entry) {
        match &entry.what {
            What::RunOpened { run, .. } => {
                self.opened = Some(run.clone());
                self.say(&format!("run opened  {run}"));
                self.say_where();
            }
            What::RunResumed { by, dead, .. } => {
                self.say_behind("run resumed by ", &by.to_string());
                self.say_where();
                for dead in dead {
                    self.say(&format!("removing {} by force, which is said to be dead", dead.pod));
                }
            }
            What::StepStarted { step, attempt } => {
                self.started.get_or_insert(entry.at);
                match attempt {
                    1 => self.begin(*step, ""),
                    attempt => self.begin(*step, &format!(" (attempt {attempt})")),
                }
            }
            What::StepApplied { seen, .. } => self.seen.clone_from(seen),
            What::StepPassed { step, seen } => {
                // A step that another process started took longer than what was seen of it here.
                let took = self.started.take().map(|since| {
                    let ms = u64::try_from(entry.at.as_millisecond() - since.as_millisecond()).unwrap_or(0);
                    format!(" in {}.{:02} s", ms / 1000, ms % 1000 / 10)
                });
                let took = took.unwrap_or_default();
                let has_gate = self.plan.step(*step).is_some_and(|step| step.gate != Gate::None);
                let seen = if has_gate {
                    seen.clone()
                } else {
                    std::mem::take(&mut self.seen)
                };
                self.partly = None;
                match (&self.bar, self.plan.step(*step)) {
                    // The line is the only one that stays of this step.
                    (Some(bar), Some(passed)) => {
                        bar.pass(passed);
                        let of = self.plan.steps.len();
                        let (number, width) = (step.to_string(), of.to_string().len());
                        let took = took.trim_start_matches(" in ");
                        let label = format!("{number:>width$}/{of}  {took:>8}  ");
                        let does = passed.action.describe();
                        self.say_behind(&label, &does);
                    }
                    _ => self.say_of(*step, &format!("done{took}: {seen}")),
                }
            }
            // Why it halted is the answer's to say, once.
            What::RunHalted { .. } | What::RunClosed { .. } | What::RunHandedOver { .. } => self.put_away(),
            What::Unknown => {}
        }
    }

    /// From here on it is another run of another plan.
    fn turn_back(&mut self, run: &RunId, why: &str, plan: &Plan) {
        self.put_away();
        self.say_behind("halted: ", why);
        let steps = count(plan.steps.len(), "step");
        self.say_behind(
            "onFailure: abort: ",
            &format!("going back to where the run started, in {steps}; run {run}"),
        );
        self.plan = plan.clone();
        self.bar = self.bar.take().map(|_| Bar::draw(&self.plan));
        (self.told, self.started, self.partly, self.of_step) = (None, None, None, None);
        self.seen.clear();
    }

    /// Nothing is under way any more.
    fn put_away(&self) {
        if let Some(bar) = &self.bar {
            bar.clear();
        }
    }
}

impl<W: Write + Send> Listen for Lines<W> {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Entry(entry) => {
                self.begun = true;
                self.take(&entry);
            }
            Event::Observed {
                step,
                seen: Observed::Partial(progress),
            } if progress.done > 0 => {
                self.partly = Some((step, progress));
                let text = format!("{} of {}", progress.done, progress.of);
                match &self.bar {
                    Some(bar) => {
                        bar.advance(progress.done.into());
                        bar.say(&text);
                    }
                    None => self.give_reason(step, text),
                }
            }
            Event::Performing(step) => self.go_on(step),
            Event::Observed { .. } => {}
            Event::Held { reason } if self.reasons.insert(reason.clone()) => self.say_behind("waiting: ", &reason),
            Event::Held { .. } => {}
            Event::TurningBack { run, halt, plan } => self.turn_back(&run, &halt.message, &plan),
            Event::Waiting { step, reason } => {
                self.go_on(step);
                self.give_reason(step, format!("waiting: {reason}"));
            }
            Event::Retrying { step, reason } => self.give_reason(step, format!("trying again: {reason}")),
        }
    }
}

/// Text on lines of this width, each further one this far to the right.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    wrap(text, width).join(&format!("\n{}", " ".repeat(indent)))
}
