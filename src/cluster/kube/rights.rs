//! What of our requests the API server would forbid.

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::dial::Reach;
use super::failure;
use crate::cluster::ClusterError;

/// Group, resource, subresource and verbs of every request that a run makes in a namespace. To read `kube-system` is
/// not among them: where that is forbidden, clusters are told apart by their certificate authority.
const NEEDED: &[(&str, &str, &str, &[&str])] = &[
    ("apps", "statefulsets", "", &["get", "list", "watch", "patch"]),
    ("apps", "controllerrevisions", "", &["get", "list", "watch"]),
    ("", "pods", "", &["get", "list", "watch"]),
    ("", "configmaps", "", &["create", "get", "list", "patch", "delete"]),
    (
        "coordination.k8s.io",
        "leases",
        "",
        &["create", "get", "list", "watch", "patch"],
    ),
];

/// What probes need in addition where pods are not in reach. Newer servers ask for both verbs.
const FORWARDING: (&str, &str, &str, &[&str]) = ("", "pods", "portforward", &["create", "get"]);

/// A sentence for each right that is missing. Asked all at once.
pub(super) async fn missing(client: &Client, namespace: &str, reach: Reach) -> Result<Vec<String>, ClusterError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let forwarding = (reach == Reach::Outside).then_some(&FORWARDING);
    let asked = NEEDED
        .iter()
        .chain(forwarding)
        .flat_map(|(group, resource, subresource, verbs)| {
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
