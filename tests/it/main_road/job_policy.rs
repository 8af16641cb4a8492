//! The Job of `deploy/job` as Kubernetes takes it, and what becomes of it by each of our exit codes.

use std::{collections::BTreeSet, time::Duration};

use futures::{TryStreamExt, future::try_join_all};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        wait::await_condition,
        watcher::{self, watcher},
    },
};
use serde_json::{Value, json};
use stepback::cli::Exit;
use tokio::time::timeout;

use super::job::{create, objects};
use crate::support::{
    binary::Binary,
    cluster::{Cluster, Kind},
    runner::{Case, Ctx, NotPassed, Outcome, case, fail, root, sync_case},
};

/// How long the Job controller may take.
const SOON: Duration = Duration::from_secs(40);

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("main_road::job_policy_has_a_word_on_each_exit_code", |ctx| words(&ctx)),
        case("main_road::job_ends_or_is_tried_again_as_its_exit_codes_say", ends),
    ]
}

/// How a process can end.
const EXITS: [Exit; 8] = [
    Exit::Done,
    Exit::Internal,
    Exit::Usage,
    Exit::Refused,
    Exit::Halted,
    Exit::Locked,
    Exit::Unreachable,
    Exit::Interrupted,
];

/// What the Job is to do then.
fn action(exit: Exit) -> Option<&'static str> {
    match exit {
        Exit::Done => None,
        Exit::Usage | Exit::Refused => Some("FailJob"),
        Exit::Locked | Exit::Interrupted => Some("Ignore"),
        Exit::Internal | Exit::Halted | Exit::Unreachable => Some("Count"),
    }
}

fn job(namespace: &str) -> Result<Value, NotPassed> {
    Ok(objects("job.yaml", namespace)?.remove(0))
}

/// What the first rule that matches this exit code says.
fn by_policy(job: &Value, code: u8) -> Option<String> {
    let rules = job["spec"]["podFailurePolicy"]["rules"].as_array()?;
    let matches = |rule: &&Value| {
        let codes = &rule["onExitCodes"];
        assert!(
            codes.is_null() || codes["containerName"] == "stepback" && codes["operator"] == "In",
            "{rule}"
        );
        let values = codes["values"].as_array();
        values.is_some_and(|values| values.contains(&json!(code)))
    };
    Some(rules.iter().find(matches)?["action"].as_str()?.to_owned())
}

fn words(ctx: &Ctx) -> Outcome {
    // The codes of the table in `--help` are those that there are.
    let help = Binary::in_dir(ctx.dir()).ends(0, "--help")?.out;
    let (_, table) = help.split_once("Exit codes:").unwrap_or_default();
    let told: BTreeSet<u8> = table.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(told, EXITS.iter().map(|exit| *exit as u8).collect());

    let job = job("production")?;
    let page = std::fs::read_to_string(root().join("docs/job.md"))?;
    for exit in EXITS {
        let code = exit as u8;
        assert_eq!(by_policy(&job, code).as_deref(), action(exit), "{exit:?}");
        let row = page.lines().find(|line| line.starts_with(&format!("| {code} |")));
        let third = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
        assert_eq!(third, Some(action(exit).unwrap_or("(complete)")), "docs/job.md, {code}");
    }
    Ok(())
}

/// A namespace in which pods must be restricted, and the Job's ServiceAccount.
async fn ends(ctx: Ctx) -> Outcome {
    let cluster = Cluster::shared(Kind::Real).await?;
    let lent = cluster.fresh_namespace(ctx.name()).await?;
    let (client, namespace) = (cluster.client().await?, lent.to_owned());
    let label = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    Api::<Namespace>::all(client.clone())
        .patch(&namespace, &PatchParams::default(), &Patch::Merge(label))
        .await?;
    create::<ServiceAccount>(&client, &objects("rights.yaml", &namespace)?[0]).await?;
    let job = job(&namespace)?;

    // What is wrong would be found: a field that there is not, a pod that is not restricted.
    let mut wrong = job.clone();
    wrong["spec"]["podFailurePolicies"] = json!({});
    let refused = create::<Job>(&client, &wrong).await.err();
    assert!(format!("{refused:?}").contains("podFailurePolicies"), "{refused:?}");
    let mut pod = job["spec"]["template"].clone();
    pod["metadata"] = json!({ "name": "loose", "namespace": namespace });
    pod["spec"]["containers"][0]["securityContext"] = Value::Null;
    let refused = create::<Pod>(&client, &pod).await.err();
    assert!(format!("{refused:?}").contains("restricted"), "{refused:?}");

    let ends = EXITS
        .iter()
        .map(|exit| end(&client, &job, *exit as u8, action(*exit), None));
    try_join_all(ends).await?;
    // Killed: that counts, unless the node wanted to be rid of it.
    end(&client, &job, 137, Some("Count"), None).await?;
    end(&client, &job, 137, Some("Ignore"), Some("DisruptionTarget")).await?;
    // A refusal is one even while a node is drained.
    end(&client, &job, 3, Some("FailJob"), Some("DisruptionTarget")).await
}

