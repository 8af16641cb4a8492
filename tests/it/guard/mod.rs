//! The guard on data directories that real servers made, on crafted bytes for MySQL, and on directories that are traps.

mod deploy;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::support::{
    binary::{Binary, Ran},
    runner::{Case, Ctx, NotPassed, Outcome, case, fail, root, sync_case},
    servers::{MariaDb, Postgres},
};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("guard::postgres_opens_its_own_major_only", postgres),
        sync_case("guard::every_major_of_postgres_is_known", |ctx| majors(&ctx)),
        case("guard::mariadb_goes_back_within_its_series", mariadb),
        sync_case("guard::mysql_goes_back_as_far_as_its_rule_allows", |ctx| mysql(&ctx)),
        sync_case("guard::an_assumption_opens_no_other_servers_data", |ctx| assumed(&ctx)),
        sync_case("guard::an_empty_volume_blocks_until_it_is_allowed", |ctx| empty(&ctx)),
        sync_case("guard::what_cannot_be_reached_ends_with_6", |ctx| unreachable(&ctx)),
        sync_case("guard::traps_are_unknown_and_tell_nothing", |ctx| traps(&ctx)),
        sync_case("guard::a_file_that_may_not_be_read_is_unknown", |ctx| forbidden(&ctx)),
        sync_case("guard::a_version_that_means_nothing_ends_with_2", |ctx| usage(&ctx)),
        sync_case("guard::its_answer_reads_well", |ctx| words(&ctx)),
        sync_case("guard::the_page_shows_what_it_prints", |ctx| page(&ctx)),
    ];
    cases.extend(deploy::cases());
    cases
}

/// By path: size, time of the last write, bytes.
type Everything = BTreeMap<String, (u64, i64, Vec<u8>)>;

/// Every file below: equal maps mean that nothing was touched.
fn everything(dir: &Path) -> Result<Everything, NotPassed> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let seen = fs::symlink_metadata(&path)?;
            let bytes = if seen.is_file() { fs::read(&path)? } else { Vec::new() };
            if seen.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path.display().to_string(), (seen.size(), seen.mtime_nsec(), bytes));
        }
    }
    Ok(found)
}

fn guard(engine: &str, dir: &Path, target: &str, more: &str) -> String {
    format!("guard {engine} --data-dir {} --target {target} {more}", dir.display())
}

fn verdict_of(ran: &Ran) -> Result<String, NotPassed> {
    let answer: Value = serde_json::from_str(&ran.out)?;
    assert_eq!(answer["apiVersion"], "stepback.dev/v1");
    assert_eq!(answer["kind"], "Guard");
    let verdict = answer["verdict"].as_str().unwrap_or_default().to_owned();
    assert_eq!(ran.code == 0, verdict == "allowed", "{}", ran.out);
    assert_eq!(ran.err, "");
    Ok(verdict)
}

/// Runs the guard twice, for people and for programs, and compares both with what is expected.
fn expect(ctx: &Ctx, engine: &str, dir: &Path, target: &str, verdict: &str) -> Result<String, NotPassed> {
    let stepback = Binary::in_dir(ctx.dir());
    let code = if verdict == "allowed" { 0 } else { 3 };
    let text = stepback.ends(code, &guard(engine, dir, target, "--explain"))?.out;
    let json = stepback.ends(code, &guard(engine, dir, target, "-o json"))?;
    assert_eq!(verdict_of(&json)?, verdict, "{text}");
    Ok(text)
}

