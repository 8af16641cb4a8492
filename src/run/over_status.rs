//! Writes to an object whose controller, or kubelet, may be writing its status at the same moment.
//!
//! Responsible for: asking again at once where nothing but the object's version stood in the way. Not for: whether the
//! write is still right: every write of the seam looks at the object anew and refuses where it is not what was planned
//! for, or bears a higher token.

use std::time::Duration;

use crate::cluster::ClusterError;

/// How often one write is tried.
const TRIES: u32 = 6;

/// Tries a write again while it meets a conflict: at once, and then after a pause that doubles from 20 ms.
///
/// # Errors
/// What the seam says of the last try.
pub(super) async fn over_status<F>(write: impl Fn() -> F) -> Result<(), ClusterError>
where
    F: Future<Output = Result<(), ClusterError>>,
{
    for tries in 1..TRIES {
        match write().await {
            Err(ClusterError::Conflict { .. }) if tries == 1 => {}
            Err(ClusterError::Conflict { .. }) => tokio::time::sleep(Duration::from_millis(10 << (tries - 1))).await,
            done => return done,
        }
    }
    write().await
}
