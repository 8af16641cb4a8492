//! What the documentation says is what the program does: the README's transcript, the table of findings, the demo.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail, root, sync_case};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("docs::every_finding_has_its_row", |_ctx| findings()),
        sync_case("docs::every_key_of_the_app_file_has_its_row", |_ctx| app_file()),
        sync_case("docs::every_exit_code_has_its_row", |_ctx| exit_codes()),
        case("docs::the_readme_shows_what_the_demo_prints", readme).limit(Duration::from_secs(90)),
        case("docs::a_killed_demo_takes_its_coordinator_with_it", killed_demo).limit(Duration::from_secs(90)),
        case("docs::the_demo_leaves_nothing_behind", demo).limit(Duration::from_secs(90)),
    ]
}

/// The codes in the source: the first string after a call that makes a finding.
fn codes_in(dir: &Path, codes: &mut BTreeSet<String>) -> Result<(), NotPassed> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            codes_in(&path, codes)?;
            continue;
        }
        let text = fs::read_to_string(&path)?;
        for call in ["Finding::refusal(", "Finding::warning(", "self.refuse("] {
            for (at, _) in text.match_indices(call) {
                let first = text[at + call.len()..].trim_start();
                let code = first.strip_prefix('"').and_then(|rest| rest.split('"').next());
                codes.extend(code.map(str::to_owned));
            }
        }
    }
    Ok(())
}

fn findings() -> Outcome {
    let mut raised = BTreeSet::new();
    for room in ["src/core/plan", "src/core/guard"] {
        codes_in(&root().join(room), &mut raised)?;
    }
    assert!(raised.len() > 20, "{raised:?}");
    let page = fs::read_to_string(root().join("docs/findings.md"))?;
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<&str> = rows.collect();
    let documented: BTreeSet<String> = rows.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(raised, documented, "the source and docs/findings.md differ");
    assert!(
        rows.is_sorted_by(|one, next| one < next),
        "each code has one row, in order: {rows:?}"
    );
    let accepted = page.lines().filter(|line| line.contains("| refusal, `--accept` |"));
    let accepted: Vec<&str> = accepted.filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(
        accepted,
        stepback_core::plan::ACCEPTABLE,
        "what can be accepted, in order"
    );
    Ok(())
}

fn exit_codes() -> Outcome {
    let source = fs::read_to_string(root().join("src/cli/exit.rs"))?;
    let codes = source
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let codes: BTreeSet<String> = codes.map(|(_, code)| code.to_owned()).collect();
    assert!(codes.len() > 5, "{codes:?}");
    let page = fs::read_to_string(root().join("docs/exit-codes.md"))?;
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .map(|(code, _)| code.to_owned());
    let documented: BTreeSet<String> = rows.filter(|code| code.parse::<u8>().is_ok()).collect();
    assert_eq!(codes, documented, "src/cli/exit.rs and docs/exit-codes.md differ");
    Ok(())
}

/// The keys of the app file's schema, as paths: `spec.releases[].version`.
fn keys_in(root: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|pointer| pointer.strip_prefix('#')) {
        keys_in(root, root.pointer(pointer).unwrap(), path, keys);
    }
    for schema in ["oneOf", "anyOf"]
        .iter()
        .filter_map(|word| schema[word].as_array())
        .flatten()
    {
        keys_in(root, schema, path, keys);
    }
    keys_in_list(root, &schema["items"], path, keys);
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        keys.insert(path.clone());
        keys_in(root, schema, &path, keys);
    }
}

fn keys_in_list(root: &Value, items: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if items.is_object() {
        keys_in(root, items, &format!("{path}[]"), keys);
    }
}

fn app_file() -> Outcome {
    let schema: Value = serde_json::from_str(stepback_core::appfile::JSON_SCHEMA)?;
    let mut keys = BTreeSet::new();
    keys_in(&schema, &schema, "", &mut keys);
    // It is written like `url`, and says so.
    keys.retain(|key| !key.starts_with("spec.database.directUrl."));
    let page = fs::read_to_string(root().join("docs/app-file.md"))?;
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert!(keys.len() > 60, "{keys:?}");
    assert_eq!(keys, documented, "the app file's schema and docs/app-file.md differ");
    let example = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap_or_default();
    if let Err(errors) = stepback_core::appfile::AppFile::parse(example, "docs/app-file.md") {
        return fail(errors);
    }
    Ok(())
}

