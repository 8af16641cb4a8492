//! Commands in a running container: what `kubectl exec` starts, over a WebSocket.
//!
//! The protocol is that of Kubernetes' kubelet, `v5.channel.k8s.io` and its predecessor: binary messages that begin with
//! a channel's number. A container here is a process, not a jail: the command is a program of this machine, run as
//! whoever runs the kubelet, in the container's directory and with its environment; `PATH` and `HOME` come from this
//! process unless the container has its own. It is killed, with its process group, when its client goes, when its container
//! ends and when the kubelet stops.

use std::{
    io,
    process::{ExitStatus, Stdio},
};

use futures::{Sink, SinkExt, Stream, StreamExt, future::join4};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::{
    container::{LAST_WORDS, exit_code},
    place::Place,
    terminal::{Terminal, Window},
};

/// The protocols that are spoken, the best first.
pub(super) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Followed by the channel that its sender closes; only in `v5`.
const CLOSE: u8 = 255;

/// How much is read from a process at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// How many chunks may wait for a slow client before the process waits too.
const WAITING: usize = 4;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub terminal: bool,
}

/// Where what the client says goes.
type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// A command and its process group; dropping this kills them.
struct Running {
    child: Child,
    group: Option<rustix::process::Pid>,
    terminal: Option<Terminal>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(group) = self.group else { return };
        if let Err(error) = rustix::process::kill_process_group(group, rustix::process::Signal::KILL) {
            tracing::trace!(%error, "nothing of a command was left");
        }
    }
}

/// Runs a command for a client and tells it how it ended.
pub(super) async fn attend(stream: impl AsyncRead + AsyncWrite + Unpin, asked: Asked, mut place: Place) {
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (mut sink, mut source) = socket.split();
    // As a real kubelet does: the client learns at once that the connection stands.
    if say(&mut sink, STDOUT, b"").await.is_err() {
        return;
    }
    let status = match start(&asked, &place) {
        Ok(running) => {
            let exit = tokio::select! {
                exit = converse(running, &asked, &mut source, &mut sink) => exit,
                () = place.ended() => Some(Err(io::Error::other("the container has ended"))),
            };
            match exit {
                None => return,
                Some(Ok(exit)) => told(exit),
                Some(Err(error)) => failed(&error.to_string()),
            }
        }
        Err(error) => failed(&error),
    };
    let told = say(&mut sink, STATUS, status.to_string().as_bytes()).await;
    let end = CloseFrame {
        code: CloseCode::Normal,
        reason: Utf8Bytes::default(),
    };
    if told.is_err() || sink.send(Message::Close(Some(end))).await.is_err() {
        tracing::debug!("a client of exec went before it was told how its command ended");
        return;
    }
    // Until the client closes too: were the connection dropped with something of its unread, the kernel would reset it,
    // and what it was told just now could be lost on the way.
    let listening = async { while let Some(Ok(_)) = source.next().await {} };
    drop(timeout(LAST_WORDS, listening).await);
}

