//! The real binary, started in a folder with nothing but its credentials: run to its end, killed, put to sleep.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use stepback_sandbox::api::Hold;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinHandle,
};

use crate::support::runner::{NotPassed, Outcome, fail};

/// What every call of the binary is given: the two variables that say where the world is.
#[derive(Clone)]
pub struct Credentials {
    pub kubeconfig: PathBuf,
    pub database: String,
}

/// What one call came to; no code when a signal ended it.
#[derive(Debug)]
pub struct Ran {
    typed: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A call that is under way. Dropping it kills it.
pub struct Running {
    typed: String,
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
}

impl Credentials {
    /// Starts the binary in a folder.
    pub fn start(&self, folder: &Path, typed: &str) -> Result<Running, NotPassed> {
        self.start_with(folder, typed, &[])
    }

    /// The same with more of an environment.
    pub fn start_with(&self, folder: &Path, typed: &str, env: &[(&str, &str)]) -> Result<Running, NotPassed> {
        // A measurement names a release build.
        let program = std::env::var_os("STEPBACK").unwrap_or_else(|| env!("CARGO_BIN_EXE_stepback").into());
        let mut child = Command::new(program)
            .args(typed.split_whitespace())
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "tester")
            .env("HOSTNAME", "here")
            .env("KUBECONFIG", &self.kubeconfig)
            .env("DATABASE_URL", &self.database)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = read(child.stdout.take().expect("standard output was asked for as a pipe"));
        let err = read(child.stderr.take().expect("standard error was asked for as a pipe"));
        Ok(Running {
            typed: typed.to_owned(),
            child,
            out,
            err,
        })
    }

    /// Runs the binary to its end, which must be this one.
    pub async fn run(&self, code: i32, folder: &Path, typed: &str) -> Result<Ran, NotPassed> {
        self.start(folder, typed)?.ended().await?.with(code)
    }
}

fn read(mut from: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        // What was read until a failure is all that there is to show.
        drop(from.read_to_end(&mut bytes).await);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Waits for its end; may be given up and called again.
    pub async fn ended(&mut self) -> Result<Ran, NotPassed> {
        let status = self.child.wait().await?;
        let ran = Ran {
            typed: self.typed.clone(),
            code: status.code(),
            out: (&mut self.out).await?,
            err: (&mut self.err).await?,
        };
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains("hidden-word"), "a password was shown: {ran}");
        }
        Ok(ran)
    }

    /// `kill -9`; returns once the process is gone.
    pub async fn kill(mut self) -> Result<Ran, NotPassed> {
        self.child.start_kill()?;
        self.ended().await
    }

    /// Waits until a request that is held has arrived; fails where it ends before.
    pub async fn reaches(&mut self, hold: &mut Hold) -> Outcome {
        tokio::select! {
            held = hold.arrived() => drop(held?),
            ended = self.ended() => return fail(format_args!("it ended before it asked for what is held: {}", ended?)),
        }
        Ok(())
    }

    /// `kill -9` once the write that is held has arrived; fails where it ends before.
    pub async fn kill_at(mut self, hold: &mut Hold) -> Result<Ran, NotPassed> {
        self.reaches(hold).await?;
        self.kill().await
    }

    /// Sends it a signal by its name, without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<(), NotPassed> {
        let Some(pid) = self.child.id() else {
            return fail(format_args!(
                "stepback {} has ended, and SIG{name} finds nobody",
                self.typed
            ));
        };
        let script = format!("kill -s {name} {pid}");
        let status = Command::new("/bin/sh").args(["-c", &script]).status().await?;
        if status.success() {
            return Ok(());
        }
        fail(format_args!("`{script}` ended with {status}"))
    }
}

impl Ran {
    /// Whether these words stand on standard error, wherever its lines are wrapped.
    pub fn says(&self, words: &str) -> bool {
        let said: Vec<&str> = self.err.split_whitespace().collect();
        said.join(" ").contains(words)
    }

    /// Itself, where it has ended with this code.
    pub fn with(self, code: i32) -> Result<Ran, NotPassed> {
        if self.code == Some(code) {
            return Ok(self);
        }
        fail(format_args!("it should have ended with {code}: {self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ran { typed, code, out, err } = self;
        write!(
            f,
            "stepback {typed} ended with {code:?}\n--- stdout\n{out}--- stderr\n{err}"
        )
    }
}
