//! The real binary, run as a user would: arguments in, exit code and both outputs out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::runner::{NotPassed, fail};

/// The binary in a directory, with an environment of its own.
pub struct Binary {
    dir: PathBuf,
    env: Vec<(String, String)>,
}

/// What one call of it came to.
#[derive(Debug)]
pub struct Ran {
    pub typed: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Binary {
    /// In this directory, with nothing of the tests' own environment but `PATH`.
    pub fn in_dir(dir: &Path) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let env = [
            ("PATH", path.as_str()),
            ("COLUMNS", "80"),
            ("USER", "tester"),
            ("HOSTNAME", "here"),
        ];
        Self {
            dir: dir.to_owned(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// In this directory, with a database `a.db` that is not there yet, and a folder `migrations` of these scripts.
    pub fn with_migrations(dir: &Path, scripts: &[(&str, &str)]) -> Result<Self, NotPassed> {
        let folder = dir.join("migrations");
        fs::create_dir(&folder)?;
        for (name, sql) in scripts {
            fs::write(folder.join(name), sql)?;
        }
        Ok(Self::in_dir(dir).env("DATABASE_URL", "sqlite://a.db"))
    }

    /// With one more variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The command, for those who want to do more than wait for its end.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepback"));
        command
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end. The arguments are split at blanks.
    pub fn run(&self, typed: &str) -> Result<Ran, NotPassed> {
        let arguments: Vec<&str> = typed.split_whitespace().collect();
        let output = self.command(&arguments).output()?;
        let Some(code) = output.status.code() else {
            return fail(format_args!("stepback {typed} was ended by a signal"));
        };
        Ok(Ran {
            typed: typed.to_owned(),
            code,
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs it, and fails unless it ends with this code.
    pub fn ends(&self, code: i32, typed: &str) -> Result<Ran, NotPassed> {
        let ran = self.run(typed)?;
        if ran.code == code {
            return Ok(ran);
        }
        fail(format_args!(
            "stepback {} ended with {}, not with {code}\n--- stdout\n{}--- stderr\n{}",
            ran.typed, ran.code, ran.out, ran.err
        ))
    }
}
