//! Real database servers, started by the tests on a free port in a directory of their own.
//!
//! `shared()` is one server for the whole test process, started when the first case asks, and made fast by giving up
//! durability; a case gets a database of its own in it. `own()` is for a case that stops or kills its server, and keeps
//! its promises over a crash. Where a server is not installed, `?` on these ends the case as skipped.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::task::{block_in_place, spawn_blocking};

use super::{
    process::{RunAs, Server, Start, find_program, free_port, run},
    runner::{NotPassed, Outcome, skip},
};

/// How often a start is tried: a free port may be taken between our look and the server's.
const STARTS: usize = 3;

/// PostgreSQL, the newest installed; `STEPBACK_TEST_POSTGRES_BIN` names another folder of binaries.
pub struct Postgres {
    server: Option<Server>,
    program: PathBuf,
    run_as: RunAs,
    dir: PathBuf,
    port: u16,
    settings: Vec<String>,
}

impl Postgres {
    /// The server that all cases share.
    pub async fn shared() -> Result<&'static Postgres, NotPassed> {
        static SHARED: OnceLock<Result<Postgres, NotPassed>> = OnceLock::new();
        let settings = || {
            settings(&[
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("max_connections", "300"),
            ])
        };
        let start = move || {
            SHARED
                .get_or_init(|| Postgres::create(settings()))
                .as_ref()
                .map_err(NotPassed::clone)
        };
        spawn_blocking(start).await?
    }

    /// A server of the case's own, durable as installed unless a setting says otherwise.
    pub async fn own(more: &[(&str, &str)]) -> Result<Postgres, NotPassed> {
        let settings = settings(more);
        spawn_blocking(move || Postgres::create(settings)).await?
    }

    fn create(settings: Vec<String>) -> Result<Postgres, NotPassed> {
        let Some(initdb) = find_program(&postgres_dirs(), "initdb") else {
            return skip("PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin or on PATH");
        };
        // The link that a distribution puts on PATH leads to the folder that has the rest.
        let program = fs::canonicalize(&initdb)?.with_file_name("postgres");
        let run_as = RunAs::user("postgres")?;
        let dir = run_as.fresh_dir("postgres-")?;
        let mut postgres = Postgres {
            server: None,
            program,
            run_as,
            dir,
            port: 0,
            settings,
        };
        let data = postgres.dir.join("data");
        let words = [
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "-D",
        ];
        let words = words.iter().map(Path::new).chain([data.as_path()]);
        run(&postgres.run_as.command(&initdb, words))?;
        try_ports(|port| {
            postgres.port = port;
            postgres.launch()
        })?;
        Ok(postgres)
    }

    fn launch(&mut self) -> Result<(), NotPassed> {
        let data = self.dir.join("data");
        let place = [
            "-D".to_owned(),
            data.display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
            "-c".to_owned(),
            format!("unix_socket_directories={}", self.dir.display()),
        ];
        let settings = self
            .settings
            .iter()
            .flat_map(|setting| ["-c".to_owned(), setting.clone()]);
        let command = self.run_as.command(&self.program, place.into_iter().chain(settings));
        // A standby accepts read-only connections.
        let ready = "database system is ready to accept";
        self.server = Some(Server::start(Start {
            dir: &self.dir,
            command,
            ready,
            end: "QUIT",
        })?);
        Ok(())
    }

    /// Where a database of this server is. The server takes any password; this one is there to be searched for.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:hidden-word@127.0.0.1:{}/{database}", self.port)
    }

    /// The port it listens on, on 127.0.0.1: the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory that holds everything of this server, gone after a drop.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes an empty database and says where it is.
    pub async fn fresh_database(&self, hint: &str) -> Result<String, NotPassed> {
        let name = fresh_name(hint);
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        // The name holds lower-case letters, digits and underscores only.
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    /// Everything in a database as text, but for what these tables hold: equal texts mean that nothing has changed.
    pub async fn dump(&self, url: &str, but: &[String]) -> Result<String, NotPassed> {
        let mut words = vec![OsString::from(self.program.with_file_name("pg_dump")), url.into()];
        words.extend(but.iter().map(|table| format!("--exclude-table-data={table}").into()));
        let text = spawn_blocking(move || run(&words)).await??;
        // Newer versions guard their output with a word that is made up each time.
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Ends the server as a crash does, at once, and returns when all its processes are gone.
    pub fn kill(&mut self) -> Result<(), NotPassed> {
        self.end_with("KILL")
    }

    /// Shuts the server down in good order, ending sessions.
    pub fn stop(&mut self) -> Result<(), NotPassed> {
        self.end_with("INT")
    }

    /// Starts the server again after [`kill`](Postgres::kill) or [`stop`](Postgres::stop), at the same address.
    pub fn start(&mut self) -> Result<(), NotPassed> {
        assert!(self.server.is_none(), "the server is running");
        block_in_place(|| self.launch())
    }

    /// Makes it a standby of nobody from its next start on: it replays its own log, and can be promoted.
    pub fn become_standby(&self) -> Outcome {
        Ok(fs::write(self.dir.join("data/standby.signal"), "")?)
    }

    fn end_with(&mut self, signal: &str) -> Result<(), NotPassed> {
        let server = self.server.take().expect("only a running server can be ended");
        block_in_place(|| server.end_with(signal))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        end_and_remove(self.server.take(), &self.dir);
    }
}

/// MariaDB as installed. `root` has no password.
pub struct MariaDb {
    server: Option<Server>,
    dir: PathBuf,
    port: u16,
}

impl MariaDb {
    /// The server that all cases share.
    pub async fn shared() -> Result<&'static MariaDb, NotPassed> {
        static SHARED: OnceLock<Result<MariaDb, NotPassed>> = OnceLock::new();
        spawn_blocking(|| SHARED.get_or_init(MariaDb::create).as_ref().map_err(NotPassed::clone)).await?
    }

    fn create() -> Result<MariaDb, NotPassed> {
        let dirs = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")];
        let (Some(program), Some(install)) = (
            find_program(&dirs, "mariadbd"),
            find_program(&dirs, "mariadb-install-db"),
        ) else {
            return skip("MariaDB is not installed: no mariadbd or no mariadb-install-db");
        };
        let run_as = RunAs::user("mysql")?;
        let dir = run_as.fresh_dir("mariadb-")?;
        let mut mariadb = MariaDb {
            server: None,
            dir,
            port: 0,
        };
        let data = format!("--datadir={}", mariadb.dir.join("data").display());
        let words = [
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &data,
        ];
        run(&run_as.command(&install, words))?;
        try_ports(|port| {
            mariadb.port = port;
            let socket = format!("--socket={}", mariadb.socket().display());
            let pid = format!("--pid-file={}", mariadb.dir.join("pid").display());
            let port = format!("--port={port}");
            let fast = [
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=64M",
                "--skip-name-resolve",
            ];
            let words = ["--no-defaults", "--bind-address=127.0.0.1", &data, &socket, &pid, &port];
            let command = run_as.command(&program, words.iter().chain(&fast));
            let start = Start {
                dir: &mariadb.dir,
                command,
                ready: "ready for connections",
                end: "KILL",
            };
            mariadb.server = Some(Server::start(start)?);
            Ok(())
        })?;
        Ok(mariadb)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Where its data lie.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Runs statements with the server's own client and returns what it printed, tab-separated, without headings.
    pub async fn ask(&self, database: &str, sql: &str) -> Result<String, NotPassed> {
        let socket = format!("--socket={}", self.socket().display());
        let words = [
            "mariadb",
            "--no-defaults",
            &socket,
            "--user=root",
            "--batch",
            "--skip-column-names",
        ];
        let words: Vec<_> = words
            .iter()
            .chain(&["-e", sql, database])
            .map(std::ffi::OsString::from)
            .collect();
        spawn_blocking(move || run(&words)).await?
    }

    /// Makes an empty database and says where it is.
    pub async fn fresh_database(&self, hint: &str) -> Result<String, NotPassed> {
        let name = fresh_name(hint);
        self.ask("mysql", &format!("CREATE DATABASE {name}")).await?;
        Ok(format!("mysql://root@127.0.0.1:{}/{name}", self.port))
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        end_and_remove(self.server.take(), &self.dir);
    }
}

/// A running server's keeper removes the directory; without one it is left to us.
fn end_and_remove(server: Option<Server>, dir: &Path) {
    if server.is_none() {
        // A directory that cannot be removed is no reason to fail a case.
        drop(fs::remove_dir_all(dir));
    }
}

fn settings(more: &[(&str, &str)]) -> Vec<String> {
    let always = [
        ("listen_addresses", "127.0.0.1"),
        ("shared_buffers", "32MB"),
        ("log_min_messages", "log"),
    ];
    always
        .iter()
        .chain(more)
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Folders of PostgreSQL's binaries, the newest version first.
fn postgres_dirs() -> Vec<PathBuf> {
    if let Some(dir) = std::env::var_os("STEPBACK_TEST_POSTGRES_BIN") {
        return vec![dir.into()];
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|dir| Some((dir.file_name().to_str()?.parse().ok()?, dir.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

/// A name that no other case of this process uses: `users_7`.
fn fresh_name(hint: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let letters = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let hint: String = hint.chars().map(letters).take(40).collect();
    format!("t_{hint}_{number}")
}

fn try_ports(mut launch: impl FnMut(u16) -> Result<(), NotPassed>) -> Result<(), NotPassed> {
    let mut last = Ok(());
    for _ in 0..STARTS {
        last = launch(free_port()?);
        match &last {
            Err(NotPassed::Failed(log)) if log.contains("ddress already in use") => {}
            _ => break,
        }
    }
    last
}
