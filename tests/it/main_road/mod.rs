//! The main road from end to end: the real binary takes a real shop back, schema and StatefulSet together; undisturbed,
//! through broken worlds, pod by pod under the eyes of a client, killed on the way, in a crowd, and refused.
//!
//! `stage` sets the scene, `world` is what must be there afterwards, written by hand.

mod abort;
mod abort_walks;
mod around;
mod between;
mod broken;
mod dead;
mod history;
mod init;
mod job;
mod job_policy;
mod journey;
mod kill;
mod lost;
mod measure;
mod mutated;
mod onlookers;
mod owners;
mod pairing;
mod place;
mod probes;
mod program;
mod reconcile;
mod refusals;
mod rivals;
mod saved;
mod set_back;
mod stage;
mod store;
mod strangers;
mod turn;
mod unopened;
mod walk;
mod world;

use crate::support::runner::Case;

pub fn cases() -> Vec<Case> {
    let subjects = [
        abort::cases(),
        abort_walks::cases(),
        lost::cases(),
        between::cases(),
        strangers::cases(),
        journey::cases(),
        broken::cases(),
        turn::cases(),
        unopened::cases(),
        walk::cases(),
        kill::cases(),
        measure::cases(),
        mutated::cases(),
        onlookers::cases(),
        probes::cases(),
        rivals::cases(),
        reconcile::cases(),
        refusals::cases(),
        owners::cases(),
        pairing::cases(),
        place::cases(),
        around::cases(),
        dead::cases(),
        saved::cases(),
        set_back::cases(),
        init::cases(),
        job::cases(),
        job_policy::cases(),
    ];
    subjects.into_iter().flatten().collect()
}
