//! Reading everything that a decision needs. Creates nothing.

use std::collections::BTreeMap;

use stepback_core::model::{Digest, SeenCluster, SeenDatabase, WorkloadRef};
use stepback_core::plan::Seen;

use super::RoadError;
use crate::cluster::Cluster;
use crate::database::{Database, DbError};

/// Reads the database, and the workloads where a cluster is given.
///
/// # Errors
/// When one of the two cannot be read.
pub async fn look(
    database: &dyn Database,
    cluster: Option<&dyn Cluster>,
    workloads: &[WorkloadRef],
) -> Result<Seen, RoadError> {
    let (database, cluster) = tokio::try_join!(look_at_database(database), look_at_cluster(cluster, workloads))?;
    Ok(Seen { cluster, ..database })
}

async fn look_at_database(database: &dyn Database) -> Result<Seen, RoadError> {
    let seen = database.look().await?;
    complete(database, seen, true).await
}

/// What a decision needs of the database beside what was read of it just now. Scripts are left out where nothing is to
/// be applied or undone: they are most of what there is to read.
pub(super) async fn complete(
    database: &dyn Database,
    seen: SeenDatabase,
    with_scripts: bool,
) -> Result<Seen, RoadError> {
    let fingerprint = database.fingerprint().await?;
    let recorded = database.recorded_fingerprint(&seen.applied()).await?;
    let wanted = if with_scripts {
        wanted_scripts(&seen)
    } else {
        Vec::new()
    };
    let bodies = read_bodies(database, &wanted).await?;
    Ok(Seen {
        database: seen,
        fingerprint,
        recorded,
        compared: None,
        unverified: None,
        bodies,
        cluster: None,
        probes: Vec::new(),
        around: Vec::new(),
        missing_rights: Vec::new(),
        missing_pairing: Vec::new(),
        missing_evidence: Vec::new(),
    })
}

async fn look_at_cluster(
    cluster: Option<&dyn Cluster>,
    workloads: &[WorkloadRef],
) -> Result<Option<SeenCluster>, RoadError> {
    match cluster {
        Some(cluster) if !workloads.is_empty() => Ok(Some(cluster.look(workloads).await?)),
        _ => Ok(None),
    }
}

/// The archived scripts that a plan can use: downs of what is applied, ups of what is not; and ups of what is applied
/// where only their text tells whether they are what another tool's ledger names.
fn wanted_scripts(seen: &SeenDatabase) -> Vec<Digest> {
    let mut wanted = Vec::new();
    for row in &seen.archive {
        match seen
            .ledger
            .iter()
            .find(|applied| applied.migration.version == row.migration.version)
        {
            None => wanted.push(row.up_sha256),
            Some(applied) => {
                wanted.extend(row.down_sha256);
                wanted.extend(applied.up_checksum.as_ref().map(|_| row.up_sha256));
            }
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Reads bodies in one go; where one of them is damaged, each by itself, so that every damaged one is named.
async fn read_bodies(
    database: &dyn Database,
    wanted: &[Digest],
) -> Result<BTreeMap<Digest, Result<Vec<u8>, String>>, DbError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    match database.bodies(wanted).await {
        Ok(bodies) => return Ok(wanted.iter().copied().zip(bodies.into_iter().map(Ok)).collect()),
        Err(DbError::Archive { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut bodies = BTreeMap::new();
    for sha256 in wanted {
        let body = match database.bodies(std::slice::from_ref(sha256)).await {
            Ok(mut one) => one.pop().ok_or_else(|| "the archive has no body".to_owned()),
            Err(error @ DbError::Archive { .. }) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        bodies.insert(*sha256, body);
    }
    Ok(bodies)
}
