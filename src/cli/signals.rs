//! Ctrl-C and SIGTERM: the first asks the run to stop between two moves, the second ends the process. SIGHUP, which says that
//! the terminal is gone, asks too, and never ends it: the shell and the kernel both send one.

use std::io::Write as _;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;
use crate::live::write_above;
use crate::run::{Stop, stop};

const STOPPING: &str = "stopping after the move in flight: nothing more is begun, and what is done is\n\
                        recorded (the same signal once more ends at once; `stepback status` says what is\n\
                        left)";

/// What listens already, where something does.
static LISTENING: OnceLock<Stop> = OnceLock::new();

/// Whoever waits for an answer to a question, and hears of Ctrl-C meanwhile.
static ASKING: Mutex<Option<Sender<Answer>>> = Mutex::new(None);

/// What comes of a question.
pub(super) enum Answer {
    /// What was typed; `None` where that cannot be read.
    Line(Option<String>),
    /// Ctrl-C.
    Interrupted,
}

/// Sends Ctrl-C to whoever asks, until somebody listens for a run ([`stop_on_signals`]). Between two questions it ends the
/// process, as it does before the first one.
///
/// # Errors
/// When the system does not let us.
pub(super) fn interrupts_to(asking: Sender<Answer>) -> std::io::Result<()> {
    static HEARD: OnceLock<()> = OnceLock::new();
    *ASKING.lock().unwrap_or_else(PoisonError::into_inner) = Some(asking);
    if HEARD.get().is_some() {
        return Ok(());
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    HEARD.get_or_init(|| {
        tokio::spawn(async move {
            while interrupt.recv().await.is_some() && LISTENING.get().is_none() {
                let asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner).take();
                if asking.is_none_or(|asking| asking.send(Answer::Interrupted).is_err()) {
                    std::process::exit(i32::from(Exit::Interrupted as u8));
                }
            }
        });
    });
    Ok(())
}

/// Listens for signals from now on; whoever asks again has the same wish to stop.
///
/// # Errors
/// When the system does not let us.
pub(super) fn stop_on_signals() -> std::io::Result<Stop> {
    if let Some(stop) = LISTENING.get() {
        return Ok(stop.clone());
    }
    let stop = listen()?;
    Ok(LISTENING.get_or_init(|| stop).clone())
}

fn listen() -> std::io::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Whoever began it under `nohup` wants it to go on.
    let mut hangup = match ignores_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    let (stopper, stop) = stop();
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let hung_up = tokio::select! {
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                Some(()) = heard(hangup.as_mut()) => true,
            };
            if hung_up {
                stopper.ask();
                continue;
            }
            if !first {
                // A kill half-way is what the journal is for.
                std::process::exit(i32::from(Exit::Interrupted as u8));
            }
            first = false;
            write_above(|| drop(writeln!(std::io::stderr(), "{STOPPING}")));
            stopper.ask();
        }
    });
    Ok(stop)
}

/// What is not listened for is never heard.
async fn heard(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP was ignored by whoever started this process, as far as the system tells (Linux does).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_first(&status)
}

/// Whether a `/proc/PID/status` has signal 1, SIGHUP, among those that are ignored: a mask in hexadecimal digits,
/// whose lowest bit is that of signal 1 (proc_pid_status(5)).
fn ignores_first(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_first;

    #[test]
    fn a_process_under_nohup_is_told() {
        assert!(ignores_first(
            "Name:\tstepback\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"
        ));
        assert!(!ignores_first(
            "Name:\tstepback\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"
        ));
        assert!(!ignores_first(""));
    }
}
