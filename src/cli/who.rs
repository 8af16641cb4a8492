//! Who acts, as far as the environment says.

use stepback_core::journal::By;

/// The user, host and process that act, for the lease and the journal.
pub(super) fn who() -> By {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let host = || {
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned())
    };
    By {
        user: first(&["USER", "LOGNAME"]).unwrap_or_else(user_number),
        host: first(&["HOSTNAME"])
            .or_else(host)
            .unwrap_or_else(|| "unknown".to_owned()),
        process: std::process::id(),
        program: concat!("stepback ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// The number of this process's user: containers and services often have no name for it in their environment.
fn user_number() -> String {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if let Ok(process) = std::fs::metadata("/proc/self") {
            return format!("uid {}", process.uid());
        }
    }
    "unknown".to_owned()
}