async fn postgres(ctx: Ctx) -> Outcome {
    let mut server = Postgres::own(&[]).await?;
    let data = server.dir().join("data");
    let major: u32 = fs::read_to_string(data.join("PG_VERSION"))?.trim().parse()?;
    let text = expect(&ctx, "postgres", &data, &major.to_string(), "allowed")?;
    assert!(text.contains("in production"), "{text}");
    server.stop()?;
    let before = everything(&data)?;
    for (target, verdict) in [
        (format!("{major}"), "allowed"),
        (format!("{major}.1"), "allowed"),
        (format!("{major}.99-bookworm"), "allowed"),
        (format!("{}", major - 1), "refused"),
        (format!("{}.4", major + 1), "refused"),
    ] {
        let text = expect(&ctx, "postgres", &data, &target, verdict)?;
        assert!(text.contains(", shut down\n"), "{text}");
        assert!(text.contains(&format!("  data     PostgreSQL {major}\n")), "{text}");
    }
    assert_eq!(everything(&data)?, before, "looking changes nothing");

    // Named one too high, as the images that keep their data in a folder of the volume make one do.
    let text = expect(&ctx, "postgres", server.dir(), &major.to_string(), "unknown")?;
    assert!(text.split_whitespace().any(|word| Path::new(word) == data), "{text}");

    // A database that another major left behind.
    let stray = data.join("base/1/PG_VERSION");
    fs::write(&stray, format!("{}\n", major - 1))?;
    expect(&ctx, "postgres", &data, &major.to_string(), "refused")?;
    Ok(())
}

fn majors(ctx: &Ctx) -> Outcome {
    let mut seen = 0;
    for folder in fs::read_dir(root().join("testdata/volumes"))? {
        let folder = folder?.path();
        let Some(version) = folder
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("postgres-"))
        else {
            continue;
        };
        let (major, _) = version.split_once('.').expect("folders are named after exact versions");
        let number: u32 = major.parse()?;
        expect(ctx, "postgres", &folder, version, "allowed")?;
        expect(ctx, "postgres", &folder, major, "allowed")?;
        expect(ctx, "postgres", &folder, &(number - 1).to_string(), "refused")?;
        expect(ctx, "postgres", &folder, &(number + 1).to_string(), "refused")?;
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
    Ok(())
}

async fn mariadb(ctx: Ctx) -> Outcome {
    let server = MariaDb::shared().await?;
    let version = server.ask("mysql", "SELECT VERSION()").await?;
    let version = version.trim();
    let numbers: Vec<u32> = version
        .split(['.', '-'])
        .take(3)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [major, minor, patch] = numbers[..] else {
        return fail(version);
    };
    let data = server.data_dir();
    let text = expect(&ctx, "mariadb", &data, version, "allowed")?;
    assert!(
        text.contains(&format!("made by {major}.{minor}.{patch}")),
        "both logs name their maker: {text}"
    );
    assert_eq!(text.matches("made by").count(), 2, "{text}");
    for (target, verdict) in [
        (format!("{major}.{minor}"), "allowed"),
        (format!("{major}.{minor}.0"), "allowed"),
        (format!("{major}.{}", minor + 1), "allowed"),
        (format!("{major}.{}", minor - 1), "refused"),
        (format!("{}.99", major - 1), "refused"),
    ] {
        expect(&ctx, "mariadb", &data, &target, verdict)?;
    }
    let text = expect(&ctx, "mysql", &data, "8.0.36", "refused")?;
    assert!(text.contains("[data-foreign]"), "{text}");

    // The same without its marker: the logs can refuse, and never allow.
    let unmarked = ctx.dir().join("unmarked");
    fs::create_dir(&unmarked)?;
    for name in ["ib_logfile0", "aria_log.00000001"] {
        let mut bytes = fs::read(data.join(name))?;
        bytes.truncate(512);
        fs::write(unmarked.join(name), bytes)?;
    }
    expect(&ctx, "mariadb", &unmarked, version, "unknown")?;
    expect(&ctx, "mariadb", &unmarked, &format!("{major}.{}", minor - 1), "refused")?;
    let stepback = Binary::in_dir(ctx.dir());
    let assumed = format!("--assume {version}");
    stepback.ends(0, &guard("mariadb", &unmarked, version, &assumed))?;
    Ok(())
}

