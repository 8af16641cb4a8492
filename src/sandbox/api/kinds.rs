//! The table of kinds the API serves: adding a kind is adding a line.
//!
//! Responsible for names, scopes and the few traits in which kinds differ. Not for their rules: defaults are in
//! `defaults.rs`, refusals in `validate.rs`. Used by every part of the API.

/// One kind of object: how it is named, where it lives, and how it differs from a plain stored document.
#[derive(Debug, Clone)]
pub struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Has a `status` subresource; the main endpoint then ignores `status`.
    pub(super) status: bool,
    /// Has a `scale` subresource over `spec.replicas`.
    pub(super) scale: bool,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub(super) generation: bool,
    /// A delete answers with the object, where others answer with a `Status`.
    pub(super) returns_deleted: bool,
    /// An update must carry `metadata.resourceVersion`.
    pub(super) conditional: bool,
    /// A PUT of an object that does not exist creates it.
    pub(super) put_creates: bool,
    /// Is answered, not stored: only `create`.
    pub(super) review: bool,
    /// Known by a custom resource definition only: no strategic merge patch.
    pub(super) custom: bool,
    /// Field selectors beside `metadata.name` and `metadata.namespace`.
    pub(super) fields: &'static [&'static str],
}

impl Kind {
    /// A built-in kind of `group` (empty for the core group), stored per namespace, with no subresources.
    ///
    /// ```
    /// use stepback_sandbox::api::Kind;
    /// let roles = Kind::new("rbac.authorization.k8s.io", "v1", "Role", "roles");
    /// ```
    #[must_use]
    pub const fn new(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            short: &[],
            namespaced: true,
            status: false,
            scale: false,
            generation: false,
            returns_deleted: false,
            conditional: false,
            put_creates: false,
            review: false,
            custom: false,
            fields: &[],
        }
    }

    /// A kind that a custom resource definition would bring: it counts generations and takes no strategic merge patch.
    #[must_use]
    pub const fn custom(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        let mut made = Self::new(group, version, kind, plural);
        made.custom = true;
        made.generation = true;
        made.conditional = true;
        made
    }

    /// The same kind, outside of namespaces.
    #[must_use]
    pub const fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// The same kind with a `status` subresource.
    #[must_use]
    pub const fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    /// The same kind with a `scale` subresource over `spec.replicas`.
    #[must_use]
    pub const fn with_scale(mut self) -> Self {
        self.scale = true;
        self
    }

    /// The same kind, counting changes of its specification in `metadata.generation`.
    #[must_use]
    pub const fn with_generation(mut self) -> Self {
        self.generation = true;
        self
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }

    const fn fields(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }

    const fn returns_deleted(mut self) -> Self {
        self.returns_deleted = true;
        self
    }

    const fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }

    const fn put_creates(mut self) -> Self {
        self.put_creates = true;
        self
    }

    const fn review(mut self) -> Self {
        self.review = true;
        self
    }

    /// `v1` or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `statefulsets.apps`, as error messages name the resource.
    pub(super) fn resource(&self) -> String {
        qualify(self.plural, self.group)
    }

    /// `Pod` or `StatefulSet.apps`, as error messages name the kind.
    pub(super) fn qualified(&self) -> String {
        qualify(self.kind, self.group)
    }

    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    pub(super) fn is_pod(&self) -> bool {
        self.is("", "Pod")
    }

    pub(super) fn is_namespace(&self) -> bool {
        self.is("", "Namespace")
    }
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const RBAC: &str = "rbac.authorization.k8s.io";

/// Every kind that is always served, in the order of discovery.
#[rustfmt::skip]
pub(super) fn builtin() -> Vec<Kind> {
    vec![
        Kind::new("", "v1", "Namespace", "namespaces").short(&["ns"]).cluster_wide().with_status().fields(&["status.phase"]),
        Kind::new("", "v1", "Node", "nodes").short(&["no"]).cluster_wide().with_status().fields(&["spec.unschedulable"]),
        Kind::new("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).cluster_wide().with_status().returns_deleted(),
        Kind::new("", "v1", "Pod", "pods").short(&["po"]).with_status().with_generation().returns_deleted().fields(POD_FIELDS),
        Kind::new("", "v1", "Service", "services").short(&["svc"]).with_status().returns_deleted(),
        Kind::new("", "v1", "ConfigMap", "configmaps").short(&["cm"]),
        Kind::new("", "v1", "Secret", "secrets").fields(&["type"]),
        Kind::new("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]).returns_deleted(),
        Kind::new("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).with_status().returns_deleted(),
        Kind::new("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"]).with_status().returns_deleted(),
        Kind::new("", "v1", "LimitRange", "limitranges").short(&["limits"]),
        Kind::new("", "v1", "Event", "events").short(&["ev"]).fields(EVENT_FIELDS).put_creates(),
        Kind::new("", "v1", "Endpoints", "endpoints").short(&["ep"]).put_creates(),
        Kind::new("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).with_status().with_scale().with_generation(),
        Kind::new("apps", "v1", "Deployment", "deployments").short(&["deploy"]).with_status().with_scale().with_generation(),
        Kind::new("apps", "v1", "ReplicaSet", "replicasets").short(&["rs"]).with_status().with_scale().with_generation(),
        Kind::new("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).with_status().with_generation(),
        Kind::new("apps", "v1", "ControllerRevision", "controllerrevisions"),
        Kind::new("batch", "v1", "Job", "jobs").with_status().with_generation().fields(&["status.successful"]),
        Kind::new("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).with_status().with_generation(),
        Kind::new("coordination.k8s.io", "v1", "Lease", "leases").conditional().put_creates(),
        Kind::new("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).with_status().with_generation().conditional(),
        Kind::new("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers").short(&["hpa"]).with_status().with_generation(),
        Kind::new("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").with_generation(),
        Kind::new("events.k8s.io", "v1", "Event", "events").short(&["ev"]).put_creates(),
        Kind::new("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"]).with_generation(),
        Kind::new("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews").cluster_wide().review(),
        Kind::new("storage.k8s.io", "v1", "StorageClass", "storageclasses").short(&["sc"]).cluster_wide(),
        Kind::new("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"]).cluster_wide(),
        Kind::new(RBAC, "v1", "ClusterRole", "clusterroles").cluster_wide().put_creates(),
        Kind::new(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings").cluster_wide().put_creates(),
        Kind::new(RBAC, "v1", "Role", "roles").put_creates(),
        Kind::new(RBAC, "v1", "RoleBinding", "rolebindings").put_creates(),
    ]
}
