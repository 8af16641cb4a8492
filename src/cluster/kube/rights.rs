//! What of our requests the API server would forbid.

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::failure;
use crate::cluster::ClusterError;

/// Group, resource, subresource and verbs.
type Needed = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Every request that a run makes in a namespace. To read `kube-system` is
/// not among them: where that is forbidden, clusters are told apart by their certificate authority.
const NEEDED: &[Needed] = &[
    ("apps", "statefulsets", "", &["get", "list", "watch", "patch"]),
    ("apps", "controllerrevisions", "", &["get", "list"]),
    ("", "pods", "", &["get", "list", "watch", "patch", "delete"]),
    ("autoscaling", "horizontalpodautoscalers", "", &["list"]),
    ("", "configmaps", "", &["create", "get", "list", "patch", "delete"]),
    (
        "coordination.k8s.io",
        "leases",
        "",
        &["create", "get", "list", "watch", "patch"],
    ),
];

/// What probes need in addition where pods are not in reach. Newer servers ask for both verbs.
const FORWARDING: Needed = ("", "pods", "portforward", &["create", "get"]);

/// What probes need that run commands. Newer servers ask for both verbs.
const EXEC: Needed = ("", "pods", "exec", &["create", "get"]);

/// What writes on a revision which release it is.
const PAIRING: Needed = ("apps", "controllerrevisions", "", &["patch"]);

/// What is read of a pod that fails its gate.
const EVIDENCE: &[Needed] = &[("", "pods", "log", &["get"]), ("", "events", "", &["list"])];

/// A sentence for each right that is missing. Asked all at once.
pub(super) async fn missing(client: &Client, namespace: &str, forwards: bool) -> Result<Vec<String>, ClusterError> {
    let forwarding = forwards.then_some(&FORWARDING);
    ask(client, namespace, NEEDED.iter().chain(forwarding)).await
}

/// What is missing of what probes need that run commands.
pub(super) async fn missing_for_exec(client: &Client, namespace: &str) -> Result<Vec<String>, ClusterError> {
    ask(client, namespace, std::iter::once(&EXEC)).await
}

/// What is missing of what pairs revisions.
pub(super) async fn missing_for_pairing(client: &Client, namespace: &str) -> Result<Vec<String>, ClusterError> {
    ask(client, namespace, std::iter::once(&PAIRING)).await
}

/// What is missing of what shows a pod that fails its gate.
pub(super) async fn missing_for_evidence(client: &Client, namespace: &str) -> Result<Vec<String>, ClusterError> {
    ask(client, namespace, EVIDENCE.iter()).await
}

/// Whether pods may be created there, which a run never does: of one a dry run is made.
pub(super) async fn may_create_pods(client: &Client, namespace: &str) -> Result<bool, ClusterError> {
    const CREATING: Needed = ("", "pods", "", &["create"]);
    Ok(ask(client, namespace, std::iter::once(&CREATING)).await?.is_empty())
}

async fn ask(
    client: &Client,
    namespace: &str,
    needed: impl Iterator<Item = &'static Needed>,
) -> Result<Vec<String>, ClusterError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let asked = needed.flat_map(|(group, resource, subresource, verbs)| {
        verbs.iter().map(move |verb| (*group, *resource, *subresource, *verb))
    });
    let answers = asked.map(|(group, resource, subresource, verb)| {
        let reviews = reviews.clone();
        async move {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(ResourceAttributes {
                        group: text(group),
                        resource: text(resource),
                        subresource: text(subresource),
                        verb: text(verb),
                        namespace: text(namespace),
                        ..ResourceAttributes::default()
                    }),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = reviews
                .create(&PostParams::default(), &review)
                .await
                .map_err(|error| failure::of(error, "the question what is allowed"))?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            let mut what = resource.to_owned();
            if !subresource.is_empty() {
                what.push('/');
                what.push_str(subresource);
            }
            if !group.is_empty() {
                what.push('.');
                what.push_str(group);
            }
            Ok((!allowed).then(|| format!("may not {verb} {what} in namespace {namespace}")))
        }
    });
    Ok(try_join_all(answers).await?.into_iter().flatten().collect())
}