/// Writes files below a directory that exists.
fn write_all(dir: &Path, files: BTreeMap<&str, Vec<u8>>) -> Outcome {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("it lies in the directory"))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// What MySQL leaves behind, as far as the guard reads it. No MySQL server can be had here: the bytes are laid out as its
/// source does it (`fil0types.h`; the manual of 8.4 for the history).
fn history_and_header(id: u32, history: &[&str]) -> BTreeMap<&'static str, Vec<u8>> {
    let mut page = vec![0; 16 * 1024];
    page[8..12].copy_from_slice(&id.to_be_bytes());
    page[12..16].copy_from_slice(&1u32.to_be_bytes());
    page[24..26].copy_from_slice(&8u16.to_be_bytes());
    page[34..38].copy_from_slice(&0xFFFF_FFFEu32.to_be_bytes());
    let mut files = BTreeMap::from([("mysql.ibd", page)]);
    if !history.is_empty() {
        let entry = |version: &&str| {
            serde_json::json!({
                "date": "2024-05-17 17:46:12", "version": version, "maturity": "LTS", "initialize": false
            })
        };
        let entries: Vec<Value> = history.iter().map(entry).collect();
        let history = serde_json::json!({ "file_format": "1", "upgrade_history": entries });
        files.insert("mysql_upgrade_history", history.to_string().into_bytes());
    }
    files
}

/// A data directory of MySQL that does not exist yet.
fn mysql_data(dir: &Path, id: u32, history: &[&str]) -> Outcome {
    fs::create_dir(dir)?;
    write_all(dir, history_and_header(id, history))
}

fn mysql(ctx: &Ctx) -> Outcome {
    let old = ctx.dir().join("old");
    mysql_data(&old, 80_036, &[])?;
    expect(ctx, "mysql", &old, "8.0.36", "allowed")?;
    expect(ctx, "mysql", &old, "8.0.35", "allowed")?;
    expect(ctx, "mysql", &old, "8.0.34", "refused")?;
    expect(ctx, "mysql", &old, "8.4.2", "allowed")?;
    expect(ctx, "mariadb", &old, "10.11", "refused")?;

    let new = ctx.dir().join("new");
    mysql_data(&new, 80_402, &["8.0.36", "8.4.2"])?;
    expect(ctx, "mysql", &new, "8.0.36", "refused")?;
    expect(ctx, "mysql", &new, "8.4.1", "allowed")?;

    // A take-over that was killed: the header is still the older one's.
    let begun = ctx.dir().join("begun");
    mysql_data(&begun, 80_036, &["8.0.36", "8.4.2"])?;
    expect(ctx, "mysql", &begun, "8.0.36", "refused")?;
    expect(ctx, "mysql", &begun, "8.4.2", "allowed")?;
    Ok(())
}

fn assumed(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    let of_postgres = root().join("testdata/volumes/postgres-16.9");
    let readme = ctx.dir().join("readme");
    fs::create_dir(&readme)?;
    fs::write(readme.join("README"), "no data")?;
    for (engine, target, assume) in [
        ("mariadb", "10.11", "--assume 10.11"),
        ("mysql", "8.0.35", "--assume 5.7.44"),
    ] {
        let refused = stepback.ends(3, &guard(engine, &of_postgres, target, assume))?;
        assert!(refused.out.contains("[data-foreign]"), "{}", refused.out);
        let unknown = stepback.ends(3, &guard(engine, &readme, target, assume))?;
        assert!(unknown.out.contains("[data-version-unknown]"), "{}", unknown.out);
    }
    // What has a folder for its system tables and no marker is what the option is for.
    let unmarked = ctx.dir().join("unmarked");
    fs::create_dir_all(unmarked.join("mysql"))?;
    fs::write(unmarked.join("mysql/db.frm"), "table")?;
    stepback.ends(0, &guard("mysql", &unmarked, "8.0.35", "--assume 5.7.44"))?;
    stepback.ends(0, &guard("mariadb", &unmarked, "10.11", "--assume 10.11"))?;
    let cut = ctx.dir().join("cut");
    fs::create_dir_all(cut.join("global"))?;
    fs::copy(of_postgres.join("PG_VERSION"), cut.join("PG_VERSION"))?;
    let control = fs::read(of_postgres.join("global/pg_control"))?;
    fs::write(cut.join("global/pg_control"), &control[..20])?;
    stepback.ends(3, &guard("postgres", &cut, "16", ""))?;
    Ok(())
}

