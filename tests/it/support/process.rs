//! A server process that cannot outlive the tests, whatever happens to them.
//!
//! Between the tests and the server stands a shell, the **keeper**, that waits for orders on its standard input. When the
//! tests end, in whichever way, the kernel closes that pipe; the keeper then ends the server and removes its directory.
//! So there is one road for a drop, a normal end, a panic and a `kill -9`. It knows nothing about particular servers.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock},
    thread,
    time::Duration,
};

use super::runner::{NotPassed, fail, skip};

/// `$1` the directory, `$2` the signal that ends the server, then its command. Reads signals, one a line, for the server;
/// `leave` is "the server is on its way out: keep the directory". The server alone holds the standard error that the
/// tests read, so its end is their end of file.
const KEEPER: &str = r#"
dir=$1 end=$2; shift 2
"$@" </dev/null >&2 &
server=$!
exec >/dev/null 2>&1
while read -r order; do
    if [ "$order" = leave ]; then wait "$server"; exit 0; fi
    kill -s "$order" "$server"
done
kill -s "$end" "$server"
kill -s CONT "$server"
wait "$server"
rm -rf "$dir"
"#;

/// `$1` is removed once the tests are gone; servers and their children may still be writing into it for a moment.
const JANITOR: &str = r#"
while read -r _; do :; done
until rm -rf "$1"; do sleep 0.1; done
"#;

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a server's log that are kept to be shown when something went wrong.
const LOG_LINES: usize = 40;

/// How to start a server.
pub struct Start<'a> {
    /// The directory that is the server's own; removed with it.
    pub dir: &'a Path,
    /// The program with its arguments.
    pub command: Vec<OsString>,
    /// What a line of its log holds once it answers.
    pub ready: &'static str,
    /// The signal, without `SIG`, that ends it at once with everything it started.
    pub end: &'static str,
}

/// A running server. Dropping it ends it, and removes its directory.
pub struct Server {
    keeper: Child,
    orders: Option<ChildStdin>,
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    ready: bool,
    ended: bool,
    log: VecDeque<String>,
}

impl Server {
    /// Starts a server and returns when it says that it is ready. Blocks.
    pub fn start(start: Start<'_>) -> Result<Server, NotPassed> {
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(start.dir)
            .arg(start.end)
            .args(&start.command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .current_dir("/")
            // Ctrl-C in a terminal goes to a whole group; the keeper must still be there to clean up after it.
            .process_group(0)
            .spawn()?;
        let orders = keeper.stdin.take();
        let output = keeper.stderr.take().expect("standard error was asked for as a pipe");
        let watch = Arc::new(Watch::default());
        let watcher = Arc::clone(&watch);
        thread::Builder::new()
            .name("server log".to_owned())
            .spawn(move || watcher.follow(output, start.ready))?;

        let server = Server { keeper, orders, watch };
        let seen = server.wait_until(|seen| seen.ready || seen.ended);
        if seen.ready && !seen.ended {
            drop(seen);
            return Ok(server);
        }
        let log = seen.log.iter().fold(String::new(), |text, line| text + "\n  " + line);
        drop(seen);
        // The directory stays: the next start may be tried in it.
        drop(server.end_with("KILL"));
        let program = start
            .command
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        fail(format_args!("the server did not become ready: {program}{log}"))
    }

    /// Sends the server a signal (`INT`, `KILL`, …), waits until every process of it is gone, and leaves its directory
    /// as it is, for the next start. Blocks.
    pub fn end_with(mut self, signal: &str) -> Result<(), NotPassed> {
        let mut orders = self.orders.take().expect("orders are only taken where the server ends");
        orders.write_all(format!("{signal}\nleave\n").as_bytes())?;
        self.keeper.wait()?;
        if self.wait_until(|seen| seen.ended).ended {
            return Ok(());
        }
        fail(format_args!("the server is still there {PATIENCE:?} after SIG{signal}"))
    }

    fn wait_until(&self, met: impl Fn(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let seen = self.watch.lock();
        let wait = self.watch.changed.wait_timeout_while(seen, PATIENCE, |seen| !met(seen));
        wait.expect("nothing panics while it holds this lock").0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of the pipe is the order to end; see KEEPER.
        drop(self.orders.take());
        // There is nobody to tell when the keeper is gone already.
        drop(self.keeper.wait());
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it holds this lock")
    }

    fn follow(&self, output: impl io::Read, ready: &str) {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut seen = self.lock();
            seen.ready |= line.contains(ready);
            if seen.log.len() == LOG_LINES {
                seen.log.pop_front();
            }
            seen.log.push_back(line);
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

/// The directory under which everything lies that this test process writes; removed after it, however it ends.
pub fn scratch() -> Result<&'static Path, NotPassed> {
    static SCRATCH: OnceLock<Result<(PathBuf, Child), NotPassed>> = OnceLock::new();
    let made = SCRATCH.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("stepback-it-").tempdir()?;
        // Servers run as other users have theirs inside it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok((dir.keep(), janitor))
    });
    made.as_ref()
        .map(|(dir, _janitor)| dir.as_path())
        .map_err(NotPassed::clone)
}

/// A user to run a server as: servers refuse to be root.
pub enum RunAs {
    /// We are nobody special, and so is the server.
    Ourselves,
    /// We are root, and the server is this user.
    User { name: &'static str, uid: u32, gid: u32 },
}

impl RunAs {
    /// The user that the distribution made for a server, or ourselves where we are not root.
    pub fn user(name: &'static str) -> Result<RunAs, NotPassed> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(RunAs::Ourselves);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        match fields.find(|fields| fields.len() > 3 && fields[0] == name) {
            Some(fields) => Ok(RunAs::User {
                name,
                uid: fields[2].parse()?,
                gid: fields[3].parse()?,
            }),
            None => skip(format_args!(
                "we are root and there is no user {name} to run the server as"
            )),
        }
    }

    /// A new directory that this user owns.
    pub fn fresh_dir(&self, prefix: &str) -> Result<PathBuf, NotPassed> {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(scratch()?)?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))?;
        if let RunAs::User { uid, gid, .. } = self {
            chown(dir.path(), Some(*uid), Some(*gid))?;
        }
        Ok(dir.keep())
    }

    /// The words of a command that this user runs.
    pub fn command<I: AsRef<OsStr>>(&self, program: &Path, arguments: impl IntoIterator<Item = I>) -> Vec<OsString> {
        let mut words: Vec<OsString> = match self {
            RunAs::Ourselves => vec![],
            RunAs::User { name, .. } => {
                let user = format!("--reuid={name}");
                let group = format!("--regid={name}");
                ["setpriv", &user, &group, "--init-groups", "--"]
                    .map(OsString::from)
                    .to_vec()
            }
        };
        words.push(program.into());
        words.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        words
    }
}

/// Runs a command to its end; what it printed is in the failure. Blocks.
pub fn run(words: &[OsString]) -> Result<String, NotPassed> {
    let output = Command::new(&words[0])
        .args(&words[1..])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(text.into_owned());
    }
    fail(format_args!(
        "{} ended with {}:\n{text}",
        words[0].to_string_lossy(),
        output.status
    ))
}

/// A port that nobody listened on a moment ago. Somebody may by the time it is used; a start then fails and says so.
pub fn free_port() -> Result<u16, NotPassed> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The first of these directories, then of `PATH`, that has a program.
pub fn find_program(dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = dirs.iter().cloned().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join(name)).find(|program| program.is_file())
}
