//! Ctrl-C and SIGTERM: the first asks the run to stop between two moves, the second ends the process.

use std::io::Write as _;
use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use crate::live::write_above;
use crate::run::{Stop, stop};

const STOPPING: &str = "stopping after the move in flight: nothing more is begun, and what is done is\n\
                        recorded (the same signal once more ends at once; `stepback status` says what is\n\
                        left)";

/// What listens already, where something does.
static LISTENING: OnceLock<Stop> = OnceLock::new();

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
    let (stopper, stop) = stop();
    tokio::spawn(async move {
        let mut first = true;
        loop {
            tokio::select! {
                heard = interrupt.recv() => heard,
                heard = terminate.recv() => heard,
            };
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
