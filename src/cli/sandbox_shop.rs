//! The sandbox's application: what a container of the image `shop:RELEASE` runs. Not for people.

use anyhow::Context as _;
use stepback_sandbox::shop::{ShopConfig, serve};

use super::Exit;

/// Serves until it is told to end.
pub(super) async fn run() -> anyhow::Result<Exit> {
    let config = ShopConfig::from_env().context("the shop cannot start")?;
    serve(config).await.context("the shop cannot go on")?;
    Ok(Exit::Done)
}
