//! Finding the cluster that is meant.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::{KubeCluster, failure};
use crate::cluster::ClusterError;

/// Which cluster. Everything left out is found as `kubectl` finds it: `KUBECONFIG`, then `~/.kube/config`, its current
/// context; and where there is no such file, the cluster that this runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectTo {
    /// A kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it.
    pub context: Option<String>,
    /// The namespace of what names none, instead of the context's.
    pub namespace: Option<String>,
}

/// Finds the cluster's address and credentials. Talks to nobody yet.
///
/// # Errors
/// [`ClusterError::Unreachable`] that names the file and context.
pub async fn connect(to: &ConnectTo) -> Result<KubeCluster, ClusterError> {
    let mut config = find(to).await.map_err(ClusterError::Unreachable)?;
    // The executor looks before it tries again; a client that repeats a write by itself would hide that it did.
    config.default_retry = false;
    let namespace = to.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let address = config.cluster_url.clone();
    let client = Client::try_from(config)
        .map_err(|error| ClusterError::Unreachable(format!("no client for {address}: {}", failure::chain(&error))))?;
    Ok(KubeCluster::new(client, namespace))
}

async fn find(to: &ConnectTo) -> Result<Config, String> {
    let options = KubeConfigOptions {
        context: to.context.clone(),
        ..KubeConfigOptions::default()
    };
    let context = match &to.context {
        Some(context) => format!("context {context:?}"),
        None => "the current context".to_owned(),
    };
    if let Some(path) = &to.kubeconfig {
        let file = Kubeconfig::read_from(path).map_err(|error| failure::chain(&error))?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|error| format!("{context} of {}: {}", path.display(), failure::chain(&error)));
    }
    // A context that was asked for is never replaced by the cluster that this happens to run in.
    if to.context.is_some() {
        return Config::from_kubeconfig(&options)
            .await
            .map_err(|error| format!("{context} of {}: {}", usual_file(), failure::chain(&error)));
    }
    Config::infer().await.map_err(|error| {
        format!(
            "neither {} nor a cluster that this runs in leads to an API server: {}",
            usual_file(),
            failure::chain(&error)
        )
    })
}

/// The file that is read when none is named, for messages.
fn usual_file() -> String {
    match std::env::var("KUBECONFIG") {
        Ok(files) if !files.is_empty() => format!("KUBECONFIG={files}"),
        _ => "~/.kube/config".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{apiVersion: v1, kind: Config, current-context: a,
        clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: u, user: {}}],
        contexts: [{name: a, context: {cluster: c, user: u, namespace: shop}}]}"#;

    async fn error(to: &ConnectTo) -> String {
        match connect(to).await {
            Ok(_) => panic!("this leads nowhere"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn takes_the_namespace_of_the_context_unless_another_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, FILE).unwrap();
        let mut to = ConnectTo {
            kubeconfig: Some(path),
            ..ConnectTo::default()
        };
        assert_eq!(connect(&to).await.unwrap().default_namespace(), "shop");
        to.namespace = Some("other".to_owned());
        assert_eq!(connect(&to).await.unwrap().default_namespace(), "other");
    }

    #[tokio::test]
    async fn says_which_file_and_context() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let mut to = ConnectTo {
            kubeconfig: Some(path.clone()),
            context: Some("nowhere".to_owned()),
            namespace: None,
        };
        let missing = error(&to).await;
        std::fs::write(&path, FILE).unwrap();
        let wrong_context = error(&to).await;
        std::fs::write(&path, "clusters: 3").unwrap();
        to.context = None;
        let broken = error(&to).await;
        for message in [&missing, &wrong_context] {
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
        assert!(wrong_context.contains("\"nowhere\""), "{wrong_context}");
        // What state things are in is said once, by whoever shows the error.
        for message in [&missing, &wrong_context, &broken] {
            assert!(!message.contains("touched"), "{message}");
        }
    }
}