fn empty(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    let volume = ctx.dir().join("volume");
    fs::create_dir(&volume)?;
    for engine in ["postgres", "mysql", "mariadb"] {
        for lost_and_found in [false, true] {
            if lost_and_found {
                fs::create_dir_all(volume.join("lost+found"))?;
            }
            let blocked = stepback.ends(3, &guard(engine, &volume, "9.7.1", ""))?;
            assert!(blocked.out.contains("say --allow-empty"), "{}", blocked.out);
            let allowed = stepback.ends(0, &guard(engine, &volume, "9.7.1", "--allow-empty"))?;
            assert!(allowed.out.contains("none: the directory is empty"), "{}", allowed.out);
        }
        fs::remove_dir(volume.join("lost+found"))?;
    }
    // The folder that an image makes in the volume when it first starts.
    let inside = volume.join("18/docker");
    stepback.ends(6, &guard("postgres", &inside, "18.1", ""))?;
    stepback.ends(0, &guard("postgres", &inside, "18.1", "--allow-empty"))?;
    // One file, and it is no fresh volume any more.
    fs::write(volume.join("a"), "")?;
    stepback.ends(6, &guard("postgres", &inside, "18.1", "--allow-empty"))?;
    for engine in ["postgres", "mysql", "mariadb"] {
        let blocked = stepback.ends(3, &guard(engine, &volume, "9.7.1", "--allow-empty"))?;
        assert!(blocked.out.contains("[data-version-unknown]"), "{}", blocked.out);
    }
    Ok(())
}

fn unreachable(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    fs::write(ctx.dir().join("file"), "")?;
    symlink("nowhere", ctx.dir().join("dangling"))?;
    for name in ["missing", "file", "dangling"] {
        let dir = ctx.dir().join(name);
        for more in ["", "--allow-empty", "-o json"] {
            let ran = stepback.ends(6, &guard("mysql", &dir, "8.0.36", more))?;
            let flat = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains("cannot be reached"), "{}", ran.err);
        }
    }
    // The directory itself may be reached over a link: that is how people move data to another disk.
    mysql_data(&ctx.dir().join("disk"), 80_036, &[])?;
    symlink("disk", ctx.dir().join("linked"))?;
    stepback.ends(0, &guard("mysql", &ctx.dir().join("linked"), "8.0.36", ""))?;
    Ok(())
}

fn traps(ctx: &Ctx) -> Outcome {
    let secret = ctx.dir().join("secret");
    fs::write(&secret, "15\nthe-password")?;
    let data = |name: &str| -> Result<std::path::PathBuf, NotPassed> {
        let dir = ctx.dir().join(name);
        fs::create_dir(&dir)?;
        Ok(dir)
    };
    let real = root().join("testdata/volumes/postgres-18.1");

    let link = data("link")?;
    symlink(&secret, link.join("PG_VERSION"))?;
    let folder_link = data("folder_link")?;
    fs::copy(real.join("PG_VERSION"), folder_link.join("PG_VERSION"))?;
    symlink(real.join("global"), folder_link.join("global"))?;
    let pipe = data("pipe")?;
    let made = Command::new("mkfifo").arg(pipe.join("PG_VERSION")).status()?;
    assert!(made.success());
    let folder = data("folder")?;
    fs::create_dir(folder.join("PG_VERSION"))?;
    let no_folder = data("no_folder")?;
    fs::copy(real.join("PG_VERSION"), no_folder.join("PG_VERSION"))?;
    fs::write(no_folder.join("global"), "")?;
    let garbage = data("garbage")?;
    fs::write(
        garbage.join("PG_VERSION"),
        "\x1b]0;owned\x07the-password-is-long-enough-to-be-cut",
    )?;

    for (dir, says) in [
        (link, "a symbolic link"),
        (folder_link, "a symbolic link"),
        (pipe, "not a plain file"),
        (folder, "not a plain file"),
        (no_folder, "not a directory"),
        (garbage, "is no major version"),
    ] {
        let text = expect(ctx, "postgres", &dir, "18", "unknown")?;
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(says), "{says}: {text}");
        assert!(
            !text.contains("long-enough-to-be-cut") && !text.contains('\x1b'),
            "{text}"
        );
    }
    Ok(())
}