async fn run_demo(ctx: &Ctx, arguments: &[&str]) -> Result<String, NotPassed> {
    let run = Command::new(env!("CARGO_BIN_EXE_stepback"))
        .arg("demo")
        .args(arguments)
        .env("COLUMNS", "80")
        .env("USER", "ada")
        .env("HOSTNAME", "laptop")
        .env("TMPDIR", ctx.dir())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    if !run.status.success() {
        let errors = String::from_utf8_lossy(&run.stderr);
        return fail(format_args!("the demo failed: {}\n{text}\n{errors}", run.status));
    }
    Ok(text)
}

/// The answers' words, without what differs from run to run. Where lines wrap depends on a path's length.
pub fn settled(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(mask).collect();
    // How often a write met a conflict depends on the controller's pace.
    words.join(" ").replace(" … attempts)", "")
}

fn mask(word: &str) -> String {
    let bare = word.trim_matches(|c: char| c == '(' || c == ')' || c == ',' || c == ';' || c == '.');
    let is_ulid = bare.len() == 26 && bare.starts_with("01");
    let is_time = bare.len() >= 8 && bare.as_bytes()[2] == b':' && bare.as_bytes()[5] == b':';
    let is_date = bare.len() == 10 && bare.as_bytes()[4] == b'-';
    let is_revision = bare
        .strip_prefix("shop-")
        .is_some_and(|hash| hash.len() > 6 && !hash.contains('.'));
    let is_hash = bare.len() == 12 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number =
        !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && bare.len() < 14;
    if word.contains("://") {
        "URL".to_owned()
    } else if is_ulid || is_time || is_date || is_revision || is_hash || (is_number && !is_release(bare)) {
        "…".to_owned()
    } else {
        word.to_owned()
    }
}

fn is_release(word: &str) -> bool {
    word.matches('.').count() == 2
}

/// Standard output alone: what is shown on standard error depends on what the pods happened to be doing.
async fn readme(ctx: Ctx) -> Outcome {
    let page = fs::read_to_string(root().join("README.md"))?;
    let block = page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let Some(block) = block else {
        return fail("the README has no transcript");
    };
    let shown = settled(&said(block));
    let printed = settled(&said(&run_demo(&ctx, &["--crash"]).await?));
    assert_eq!(
        shown, printed,
        "README.md (left) is not what `stepback demo --crash` prints (right)"
    );
    Ok(())
}

/// The lines that every run prints: progress comes and goes with the pods' pace, and attempts with conflicts.
fn said(text: &str) -> String {
    let mut lines = Vec::new();
    let mut plan = false;
    for line in text.lines() {
        // The plan and the progress go to standard error, which only the README shows.
        if line.starts_with("rollback ") && !line.ends_with(": done") {
            plan = true;
        }
        if line.starts_with("***") || line.contains("$ stepback ") || line.ends_with(": done") {
            plan = false;
        }
        let progress = [
            "step ",
            "run opened",
            "run resumed",
            "acting on ",
            "resuming ",
            "waiting: ",
        ];
        if plan || line.is_empty() || progress.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Whatever the demo started shares its standard output, and ends with it: the output ends when the last of them has.
async fn killed_demo(ctx: Ctx) -> Outcome {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_stepback"))
        .arg("demo")
        .env("TMPDIR", ctx.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(out), Some(err)) = (demo.stdout.take(), demo.stderr.take()) else {
        return fail("its outputs are not piped");
    };
    // In the middle of the rollback, which has then a cluster to ask for.
    let mut err = BufReader::new(err).lines();
    while let Some(line) = err.next_line().await? {
        if line.starts_with("step 2/") {
            break;
        }
    }
    demo.kill().await?;
    let ended = async {
        let mut rest = Vec::new();
        while err.next_line().await?.is_some() {}
        BufReader::new(out).read_to_end(&mut rest).await
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await??;
    Ok(())
}

async fn demo(ctx: Ctx) -> Outcome {
    let text = run_demo(&ctx, &[]).await?;
    assert!(text.contains("As the customers saw it:"), "{text}");
    assert!(
        text.contains("a kettle for Ada, a lamp for Grace, a chair for Edsger"),
        "{text}"
    );
    let left: Vec<_> = fs::read_dir(ctx.dir())?.collect();
    assert!(left.is_empty(), "{left:?}");
    // No process of ours is left that has the demo's folder in its environment or arguments.
    let folder = ctx.dir().to_string_lossy().into_owned();
    for process in fs::read_dir("/proc")?.flatten() {
        let Ok(environment) = fs::read(process.path().join("environ")) else {
            continue;
        };
        let environment = String::from_utf8_lossy(&environment);
        assert!(
            !environment.contains(&format!("{folder}/stepback-demo")),
            "process {:?} is left",
            process.file_name()
        );
    }
    Ok(())
}
