//! The laws of a cluster, over a real control plane and over the sandbox.

mod arena;
mod around;
mod lease;
mod looking;
mod owning;
mod pairing;
mod probing;
mod reach;
mod removing;
mod silence;
mod writing;

use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, case},
};
use arena::Arena;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Real, Kind::Sandbox] {
        macro_rules! laws {
            ($($subject:ident::$law:ident),* $(,)?) => {
                $(cases.push(case(
                    format!("contract_cluster::{}::{}", kind.name(), stringify!($law)),
                    async move |ctx: Ctx| $subject::$law(&Arena::open(kind, ctx.name()).await?).await,
                ));)*
            };
        }
        laws![
            looking::looking_reads_what_the_set_owns,
            looking::what_is_asked_for_of_a_set_is_read,
            looking::a_workload_that_is_not_there_is_seen_as_none,
            looking::changes_begin_with_the_present_and_show_pods_coming_and_going,
            looking::changes_follow_a_set_that_is_deleted_and_made_again,
            writing::another_object_of_the_same_name_is_gone,
            writing::a_change_in_between_is_a_conflict_and_nothing_is_written,
            writing::w6_a_higher_token_fences_and_nothing_is_written,
            writing::w6_effect_and_stamp_come_in_one_write,
            writing::w7_the_recorded_original_is_never_overwritten,
            writing::a_count_that_is_somebody_elses_is_changed,
            writing::no_pod_starts_from_another_template,
            writing::repointing_takes_fields_away_that_the_newer_template_added,
            writing::repointing_by_images_changes_nothing_else,
            writing::repointing_refuses_what_was_not_planned,
            writing::w9_giving_back_leaves_no_field_and_no_annotation,
            writing::w9_giving_back_where_all_fields_are_ours,
            writing::w9_the_next_apply_meets_no_conflict_after_giving_back,
            pairing::w1_a_pairing_is_written_on_the_revision_and_nowhere_else,
            pairing::w1_a_pairing_is_not_copied_and_not_lost,
            pairing::w1_only_the_revision_that_was_gated_is_paired,
            pairing::w1_a_pairing_is_no_conflict_for_whoever_writes_next,
            removing::w4_the_update_strategy_is_recorded_whole_and_given_back_whole,
            removing::an_update_strategy_that_is_somebody_elses_is_changed,
            removing::only_a_pod_that_is_to_go_is_removed,
            removing::w6_a_pod_that_changed_in_between_is_a_conflict_and_stays,
            removing::w6_a_takeover_stamps_the_pod_and_a_sleeper_meets_it,
            removing::w14_a_dead_pod_is_removed_by_its_uid_and_no_other,
            lease::one_holder_at_a_time,
            lease::a_higher_token_on_the_lease_fences,
            lease::a_living_holder_is_waited_for,
            lease::a_dead_holder_is_waited_out,
            lease::w6_a_sleeper_meets_the_lease_where_no_stamp_is_left,
            lease::w6_a_lease_without_a_token_is_told_as_such,
            lease::giving_back_what_is_not_ours_does_nothing,
            around::autoscalers_are_found_by_what_they_scale,
            around::budgets_are_found_by_the_pods_that_they_select,
            around::w3_objects_that_are_named_are_there_or_not,
            around::w14_nodes_are_ready_lost_off_or_gone,
            around::w13_a_pod_is_tried_and_not_made,
            owning::w3_a_pending_release_of_helm_is_read_off_its_records,
            owning::an_owner_that_is_not_there_is_not_known,
            reach::a_pod_is_dialled,
            reach::no_right_is_missing_for_an_admin,
            probing::w17_pods_that_say_no_or_nothing_are_reached,
            probing::w17_a_ready_pod_that_cannot_be_reached_is_a_refusal,
            probing::a_certificate_is_verified,
            probing::a_pod_that_crashes_is_shown_with_its_events_and_last_words,
            probing::a_pod_that_is_not_made_is_explained_by_its_set,
            probing::w13_a_pod_that_cannot_be_made_ends_the_wait,
        ];
    }
    cases.push(case(
        "contract_cluster::real::missing_rights_are_named_and_the_cluster_is_still_told_apart",
        reach::missing_rights_real,
    ));
    cases.push(case(
        "contract_cluster::sandbox::missing_rights_are_named",
        reach::missing_rights_sandbox,
    ));
    cases.push(case(
        "contract_cluster::sandbox::what_must_not_be_read_is_not_known",
        around::what_must_not_be_read_is_not_known,
    ));
    cases.push(case(
        "contract_cluster::real::w13_what_admission_refuses_is_said_beforehand",
        async |ctx: Ctx| {
            let arena = Arena::open(Kind::Real, ctx.name()).await?;
            around::w13_what_admission_refuses_is_said_beforehand_real(&arena).await
        },
    ));
    // The sandbox has no definitions of kinds.
    cases.push(case(
        "contract_cluster::real::w2_owners_act_or_are_paused",
        async |ctx: Ctx| owning::w2_owners_act_or_are_paused(&Arena::open(Kind::Real, ctx.name()).await?).await,
    ));
    macro_rules! silence {
        ($($law:ident),* $(,)?) => {
            $(cases.push(case(
                concat!("contract_cluster::sandbox::", stringify!($law)),
                silence::$law,
            ));)*
        };
    }
    silence![
        a_write_without_an_answer_is_unknown_and_the_world_is_asked,
        a_look_without_an_answer_is_given_up,
        a_heartbeat_without_an_answer_is_no_loss,
    ];
    cases
}
