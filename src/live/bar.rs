//! The step under way, drawn again and again below the lines: what is done, what it waits for, how long, and how far the
//! run is. Only for terminals that can draw; without colour, so that it reads on light and dark ones alike.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use stepback_core::plan::{Action, Plan, Step};
use stepback_core::report::limit;

/// The bar that is on the screen, for whoever else has something to say there.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Lets something be written above a bar that is on the screen, or where none is, just so.
pub fn write_above(write: impl FnOnce()) {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// How often the time is drawn again.
const TICK: Duration = Duration::from_millis(100);

const TEMPLATE: &str = "{spinner} {prefix}\n  {wide_msg}\n  [{bar:24}] {pos} of {len} migrations and pods, {since}";

/// A bar on standard error. Dropping it takes it away.
pub(super) struct Bar {
    bar: ProgressBar,
    limit_ms: Arc<AtomicU64>,
    /// Migrations and pods of the steps before the present one.
    before: u64,
}

impl Bar {
    /// A bar over the plan's migrations and pods.
    pub(super) fn draw(plan: &Plan) -> Self {
        let limit_ms = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&limit_ms);
        let since = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let mut text = format!("{} s", state.elapsed().as_secs());
            let most = shown.load(Ordering::Relaxed);
            if most > 0 {
                text.push_str(&format!(" of at most {}", limit(most)));
            }
            // What cannot be drawn is drawn again a moment later.
            out.write_str(&text).unwrap_or_default();
        };
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style
            .with_key("since", since)
            .progress_chars("=> ")
            .tick_chars("|/-\\ ");
        let all = plan.steps.iter().map(units).sum();
        let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr()).with_style(style);
        Self {
            bar,
            limit_ms,
            before: 0,
        }
    }

    /// A step has begun.
    pub(super) fn begin(&mut self, plan: &Plan, step: &Step, text: &str) {
        let earlier = plan.steps.iter().filter(|other| other.id < step.id);
        self.before = earlier.map(units).sum();
        self.limit_ms.store(step.limit_ms, Ordering::Relaxed);
        self.bar.reset_elapsed();
        self.bar.set_position(self.before);
        self.bar.set_prefix(text.to_owned());
        self.bar.set_message("");
        let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.is_none() {
            *drawn = Some(self.bar.clone());
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// Why it is not done yet.
    pub(super) fn say(&self, text: &str) {
        self.bar.set_message(text.replace('\n', " "));
    }

    /// So many of the present step's migrations are done.
    pub(super) fn advance(&self, done: u64) {
        self.bar.set_position(self.before + done);
    }

    /// The step has passed.
    pub(super) fn pass(&self, step: &Step) {
        self.advance(units(step));
    }

    /// Writes above it.
    pub(super) fn above(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Takes it away until a step begins again.
    pub(super) fn clear(&self) {
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How many migrations a step runs, or pods it stops or starts.
fn units(step: &Step) -> u64 {
    match &step.action {
        Action::Revert { scripts, .. } | Action::Apply { scripts } => scripts.len() as u64,
        Action::Scale { from, to, .. } => u64::from(from.abs_diff(*to)),
        _ => 0,
    }
}
