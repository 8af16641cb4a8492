//! How StatefulSets behave: one list of behaviours over a real control plane, over our controller on a
//! real API server, and over the whole sandbox. Where they differ, ours is wrong.

mod scaling;
mod updating;

use serde_json::{Value, json};

use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case},
    scene::Scene,
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        macro_rules! add {
            ($($subject:ident::$behaviour:ident),* $(,)?) => {
                $(cases.push(case(
                    format!("statefulset::{}::{}", kind.name(), stringify!($behaviour)),
                    move |ctx: Ctx| async move { $subject::$behaviour(Scene::open(kind, ctx.name()).await?, &ctx).await },
                ));)*
            };
        }
        add![
            scaling::scales_in_order,
            scaling::parallel_starts_all_at_once,
            scaling::two_unready_pods_block_a_scale_down,
            scaling::one_unready_pod_does_not,
            scaling::when_scaled_delete_removes_claims,
            scaling::a_retained_claim_is_used_again,
            scaling::a_failed_pod_is_replaced,
            scaling::ordinals_start_where_the_set_says,
            scaling::min_ready_seconds_delay_the_next_pod,
            updating::a_broken_pod_blocks_the_way_back,
            updating::a_parallel_update_goes_one_by_one,
            updating::a_parallel_update_replaces_what_is_broken,
            updating::on_delete_waits_for_deletion,
            updating::below_the_partition_pods_keep_the_current_revision,
            updating::at_no_replicas_the_update_becomes_current,
            updating::revisions_are_used_again_and_pruned,
            updating::annotations_are_copied_to_a_new_revision_only,
        ];
    }
    cases.push(case(
        "statefulset::every_cluster_gives_a_revision_the_same_name",
        same_names,
    ));
    cases
}

/// A set whose pods have a claim each, and what becomes of those of pods that are scaled away.
fn claims(policy: &str) -> Value {
    json!({ "spec": {
        "persistentVolumeClaimRetentionPolicy": { "whenScaled": policy, "whenDeleted": "Retain" },
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } },
        } }],
    } })
}

async fn same_names(ctx: Ctx) -> Outcome {
    let mut names = Vec::new();
    for kind in Kind::ALL {
        let scene = Scene::open(kind, ctx.name()).await?;
        let mut set = claims("Retain");
        set["spec"]["template"]["metadata"] =
            json!({ "labels": { "app": "web" }, "annotations": { "example.org/text": "<a> & \"b\" \u{2028} é" } });
        scene.create("shop:1.2.0", 0, set).await?;
        names.push(scene.until_settled(0).await?.update_revision);
    }
    assert!(
        names.iter().all(|name| name.is_some() && *name == names[0]),
        "{names:?}"
    );
    Ok(())
}
