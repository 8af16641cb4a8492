//! The one write to a revision: which release it is (LAWS W1).

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::Api;
use kube::api::Patch;
use serde_json::{Map, Value, json};
use stepback_core::model::{Pairing, TemplateRef, add_pairing, annotation};

use super::write::{Writer, revision_name, revision_of};
use super::{as_us, failure};
use crate::cluster::ClusterError;

impl Writer<'_> {
    pub(super) async fn pair(&self, to: &TemplateRef, pairing: &Pairing) -> Result<(), ClusterError> {
        let Some(name) = &to.revision else {
            return Err(ClusterError::Refused(format!(
                "{}: it is not said which of its revisions is {}",
                self.workload, pairing.release
            )));
        };
        let revision = revision_of(self.client, self.workload, Some(self.uid), name, &to.images).await?;
        let mut annotations = Map::new();
        annotations.insert(annotation::PAIRINGS.to_owned(), add_pairing(&revision, pairing).into());
        // A revision that was made during the run has a copy of what the workload was marked with.
        let copied = revision.metadata.annotations.iter().flatten().map(|(name, _)| name);
        let copied = copied.filter(|name| annotation::ALL.contains(&name.as_str()));
        annotations.extend(copied.map(|name| (name.clone(), Value::Null)));
        let patch = json!({ "metadata": {
            "uid": revision.metadata.uid,
            "resourceVersion": revision.metadata.resource_version,
            "annotations": annotations,
        } });
        // Whoever has taken over stamped the workload first.
        self.target().await?;
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &self.workload.namespace);
        let params = as_us();
        match api.patch(name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failure::of(error, &revision_name(self.workload, name))),
        }
    }
}
