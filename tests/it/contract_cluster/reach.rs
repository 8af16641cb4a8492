//! Reaching pods, and what is allowed.

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Pod, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde_json::{from_value, json};
use stepback::cluster::{Cluster as _, ClusterError, ConnectTo, KubeCluster, connect};
use stepback_sandbox::api::{ApiServer, Forbidden, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::arena::Arena;
use crate::support::{
    cluster::{Cluster, Kind},
    controlplane::{ControlPlane, StatefulSets},
    runner::{Ctx, Outcome},
};

pub async fn a_pod_is_dialled(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 1, json!({})).await?;
    arena.until_settled(1).await?;
    let mut wire = arena.cluster.dial(&arena.namespace, "web-0", 8080).await?;
    wire.write_all(b"GET /version HTTP/1.0\r\n\r\n").await?;
    let mut start = [0; 6];
    wire.read_exact(&mut start).await?;
    assert_eq!(&start, b"HTTP/1");
    let missing = arena.cluster.dial(&arena.namespace, "web-1", 8080).await.err();
    assert!(matches!(missing, Some(ClusterError::Gone { .. })), "{missing:?}");
    let deaf = arena.cluster.dial(&arena.namespace, "web-0", 9).await.err();
    assert!(
        matches!(&deaf, Some(ClusterError::NotListening { object, port: 9 }) if object.contains("web-0")),
        "{deaf:?}"
    );
    Ok(())
}

pub async fn no_right_is_missing_for_an_admin(arena: &Arena) -> Outcome {
    assert_eq!(arena.cluster.missing_rights(&arena.namespace, true).await?, [""; 0]);
    Ok(())
}

pub async fn missing_rights_sandbox(_ctx: Ctx) -> Outcome {
    let forbidden = ["statefulsets", "leases"].map(|resource| Forbidden {
        verb: "patch".to_owned(),
        group: "*".to_owned(),
        resource: resource.to_owned(),
    });
    let server = ApiServer::start(Options {
        forbidden: forbidden.into(),
        ..Options::default()
    })
    .await?;
    let cluster = KubeCluster::new(Client::try_from(server.client_config())?, "default");
    let missing = cluster.missing_rights("default", true).await?;
    assert_eq!(
        missing,
        [
            "may not patch statefulsets.apps in namespace default",
            "may not patch leases.coordination.k8s.io in namespace default",
        ]
    );
    Ok(())
}

/// A ServiceAccount that may read ConfigMaps of its namespace, and nothing else.
pub async fn missing_rights_real(ctx: Ctx) -> Outcome {
    let control_plane = ControlPlane::shared(StatefulSets::Own).await?;
    let lent = Cluster::shared(Kind::Real).await?.fresh_namespace("rights").await?;
    let namespace = lent.to_owned();
    // With every right, as `connect` finds it.
    let admin = connect(&ConnectTo {
        kubeconfig: Some(control_plane.kubeconfig().to_owned()),
        ..ConnectTo::default()
    })
    .await?;
    assert_eq!(admin.missing_rights(&namespace, true).await?, [""; 0]);
    let uid = admin.look(&[]).await?.uid;

    let params = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.client(), &namespace);
    let account: ServiceAccount = from_value(json!({ "metadata": { "name": "poor" } }))?;
    accounts.create(&params, &account).await?;
    let role: Role = from_value(json!({ "metadata": { "name": "poor" }, "rules": [
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"] },
    ] }))?;
    Api::namespaced(admin.client(), &namespace)
        .create(&params, &role)
        .await?;
    let binding: RoleBinding = from_value(json!({ "metadata": { "name": "poor" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "poor" },
        "subjects": [{ "kind": "ServiceAccount", "name": "poor", "namespace": namespace }],
    }))?;
    Api::namespaced(admin.client(), &namespace)
        .create(&params, &binding)
        .await?;
    let asked: TokenRequest = from_value(json!({ "metadata": {}, "spec": { "audiences": [] } }))?;
    let asked = accounts.create_token_request("poor", &params, &asked).await?;
    let token = asked.status.and_then(|status| status.token).unwrap_or_default();

    let file = Kubeconfig::read_from(control_plane.kubeconfig())?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.auth_info = AuthInfo {
        token: Some(token.into()),
        ..AuthInfo::default()
    };
    let poor = KubeCluster::new(Client::try_from(config)?, namespace.clone());
    let missing = poor.missing_rights(&namespace, true).await?;
    assert!(
        missing.contains(&format!("may not patch statefulsets.apps in namespace {namespace}")),
        "{missing:?}"
    );
    assert!(
        missing.contains(&format!("may not create pods/portforward in namespace {namespace}")),
        "{missing:?}"
    );
    assert!(
        !missing.iter().any(|what| what.contains("get configmaps")),
        "{missing:?}"
    );

    // What must not be read is a finding, not a cluster without pods.
    let pods: Api<Pod> = Api::namespaced(poor.client(), &namespace);
    assert!(pods.list(&Default::default()).await.is_err());
    // kube-system is out of sight, so the authority's certificate stands for the cluster; every namespace gets a copy.
    let configs: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(admin.client(), &namespace);
    kube::runtime::wait::await_condition(configs, "kube-root-ca.crt", |found: Option<&_>| found.is_some()).await?;
    let looked = poor.look(&[]).await?.uid;
    assert!(looked.starts_with("ca:") && looked != uid, "{looked} ({})", ctx.name());
    Ok(())
}
