//! What the controller does to pods and claims, one API call after the other, with an event for each.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};

use super::{SyncError, claim, pod};
use crate::record::{Kind, Recorder};

/// Pods and claims of one set.
pub(super) struct Actor<'a> {
    pub set: &'a StatefulSet,
    pub pods: Api<Pod>,
    claims: Api<PersistentVolumeClaim>,
    recorder: &'a Recorder,
}

impl<'a> Actor<'a> {
    pub fn new(client: &Client, set: &'a StatefulSet, recorder: &'a Recorder) -> Self {
        let namespace = set.namespace().unwrap_or_default();
        Self {
            set,
            pods: Api::namespaced(client.clone(), &namespace),
            claims: Api::namespaced(client.clone(), &namespace),
            recorder,
        }
    }

    /// Creates a pod, its claims first.
    pub async fn create(&self, pod: &Pod) -> Result<(), SyncError> {
        if let Err(error) = self.create_claims(pod).await {
            self.tell("Create", pod, Some(&error)).await;
            return Err(error);
        }
        match self.pods.create(&PostParams::default(), pod).await {
            // It is there already: the next round sees it.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                return Err(SyncError::from(kube::Error::Api(status)));
            }
            Err(error) => {
                let error = SyncError::from(error);
                self.tell("Create", pod, Some(&error)).await;
                return Err(error);
            }
            Ok(created) => self.own_claims(self.set, &created).await?,
        }
        self.tell("Create", pod, None).await;
        Ok(())
    }

    /// Asks for a pod's end; one that is gone already is fine.
    pub async fn delete(&self, pod: &Pod) -> Result<(), SyncError> {
        // With the UID the deletion cannot hit a later pod of the same name.
        let params = DeleteParams::default();
        let params = match pod.uid() {
            Some(uid) => params.preconditions(kube::api::Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            None => params,
        };
        match self.pods.delete(&pod.name_any(), &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                let error = SyncError::from(error);
                self.tell("Delete", pod, Some(&error)).await;
                return Err(error);
            }
        }
        self.tell("Delete", pod, None).await;
        Ok(())
    }

    /// Puts identity, volumes and claims' owners of a living pod right.
    pub async fn update(&self, update_set: &StatefulSet, pod: &Pod) -> Result<(), SyncError> {
        let mut wanted = pod.clone();
        if !pod::identity_matches(update_set, pod) {
            pod::update_identity(&mut wanted);
        }
        if !pod::storage_matches(update_set, pod) {
            pod::update_storage(update_set, &mut wanted);
            self.create_claims(pod).await?;
        }
        self.own_claims(update_set, pod).await?;
        if wanted == *pod {
            return Ok(());
        }
        match self
            .pods
            .replace(&pod.name_any(), &PostParams::default(), &wanted)
            .await
        {
            Ok(_) => {
                self.tell("Update", pod, None).await;
                Ok(())
            }
            Err(error) => {
                let error = SyncError::from(error);
                self.tell("Update", pod, Some(&error)).await;
                Err(error)
            }
        }
    }

    /// Creates the pod's claims that are missing. One that is being deleted is an error: the pod must wait for it.
    async fn create_claims(&self, pod: &Pod) -> Result<(), SyncError> {
        let Some(ordinal) = pod::ordinal(pod) else {
            return Ok(());
        };
        for claim in claim::build(self.set, ordinal) {
            let name = claim.name_any();
            match self.claims.get_opt(&name).await? {
                None => {
                    self.claims.create(&PostParams::default(), &claim).await?;
                    let message = format!(
                        "Create Claim {name} Pod {} in StatefulSet {} success",
                        pod.name_any(),
                        self.set.name_any()
                    );
                    self.recorder
                        .say(self.set, Kind::Normal, "SuccessfulCreate", &message)
                        .await;
                }
                Some(found) if found.metadata.deletion_timestamp.is_some() => {
                    return Err(SyncError::ClaimEnding(name));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Creates missing claims of a pending pod and gives them their owners.
    pub async fn complete_claims(&self, pod: &Pod) -> Result<(), SyncError> {
        self.create_claims(pod).await?;
        self.own_claims(self.set, pod).await
    }

    async fn present_claims(&self, pod: &Pod) -> Result<Vec<PersistentVolumeClaim>, SyncError> {
        let Some(ordinal) = pod::ordinal(pod) else {
            return Ok(Vec::new());
        };
        let mut present = Vec::new();
        for template in claim::templates(self.set) {
            present.extend(self.claims.get_opt(&claim::name(self.set, template, ordinal)).await?);
        }
        Ok(present)
    }

    /// Whether the pod's claims have the owners that the retention policy wants.
    pub async fn claims_match(&self, update_set: &StatefulSet, pod: &Pod) -> Result<bool, SyncError> {
        let claims = self.present_claims(pod).await?;
        Ok(claims.iter().all(|claim| claim::owners_match(claim, update_set, pod)))
    }

    /// Gives the pod's claims the owners that the retention policy wants.
    pub async fn own_claims(&self, update_set: &StatefulSet, pod: &Pod) -> Result<(), SyncError> {
        for mut claim in self.present_claims(pod).await? {
            if claim::has_foreign_controller(&claim, update_set, pod) {
                let message = format!(
                    "PersistentVolumeClaim {} is controlled by another object; the retention policy is ignored for it",
                    claim.name_any()
                );
                self.recorder
                    .say(self.set, Kind::Warning, "ConflictingController", &message)
                    .await;
            }
            if !claim::owners_match(&claim, update_set, pod) {
                claim::set_owners(&mut claim, update_set, pod);
                self.claims
                    .replace(&claim.name_any(), &PostParams::default(), &claim)
                    .await?;
            }
        }
        Ok(())
    }

    /// Whether a claim of a pod that is to be created still belongs to an earlier pod and is about to go with it.
    pub async fn has_stale_claim(&self, pod: &Pod) -> Result<bool, SyncError> {
        if !claim::retention(self.set).when_scaled {
            return Ok(false);
        }
        Ok(self
            .present_claims(pod)
            .await?
            .iter()
            .any(|claim| claim::is_stale(claim, pod)))
    }

    async fn tell(&self, verb: &str, pod: &Pod, error: Option<&SyncError>) {
        let (pod, set) = (pod.name_any(), self.set.name_any());
        match error {
            None => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.recorder
                    .say(self.set, Kind::Normal, &format!("Successful{verb}"), &message)
                    .await;
            }
            Some(error) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {error}");
                self.recorder
                    .say(self.set, Kind::Warning, &format!("Failed{verb}"), &message)
                    .await;
            }
        }
    }
}