/// Root reads everything: as root, it is run without the rights to pass over permissions.
fn forbidden(ctx: &Ctx) -> Outcome {
    let dir = ctx.dir().join("data");
    mysql_data(&dir, 80_036, &["8.0.36"])?;
    let run = |code: i32| -> Result<String, NotPassed> {
        let typed = guard("mysql", &dir, "8.0.36", "--explain");
        let binary = env!("CARGO_BIN_EXE_stepback");
        let mut command = if fs::metadata("/proc/self")?.uid() == 0 {
            let mut command = Command::new("setpriv");
            command.args([
                "--bounding-set=-dac_override,-dac_read_search",
                "--inh-caps=-all",
                binary,
            ]);
            command
        } else {
            Command::new(binary)
        };
        let output = command.args(typed.split_whitespace()).env_clear().output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(code) {
            return Ok(text);
        }
        fail(format_args!("ended with {}, not with {code}:\n{text}", output.status))
    };
    let forbid = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));

    run(0)?;
    forbid(&dir.join("mysql.ibd"), 0o000)?;
    let text = run(3)?;
    assert!(text.contains("cannot be read: permission denied"), "{text}");
    assert!(
        text.contains("  data     MySQL 8.0.36"),
        "what the other file says is shown: {text}"
    );
    forbid(&dir, 0o000)?;
    let text = run(6)?;
    assert!(text.contains("Permission denied"), "{text}");
    forbid(&dir, 0o700)?;
    Ok(())
}

fn usage(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    for typed in [
        "guard",
        "guard redis --data-dir . --target 7",
        "guard postgres --target 15",
        "guard postgres --data-dir .",
        "guard postgres --data-dir . --target latest",
        "guard postgres --data-dir . --target 18beta1",
        "guard mysql --data-dir . --target 8.0",
        "guard mariadb --data-dir . --target 11",
        "guard mariadb --data-dir . --target 11.4 --assume new",
    ] {
        let ran = stepback.ends(2, typed)?;
        assert_eq!(ran.out, "");
    }
    Ok(())
}

fn words(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    mysql_data(&ctx.dir().join("data"), 80_402, &["8.0.36", "8.4.2"])?;
    let mut text = String::new();
    for (code, typed) in [
        (0, "guard mysql --data-dir data --target 8.4.1 --explain"),
        (3, "guard mysql --data-dir data --target 8.0.36 --explain"),
        (3, "guard postgres --data-dir data --target 15 --explain"),
        (2, "guard mysql --data-dir data --target 8.4"),
        (6, "guard mysql --data-dir date --target 8.4.1"),
    ] {
        let ran = stepback.ends(code, typed)?;
        text.push_str(&format!("$ stepback {typed}\n{}{}\n", ran.out, ran.err));
    }
    insta::assert_snapshot!("words", text);
    Ok(())
}

fn page(ctx: &Ctx) -> Outcome {
    let page = fs::read_to_string(root().join("docs/guard.md"))?;
    let indented = page
        .lines()
        .skip_while(|line| !line.starts_with("    $ "))
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let lines: Vec<&str> = indented.map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let Some((typed, shown)) = lines.split_first() else {
        return fail("docs/guard.md has no transcript");
    };
    mysql_data(&ctx.dir().join("data"), 80_036, &[])?;
    let typed = typed
        .trim_start_matches("$ stepback ")
        .replace("/var/lib/mysql", "data");
    let ran = Binary::in_dir(ctx.dir()).ends(3, &typed)?;
    let printed = ran.out.replace("  in       data", "  in       /var/lib/mysql");
    assert_eq!(shown.join("\n").trim_end(), printed.trim_end());
    Ok(())
}
