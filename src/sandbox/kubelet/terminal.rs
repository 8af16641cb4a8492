//! A terminal for a command that wants one: `kubectl exec --tty`.

use std::{fs::File, io, os::fd::OwnedFd};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::net::unix::pipe::{Receiver, Sender};

/// Our end of a pseudo terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// What the command shows. Ends with an error once nobody has the other end.
    pub output: Receiver,
    /// What is typed.
    pub input: Sender,
    pub window: Window,
}

/// The size of a terminal's window.
#[derive(Debug)]
pub(super) struct Window(OwnedFd);

impl Terminal {
    /// A terminal, and the end of it that is the command's input and output.
    pub fn open() -> io::Result<(Self, File)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        // Read and written like the ends of a pipe; that it is none is why nothing is checked.
        let terminal = Self {
            output: Receiver::from_owned_fd_unchecked(ours.try_clone()?)?,
            input: Sender::from_owned_fd_unchecked(ours.try_clone()?)?,
            window: Window(ours),
        };
        Ok((terminal, theirs.into()))
    }
}

impl Window {
    /// Tells the command how large its client's window is.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        if let Err(error) = tcsetwinsize(&self.0, size) {
            tracing::debug!(%error, "a terminal could not be resized");
        }
    }
}
