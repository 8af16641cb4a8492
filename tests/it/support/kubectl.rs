//! `kubectl`, of the release that the control plane is of: one more component of its binary.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    controlplane,
    runner::{NotPassed, fail},
};

/// A `kubectl` that talks to one cluster, in one namespace.
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    home: PathBuf,
}

/// What a call came to.
#[derive(Debug)]
pub struct Ran {
    pub typed: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Kubectl {
    /// With a folder of its own for what it remembers of a cluster.
    pub fn new(kubeconfig: &Path, namespace: &str, home: &Path) -> Result<Self, NotPassed> {
        Ok(Self {
            binary: controlplane::binary()?,
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
            home: home.to_owned(),
        })
    }

    /// Runs it to its end with these words and this input.
    pub async fn run_with(&self, words: &[&str], input: &str) -> Result<Ran, NotPassed> {
        let mut child = Command::new(&self.binary)
            .arg("kubectl")
            .args(words)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBECONFIG", &self.kubeconfig)
            .args(
                ["--namespace", &self.namespace]
                    .iter()
                    .filter(|_| !words.contains(&"--")),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
        // Whoever does not read its input need not be told of it.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = child.wait_with_output().await?;
        Ok(Ran {
            typed: words.join(" "),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it, and answers with what it wrote; fails where it fails.
    pub async fn ok(&self, typed: &str) -> Result<String, NotPassed> {
        let words: Vec<&str> = typed.split_whitespace().collect();
        Ok(self.run_with(&words, "").await?.with(0)?.out)
    }

    /// Runs it, and answers with what it said; it must end with this code.
    pub async fn fails(&self, code: i32, typed: &str) -> Result<String, NotPassed> {
        let words: Vec<&str> = typed.split_whitespace().collect();
        let ran = self.run_with(&words, "").await?.with(code)?;
        Ok(ran.out + &ran.err)
    }

    /// Applies an object.
    pub async fn apply(&self, object: &Value) -> Result<String, NotPassed> {
        let ran = self.run_with(&["apply", "-f", "-"], &object.to_string()).await?;
        Ok(ran.with(0)?.out)
    }

    /// Runs a command in the pod `web-0`.
    pub async fn exec(&self, command: &[&str], input: &str) -> Result<Ran, NotPassed> {
        let start = ["exec", "--namespace", &self.namespace, "-i", "web-0", "--"];
        self.run_with(&[&start, command].concat(), input).await
    }
}

impl Ran {
    /// Itself, where it has ended with this code.
    pub fn with(self, code: i32) -> Result<Ran, NotPassed> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let Ran {
            typed,
            code: is,
            out,
            err,
        } = self;
        fail(format_args!(
            "kubectl {typed} ended with {is:?}, not with {code}\n--- stdout\n{out}--- stderr\n{err}"
        ))
    }
}
