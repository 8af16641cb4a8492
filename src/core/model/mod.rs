//! The nouns that every other module of this crate shares.
//!
//! Responsible for: small value types with their text forms and their order. Not for: rules about them (those live in
//! the module that decides). Everybody may use it; it uses nothing of ours.

mod around;
mod checksum;
mod database;
mod digest;
mod engine;
mod evidence;
mod fingerprint;
mod foreign;
mod ids;
mod migration;
mod nearest;
mod observed;
mod owner;
mod pairing;
mod place;
mod server;
mod version;
mod workload;

pub use around::{
    Amount, Autoscaler, Budget, FoundObject, Keeps, LookAround, NamedKind, NamedObject, NodeState, SeenAround, TriedPod,
};
pub use checksum::Checksum;
pub use database::{
    ArchiveRow, Capture, DatabaseIdentity, DatabaseRef, JournalPlace, LeaseSeen, LedgerRef, LedgerRow, LedgerSeen,
    LedgerTool, MissingRights, OwnedTable, Progress, ReleaseRow, RunRow, RunStatus, Scripts, SeenDatabase, UrlSource,
};
pub use digest::{Digest, DigestError};
pub use engine::{Engine, EngineError};
pub use evidence::{Evidence, LogTail};
pub use fingerprint::{Difference, Drift, Fingerprint};
pub use foreign::{cut, hide_passwords, plain, presentable};
pub use ids::{PlanId, RunId, Stamp, StepId, Token, TokenError};
pub use migration::{Direction, MigrationId, MigrationSet, ScriptRef, Target};
pub use nearest::{closest, nearest_release};
pub use observed::{Failure, Finding, Observed, Settled, Severity, Verdict};
pub use owner::{OwnerRef, OwnerState};
pub use pairing::{Pairing, add_pairing, pairings_of};
pub use place::{Bound, ClusterPlace};
pub use server::{LogicalSlot, Replication, SeenServer};
pub use version::{Version, VersionError};
pub use workload::{
    DeadPod, PodEvent, Removal, SeenCluster, SeenWorkload, TemplateRef, UpdateStrategy, WorkloadKind, WorkloadRef,
    annotation, images_of, revision_images,
};
