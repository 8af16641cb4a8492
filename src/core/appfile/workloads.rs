//! `spec.workloads` and `spec.alsoUses`.

use super::error::Problem;
use super::label;
use super::read::{Fields, Log, Spot};
use super::shape::{UserKind, UserRef, WorkloadKind, WorkloadRef};

pub(super) fn read(at: &Spot<'_>, log: &mut Log) -> Vec<WorkloadRef> {
    let kinds = [
        ("StatefulSet", WorkloadKind::StatefulSet),
        ("Deployment", WorkloadKind::Deployment),
    ];
    let mut workloads: Vec<(WorkloadRef, usize)> = Vec::new();
    for at in at.list("a list of workloads", log) {
        let Some(mut fields) = at.fields(log) else { continue };
        let (kind, namespace, name) = read_object(&mut fields, &kinds, log);
        let start_together = fields.get("startTogether").and_then(|at| at.count(100_000, log));
        fields.finish(log);
        let (Some(kind), Some(name)) = (kind, name) else {
            continue;
        };
        // `images` and `hostedBy` mean a workload by its name alone.
        if let Some((_, first)) = workloads.iter().find(|(other, _)| other.name == name) {
            let problem = Problem::Duplicate {
                path: at.path.clone(),
                value: name,
                first: *first,
            };
            log.add(at.node.place, problem);
            continue;
        }
        workloads.push((
            WorkloadRef {
                kind,
                namespace,
                name,
                start_together,
            },
            at.node.place.line,
        ));
    }
    workloads.into_iter().map(|(workload, _)| workload).collect()
}

pub(super) fn read_users(at: &Spot<'_>, log: &mut Log) -> Vec<UserRef> {
    let kinds = [
        ("CronJob", UserKind::CronJob),
        ("Job", UserKind::Job),
        ("Deployment", UserKind::Deployment),
        ("StatefulSet", UserKind::StatefulSet),
    ];
    let mut users = Vec::new();
    for at in at.list("a list of objects", log) {
        let Some(mut fields) = at.fields(log) else { continue };
        let (kind, namespace, name) = read_object(&mut fields, &kinds, log);
        fields.finish(log);
        if let (Some(kind), Some(name)) = (kind, name) {
            users.push(UserRef { kind, namespace, name });
        }
    }
    users
}

fn read_object<K: Copy>(
    fields: &mut Fields<'_>,
    kinds: &[(&str, K)],
    log: &mut Log,
) -> (Option<K>, Option<String>, Option<String>) {
    let kind = fields
        .need("kind", "the object's kind", log)
        .and_then(|at| at.one_of(kinds, log));
    let namespace = fields
        .get("namespace")
        .and_then(|at| at.parse("a namespace", log, label));
    let name = fields
        .need("name", "the object's name", log)
        .and_then(|at| at.parse("a name", log, object_name));
    (kind, namespace, name)
}

/// RFC 1123 subdomain: labels with dots between them.
fn object_name(text: &str) -> Result<String, String> {
    text.split('.')
        .try_for_each(|part| label(part).map(drop))
        .map(|()| text.to_owned())
}
