//! The shop as a program: this test binary, started once more.

use std::{process::ExitCode, sync::LazyLock};

use stepback_sandbox::{
    kubelet::Program,
    shop::{ShopConfig, serve},
};

/// The argument that makes this binary a shop.
const ARGUMENT: &str = "--be-the-shop";

/// How a kubelet starts the shop.
pub fn program() -> Program {
    static PATH: LazyLock<std::path::PathBuf> =
        LazyLock::new(|| std::env::current_exe().expect("a running program has a path"));
    Program {
        path: PATH.clone(),
        args: vec![ARGUMENT.into()],
    }
}

/// Runs the shop if this process was started as one.
#[expect(clippy::print_stderr, reason = "the container's log")]
pub fn run_if_asked() -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some(ARGUMENT) {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime
            .block_on(async { serve(ShopConfig::from_env()?).await })
            .map_err(|e| e.to_string())
    });
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}