fn start(asked: &Asked, place: &Place) -> Result<Running, String> {
    let [program, arguments @ ..] = &asked.command[..] else {
        return Err("no command was given".to_owned());
    };
    let broken = |error: io::Error| format!("the command's terminal cannot be opened: {error}");
    let (mut command, terminal) = if asked.terminal {
        let (ours, theirs) = Terminal::open().map_err(broken)?;
        let mut command = in_session(program);
        command
            .stdin(theirs.try_clone().map_err(broken)?)
            .stdout(theirs.try_clone().map_err(broken)?)
            .stderr(theirs)
            .env_clear()
            .env("TERM", "xterm");
        (command, Some(ours))
    } else {
        let pipe = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(program);
        command
            .stdin(pipe(asked.stdin))
            .stdout(pipe(asked.stdout))
            .stderr(pipe(asked.stderr))
            .process_group(0)
            .env_clear();
        (command, None)
    };
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.args(arguments).envs(&place.variables).kill_on_drop(true);
    if let Some(directory) = &place.directory {
        command.current_dir(directory);
    }
    let child = command.spawn().map_err(|error| {
        format!("error executing command in container: failed to exec in container: exec: {program:?}: {error}")
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    Ok(Running {
        child,
        group: group.and_then(rustix::process::Pid::from_raw),
        terminal,
    })
}

/// A program as the leader of a session whose terminal is its standard input, so that Ctrl-C reaches it: by `setsid`
/// of util-linux or busybox. Where that is missing it has the terminal, and a shell has no job control.
fn in_session(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let setsid = std::env::split_paths(&path).map(|folder| folder.join("setsid"));
    if let Some(setsid) = setsid.into_iter().find(|setsid| setsid.is_file()) {
        let mut command = Command::new(setsid);
        // Not a process group of its own: its leader cannot begin a session, so `setsid` would fork and not wait.
        command.args(["-c", program]);
        command
    } else {
        let mut command = Command::new(program);
        command.process_group(0);
        command
    }
}

/// Carries what is said both ways until the command ends; `None` when its client went before.
async fn converse(
    mut running: Running,
    asked: &Asked,
    source: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    sink: &mut (impl Sink<Message, Error = tungstenite::Error> + Unpin),
) -> Option<io::Result<ExitStatus>> {
    let (shown, typed, window) = match running.terminal.take() {
        Some(terminal) => (Some(terminal.output), Some(terminal.input), Some(terminal.window)),
        None => (None, None, None),
    };
    let child = &mut running.child;
    let (frames, mut coming) = mpsc::channel::<(u8, Vec<u8>)>(WAITING);
    let output = copy(child.stdout.take(), STDOUT, frames.clone());
    let errors = copy(child.stderr.take(), STDERR, frames.clone());
    let shown = copy(shown, STDOUT, frames);
    let input: Option<Input> = match (typed, child.stdin.take()) {
        (Some(typed), _) if asked.stdin => Some(Box::new(typed)),
        (_, Some(stdin)) => Some(Box::new(stdin)),
        _ => None,
    };
    let forward = async {
        while let Some((channel, bytes)) = coming.recv().await {
            if say(sink, channel, &bytes).await.is_err() {
                return;
            }
        }
    };
    let feeding = feed(source, input, window);
    let mut speaking = std::pin::pin!(join4(output, errors, shown, forward));
    let mut feeding = std::pin::pin!(feeding);
    let mut silent = false;
    let exit = loop {
        tokio::select! {
            exit = child.wait() => break exit,
            () = &mut feeding => return None,
            _ = &mut speaking, if !silent => silent = true,
        }
    };
    if !silent {
        // A process that it left behind may hold its pipes for ever.
        drop(timeout(LAST_WORDS, speaking).await);
    }
    Some(exit)
}

/// Reads what a process says, until it closes the pipe or nobody listens.
async fn copy(stream: Option<impl AsyncRead + Unpin>, channel: u8, frames: mpsc::Sender<(u8, Vec<u8>)>) {
    let Some(mut stream) = stream else { return };
    let mut read = vec![0; CHUNK];
    while let Ok(count @ 1..) = stream.read(&mut read).await {
        if frames.send((channel, read[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Gives the process what its client says, until the client goes.
async fn feed(
    mut source: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    mut input: Option<Input>,
    window: Option<Window>,
) {
    while let Some(Ok(message)) = source.next().await {
        let Message::Binary(message) = message else { continue };
        match &message[..] {
            [STDIN, bytes @ ..] => {
                if let Some(to) = &mut input
                    && (to.write_all(bytes).await.is_err() || to.flush().await.is_err())
                {
                    // It has closed its end, and may well go on.
                    input = None;
                }
            }
            [RESIZE, size @ ..] => {
                let size: Value = serde_json::from_slice(size).unwrap_or_default();
                let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
                if let (Some(window), Some(columns), Some(rows)) = (&window, side("Width"), side("Height")) {
                    window.resize(columns, rows);
                }
            }
            [CLOSE, STDIN, ..] => input = None,
            _ => {}
        }
    }
}

async fn say(
    sink: &mut (impl Sink<Message, Error = tungstenite::Error> + Unpin),
    channel: u8,
    bytes: &[u8],
) -> Result<(), tungstenite::Error> {
    let message: Bytes = [&[channel], bytes].concat().into();
    sink.send(Message::Binary(message)).await
}

/// How a command ended, as clients are told.
fn told(exit: ExitStatus) -> Value {
    let code = exit_code(&exit).unwrap_or(255);
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// A command that did not run.
fn failed(why: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {why}"),
        "details": {"causes": [{"message": why}]},
    })
}
