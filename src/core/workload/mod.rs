//! What is seen of a workload, and what it means.
//!
//! Responsible for: pure judgements over Kubernetes objects. Not for: reading or watching them (the root crate's
//! `cluster`), waiting (`probe`).

mod evidence;
mod judge;
mod lost;
mod not_ready;
mod observe;
mod pairing;
mod pods;
mod set_back;
#[cfg(test)]
mod tests;
mod unmade;

pub use evidence::{bounded, event_line, evidence_of, logs_to_read};
pub use judge::{Readiness, incarnation, judge, readiness};
pub(crate) use lost::sign_of_loss;
pub use observe::has_template as is_at;
pub use observe::{
    observe_removal, observe_repoint, observe_scale, observe_update_strategy, other_template, other_template_and_count,
    other_template_found,
};
pub use pairing::{observe_pairing, revision_to_pair};
pub(crate) use pods::{beyond_count, is_ready, is_terminating, other_images, revision_of};
pub use pods::{is_to_go, standing_in_the_way};
pub use set_back::set_count;
pub use unmade::{FailedCreates, to_be_made};