/// Creates the Job, lets its pod end with this code as a kubelet would tell it, and sees what the controller makes of it.
async fn end(client: &Client, job: &Value, code: u8, action: Option<&str>, condition: Option<&str>) -> Outcome {
    let mut job = job.clone();
    // A node that is nobody's: what its kubelet tells is told here.
    job["spec"]["template"]["spec"]["nodeName"] = json!("elsewhere");
    let job: Job = create(client, &job).await?;
    let namespace = job.namespace().unwrap_or_default();
    let (jobs, pods): (Api<Job>, Api<Pod>) = (
        Api::namespaced(client.clone(), &namespace),
        Api::namespaced(client.clone(), &namespace),
    );
    let name = job.name_any();
    let Ok(pod) = timeout(SOON, pod_of(&pods, &name)).await else {
        return fail(format_args!(
            "no pod of {name} comes: {:?}",
            jobs.get(&name).await?.status
        ));
    };
    let pod = pod?.name_any();
    let conditions: Vec<Value> = condition
        .into_iter()
        .map(|condition| json!({ "type": condition, "status": "True" }))
        .collect();
    let ended = json!({ "status": {
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "conditions": conditions,
        "containerStatuses": [{
            "name": "stepback", "image": "stepback", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": code, "finishedAt": "2026-11-23T10:00:00Z" } },
        }],
    } });
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(ended))
        .await?;
    // Counted or not, its end is taken note of.
    let noted = await_condition(pods, &pod, |pod: Option<&Pod>| {
        pod.is_none_or(|pod| pod.finalizers().is_empty())
    });
    if timeout(SOON, noted).await.is_err() {
        return fail(format_args!("the end of {pod} is not taken note of"));
    }
    let wanted = match action {
        None => "Complete",
        Some("FailJob") => "PodFailurePolicy",
        Some("Count") => "1 failed",
        _ => "0 failed",
    };
    let settled = await_condition(jobs.clone(), &name, |job: Option<&Job>| {
        job.is_some_and(|job| tell(job) == wanted)
    });
    if timeout(SOON, settled).await.is_err() {
        let job = jobs.get(&name).await?;
        return fail(format_args!(
            "{code} {condition:?}: {wanted} was expected: {:?}",
            job.status
        ));
    }
    Ok(())
}

/// How a Job stands.
fn tell(job: &Job) -> String {
    let status = job.status.clone().unwrap_or_default();
    for condition in status
        .conditions
        .iter()
        .flatten()
        .filter(|condition| condition.status == "True")
    {
        match condition.type_.as_str() {
            "Complete" => return "Complete".to_owned(),
            "Failed" => return condition.reason.clone().unwrap_or_default(),
            _ => {}
        }
    }
    // What is about to be counted is listed before the pod is let go.
    let uncounted = status.uncounted_terminated_pods.and_then(|pods| pods.failed);
    let uncounted = uncounted.map_or(0, |pods| pods.len());
    format!(
        "{} failed",
        status.failed.unwrap_or(0) + i32::try_from(uncounted).unwrap_or(i32::MAX)
    )
}

/// The pod that the controller makes for a Job.
async fn pod_of(pods: &Api<Pod>, job: &str) -> Result<Pod, NotPassed> {
    let of_it = watcher::Config::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let mut events = std::pin::pin!(watcher(pods.clone(), of_it));
    while let Some(event) = events.try_next().await? {
        if let watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) = event {
            return Ok(pod);
        }
    }
    fail("the watch of pods ended")
}
