//! Runs cases: each on a thread and a tokio runtime of its own, within a limit, in a directory that is removed.
//!
//! It is responsible for telling *passed*, *failed* and *skipped* apart. A skipped case is one that could not run here
//! (a server is not installed); it is counted as ignored, named again at the end with its reason, and in CI it is a
//! failure unless `tests/allowed-skips.txt` lists it. It knows nothing about servers or the product.

use std::{
    any::Any,
    env,
    fmt::{self, Display},
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;

/// How long a case may take unless it says otherwise. Generous: two cores, several cases at a time, debug builds.
const LIMIT: Duration = Duration::from_secs(120);

/// How long after its limit a case that does not even yield is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Cases at a time unless `--test-threads` says otherwise. They mostly wait for servers, so this is more than two cores
/// have, and no more than they can carry without cases running into their limits.
const THREADS: usize = 4;

/// The cases of one module.
pub struct Subject {
    pub name: &'static str,
    pub cases: Vec<Case>,
}

/// One test. Made by [`case`] and [`sync_case`].
pub struct Case {
    name: String,
    limit: Duration,
    body: Box<dyn FnOnce(Ctx, Duration) -> Outcome + Send>,
}

/// What a case ends with.
pub type Outcome = Result<(), NotPassed>;

/// Why a case did not pass.
///
/// Every error becomes `Failed` through `?`. `Skipped` is only made by [`skip`].
#[derive(Clone, Debug)]
pub enum NotPassed {
    /// It could not run here, for this reason.
    Skipped(String),
    /// It ran, or should have, and this is what went wrong.
    Failed(String),
}

impl<E: std::error::Error> From<E> for NotPassed {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str("\n  because: ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        NotPassed::Failed(text)
    }
}

/// Ends a case as failed: `return fail("…")`, or `.map_err(…)?` with [`NotPassed::Failed`].
pub fn fail<T>(message: impl Display) -> Result<T, NotPassed> {
    Err(NotPassed::Failed(message.to_string()))
}

/// Ends a case as skipped. Only for what the machine lacks, never for what is hard to test.
pub fn skip<T>(reason: impl Display) -> Result<T, NotPassed> {
    Err(NotPassed::Skipped(reason.to_string()))
}

/// What a case is given. Its directory is removed when it is dropped.
pub struct Ctx {
    name: String,
    dir: TempDir,
}

impl Ctx {
    /// The case's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An empty directory of this case's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in [`Ctx::dir`] at which nothing is yet: for an SQLite database, say.
    pub fn fresh_file(&self, name: &str) -> PathBuf {
        let path = self.dir().join(name);
        assert!(!path.exists(), "{} is already there", path.display());
        path
    }
}

/// An asynchronous case. `name` is `module::what_holds`.
///
/// The body runs on a multi-threaded runtime of its own, so what one case leaves running cannot disturb the next.
pub fn case<F, Fut>(name: impl Into<String>, body: F) -> Case
where
    F: FnOnce(Ctx) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome>,
{
    let body = move |ctx: Ctx, limit: Duration| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| NotPassed::Failed(format!("no runtime for the case: {error}")))?;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async move {
                tokio::time::timeout(limit, body(ctx))
                    .await
                    .unwrap_or_else(|_| fail(OverLimit(limit)))
            })
        }));
        // Not dropped: a drop waits for blocking tasks, and a case that failed may have left one that never ends.
        runtime.shutdown_background();
        outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
    };
    Case {
        name: name.into(),
        limit: LIMIT,
        body: Box::new(body),
    }
}

/// A case that waits for nothing.
pub fn sync_case<F>(name: impl Into<String>, body: F) -> Case
where
    F: FnOnce(Ctx) -> Outcome + Send + 'static,
{
    Case {
        name: name.into(),
        limit: LIMIT,
        body: Box::new(move |ctx, _limit| body(ctx)),
    }
}

impl Case {
    /// Another limit than the usual two minutes.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// `module::what_holds`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the case ends with, run once.
    ///
    /// It runs on a thread named after it, so that a panic's message names it, and is given up on when it hangs.
    pub fn perform(self) -> Outcome {
        let Case { name, limit, body } = self;
        let dir = tempfile::Builder::new()
            .prefix("case-")
            .tempdir_in(super::process::scratch()?)?;
        let ctx = Ctx {
            name: name.clone(),
            dir,
        };
        let (send, receive) = mpsc::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| body(ctx, limit)))
                .unwrap_or_else(|panic| fail(format_args!("panicked: {}", panic_text(&*panic))));
            // Nobody listens any more when the case was given up on.
            drop(send.send(outcome));
        })?;
        match receive.recv_timeout(limit + GRACE) {
            Ok(outcome) => {
                // The body's panic was caught, so the thread has nothing left to say.
                drop(thread.join());
                outcome
            }
            Err(_) => fail(format_args!(
                "{}; it does not yield, and its thread was left behind",
                OverLimit(limit)
            )),
        }
    }
}

struct OverLimit(Duration);

impl Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within its limit of {:?}", self.0)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something that is not text")
}

/// The cases that CI lets be skipped: patterns, one a line, `*` stands for anything, `#` begins a comment.
#[derive(Clone)]
pub struct AllowedSkips {
    patterns: Vec<String>,
    in_ci: bool,
}

impl AllowedSkips {
    /// Reads the list from its text.
    pub fn parse(text: &str, in_ci: bool) -> Self {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        AllowedSkips {
            patterns: lines.filter(|line| !line.is_empty()).map(String::from).collect(),
            in_ci,
        }
    }

    /// Whether a skip of `case` is only told, and not a failure.
    pub fn allow(&self, case: &str) -> bool {
        !self.in_ci || self.patterns.iter().any(|pattern| matches(pattern, case))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(after, &rest[at..]))),
    }
}

/// The directory of the root package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the subjects' cases as the command line asks; the exit code is 101 when one failed.
#[expect(clippy::print_stderr, reason = "the answer of a test runner")]
pub fn run(subjects: Vec<Subject>) -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(THREADS);

    let list = root().join("tests/allowed-skips.txt");
    let text = fs::read_to_string(&list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let allowed = AllowedSkips::parse(&text, env::var("CI").is_ok_and(|ci| ci == "true"));

    let skips = Arc::new(Mutex::new(Vec::new()));
    let cases = subjects.into_iter().flat_map(|subject| subject.cases);
    let trials = cases
        .map(|case| trial(case, allowed.clone(), Arc::clone(&skips)))
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);

    let mut skips = skips.lock().expect("no case panics while it holds this lock");
    skips.sort();
    if !skips.is_empty() {
        eprintln!("skipped: {} (these did not run, which is not passing)", skips.len());
        for (name, reason) in skips.iter() {
            eprintln!("  {name}: {reason}");
        }
    }
    conclusion.exit_code()
}

type Skips = Arc<Mutex<Vec<(String, String)>>>;

fn trial(case: Case, allowed: AllowedSkips, skips: Skips) -> Trial {
    let name = case.name.clone();
    Trial::ignorable_test(case.name.clone(), move || match case.perform() {
        Ok(()) => Ok(Completion::Completed),
        Err(NotPassed::Failed(message)) => Err(Failed::from(message)),
        Err(NotPassed::Skipped(reason)) if allowed.allow(&name) => {
            skips
                .lock()
                .expect("no case panics while it holds this lock")
                .push((name, reason.clone()));
            Ok(Completion::ignored_with(reason))
        }
        Err(NotPassed::Skipped(reason)) => Err(Failed::from(format!(
            "skipped, which tests/allowed-skips.txt does not allow in CI: {reason}"
        ))),
    })
}
