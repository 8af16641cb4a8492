//! The page for whoever begins: every command of it is run, in its order, and prints what the page says.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use tokio::process::Command;

use crate::{
    docs::settled,
    sandbox::Sandbox,
    support::{
        controlplane,
        runner::{Case, Ctx, NotPassed, Outcome, case, fail, root},
    },
};

pub fn cases() -> Vec<Case> {
    vec![case("getting_started::every_command_prints_what_the_page_says", walk).limit(Duration::from_secs(180))]
}

/// A block of the page: what its fence says, and its lines.
struct Block<'a> {
    info: &'a str,
    lines: Vec<&'a str>,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                blocks.push(Block { info, lines: vec![] });
            }
            None if open => blocks.last_mut().expect("one was opened").lines.push(line),
            None => {}
        }
    }
    blocks
}

async fn walk(ctx: Ctx) -> Outcome {
    let page = fs::read_to_string(root().join("docs/getting-started.md"))?;
    let place = Place::lay_out(&ctx).await?;
    let (mut shown, mut printed) = (String::new(), String::new());
    for block in blocks(&page) {
        match block.info {
            "console" => {
                for line in &block.lines {
                    shown += &format!("{line}\n");
                    if let Some(typed) = line.strip_prefix("$ ") {
                        printed += &format!("{line}\n{}", place.run(typed).await?);
                    }
                }
            }
            // A new entry of the app file, above the one that is there.
            "yaml release" => {
                let file = place.shop().join("stepback.yaml");
                let text = fs::read_to_string(&file)?;
                let releases = "  releases:\n";
                assert!(text.contains(releases), "{text}");
                let more = format!("{releases}{}\n", block.lines.join("\n"));
                fs::write(&file, text.replacen(releases, &more, 1))?;
            }
            info => match info.strip_prefix("yaml ") {
                Some(file) => fs::write(place.shop().join(file), block.lines.join("\n"))?,
                None => return fail(format_args!("what is a block of {info:?}?")),
            },
        }
    }
    if words(&shown) != words(&printed) {
        return fail(format_args!(
            "docs/getting-started.md is not what happens; this was printed:\n{printed}"
        ));
    }
    place.sandbox.end("TERM").await
}

/// Without what differs from run to run; `kubectl` shows ages.
fn words(text: &str) -> String {
    let is_age = |word: &&str| word.strip_suffix('s').is_some_and(|age| age.parse::<u32>().is_ok());
    let settled = settled(text);
    settled
        .split(' ')
        .filter(|word| !is_age(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A folder with a clone in it, a cluster, and a path with the programs that the page names.
struct Place<'a> {
    dir: &'a Path,
    sandbox: Sandbox,
    path: String,
}

impl<'a> Place<'a> {
    async fn lay_out(ctx: &'a Ctx) -> Result<Place<'a>, NotPassed> {
        let dir = ctx.dir();
        let (bin, shop) = (dir.join("bin"), dir.join("shop"));
        fs::create_dir(&bin)?;
        fs::create_dir(&shop)?;
        std::os::unix::fs::symlink(root(), dir.join("stepback"))?;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stepback"), bin.join("stepback"))?;
        let kubectl = bin.join("kubectl");
        let script = format!("#!/bin/sh\nexec {} kubectl \"$@\"\n", controlplane::binary()?.display());
        fs::write(&kubectl, script)?;
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755))?;
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(Place {
            dir,
            sandbox: Sandbox::start(ctx, &[]).await?,
            path: format!("{}:{path}", bin.display()),
        })
    }

    fn shop(&self) -> std::path::PathBuf {
        self.dir.join("shop")
    }

    /// What a command prints, on both outputs.
    async fn run(&self, typed: &str) -> Result<String, NotPassed> {
        let url = format!("sqlite://{}", self.shop().join("shop.db").display());
        let ran = Command::new("bash")
            .args(["-c", &format!("{typed} 2>&1")])
            .current_dir(self.shop())
            .env("PATH", &self.path)
            .env("HOME", self.dir)
            .env("KUBECONFIG", &self.sandbox.kubeconfig)
            .env("DATABASE_URL", url)
            .env("COLUMNS", "80")
            .env("USER", "ada")
            .env("HOSTNAME", "laptop")
            .kill_on_drop(true)
            .output();
        let ran = tokio::time::timeout(Duration::from_secs(90), ran).await??;
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        // Said by the sandbox alone, of fields that nobody looked at.
        let lines = text.lines().filter(|line| !line.starts_with("Warning: "));
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }
}
