//! Finding the cluster that is meant.

use std::io::ErrorKind;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use stepback_core::model::{ClusterPlace, closest};

use super::dial::Reach;
use super::{KubeCluster, failure};
use crate::cluster::ClusterError;

/// Which cluster. Everything left out is found as `kubectl` finds it: `KUBECONFIG`, then `~/.kube/config`, its current
/// context; and where neither is there, the cluster that this runs in.
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
/// [`ClusterError::NoConfig`] that names the file and context; [`ClusterError::Unreachable`] where no client can be made.
pub async fn connect(to: &ConnectTo) -> Result<KubeCluster, ClusterError> {
    let (mut config, context, reach) = find(to).await?;
    // The executor looks before it tries again; a client that repeats a write by itself would hide that it did.
    config.default_retry = false;
    let namespace = to.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let server = shown(&config.cluster_url);
    let client = Client::try_from(config)
        .map_err(|error| ClusterError::Unreachable(format!("no client for {server}: {}", failure::chain(&error))))?;
    Ok(KubeCluster::new(client, namespace).at(ClusterPlace { context, server }, reach))
}

/// The cluster's address and credentials, the context that names it, and how its pods are reached.
async fn find(to: &ConnectTo) -> Result<(Config, Option<String>, Reach), ClusterError> {
    choose(to, read(to), || Config::incluster().ok()).await
}

/// The same of what was read. Only where there is no kubeconfig at all is it the cluster that this runs in: whoever has one
/// means what is in it, and where that cannot be used, another cluster must not take its place.
async fn choose(
    to: &ConnectTo,
    read: Result<Option<(Kubeconfig, String)>, ClusterError>,
    own: impl FnOnce() -> Option<Config>,
) -> Result<(Config, Option<String>, Reach), ClusterError> {
    if let Some((file, name)) = read? {
        let (config, context) = of_file(to, file, &name).await?;
        let reach = Reach::to(&config);
        return Ok((config, Some(context), reach));
    }
    match own().filter(|_| to.context.is_none()) {
        Some(config) => Ok((config, None, Reach::Own)),
        None => Err(no_config(
            "there is no kubeconfig (KUBECONFIG is not set, and ~/.kube/config does not exist), and this is no pod of a \
             cluster"
                .to_owned(),
            "name the kubeconfig with --kubeconfig FILE or in KUBECONFIG",
        )),
    }
}

fn no_config(message: String, hint: &str) -> ClusterError {
    ClusterError::NoConfig {
        message,
        hint: hint.to_owned(),
    }
}

/// The server's address as it may be printed: a path can be a secret (that of a sandbox is), and so can what stands before
/// the host.
fn shown(url: &http::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let more = if url.path().trim_matches('/').is_empty() {
        ""
    } else {
        "/…"
    };
    format!("{scheme}://{host}{more}")
}

/// Where a parser says that its error is, without anything that it quotes.
fn place_of(error: &str) -> String {
    let number = |word: &str| -> Option<u32> {
        let (_, after) = error.split_once(word)?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after[..end].parse().ok()
    };
    match (number("line "), number("column ")) {
        (Some(line), Some(column)) => format!("it is not well-formed at line {line}, column {column}"),
        _ => "it is not well-formed YAML, or not of the form of one".to_owned(),
    }
}

/// The kubeconfig that counts, and what it is called in messages.
fn read(to: &ConnectTo) -> Result<Option<(Kubeconfig, String)>, ClusterError> {
    let (read, name) = match (&to.kubeconfig, std::env::var("KUBECONFIG")) {
        (Some(path), _) => (Kubeconfig::read_from(path), path.display().to_string()),
        (None, Ok(files)) if !files.is_empty() => (Kubeconfig::read(), format!("KUBECONFIG={files}")),
        (None, _) => (Kubeconfig::read(), "~/.kube/config".to_owned()),
    };
    match read {
        Ok(file) => Ok(Some((file, name))),
        Err(KubeconfigError::FindPath) => Ok(None),
        Err(KubeconfigError::ReadConfig(error, path)) if error.kind() == ErrorKind::NotFound => {
            if name.starts_with('~') {
                return Ok(None);
            }
            let message = format!("there is no kubeconfig {} ({name})", path.display());
            let message = message.replace(&format!(" ({})", path.display()), "");
            Err(no_config(message, "check --kubeconfig and KUBECONFIG"))
        }
        // The parser quotes the lines around its error, and a kubeconfig is full of secrets.
        Err(KubeconfigError::Parse(error)) => Err(no_config(
            format!(
                "{name} is no kubeconfig that can be read: {}",
                place_of(&error.to_string())
            ),
            "`kubectl config view` reads the same file, and says what is wrong with it",
        )),
        Err(error) => Err(no_config(
            format!("{name} is no kubeconfig that can be read: {}", failure::chain(&error)),
            "`kubectl config view` reads the same file, and says what is wrong with it",
        )),
    }
}

/// The cluster of the context that counts, and that context.
async fn of_file(to: &ConnectTo, file: Kubeconfig, name: &str) -> Result<(Config, String), ClusterError> {
    let contexts: Vec<String> = file.contexts.iter().map(|context| context.name.clone()).collect();
    let there_are = match contexts.as_slice() {
        [] => "it has none".to_owned(),
        contexts => format!("it has {}", contexts.join(", ")),
    };
    let current = file.current_context.clone().filter(|name| !name.is_empty());
    let Some(context) = to.context.clone().or(current) else {
        return Err(no_config(
            format!("{name} names no current context; {there_are}"),
            "say which one is meant with --context NAME",
        ));
    };
    if !contexts.contains(&context) {
        let meant =
            closest(&context, &contexts).map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
        return Err(no_config(
            format!("{name} has no context {context:?}{meant}; {there_are}"),
            "say which one is meant with --context NAME",
        ));
    }
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..KubeConfigOptions::default()
    };
    match Config::from_custom_kubeconfig(file, &options).await {
        Ok(config) => Ok((config, context)),
        Err(error) => Err(no_config(
            format!("context {context:?} of {name}: {}", failure::chain(&error)),
            "`kubectl config view` shows what the context is made of",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster as _;

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
        let found = connect(&to).await.unwrap();
        assert_eq!(found.default_namespace(), "shop");
        assert_eq!(found.place().unwrap().to_string(), "context a (http://127.0.0.1:1)");
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

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_not_replaced_by_the_cluster_that_this_runs_in() {
        let to = ConnectTo::default();
        let own = || Some(Config::new(http::Uri::from_static("https://10.0.0.1")));
        let file = |text: &str| Ok(Some((Kubeconfig::from_yaml(text).unwrap(), "KUBECONFIG=x".to_owned())));
        let (config, context, _) = choose(&to, Ok(None), own).await.unwrap();
        assert_eq!((config.cluster_url.host(), context), (Some("10.0.0.1"), None));
        let (config, context, _) = choose(&to, file(FILE), own).await.unwrap();
        assert_eq!(
            (config.cluster_url.host(), context.as_deref()),
            (Some("127.0.0.1"), Some("a"))
        );
        let missing = Err(no_config("there is no kubeconfig KUBECONFIG=x".to_owned(), "check it"));
        let nowhere = FILE.replace("current-context: a", "current-context: \"\"");
        for (read, says) in [
            (missing, "there is no kubeconfig"),
            (file(&nowhere), "names no current context"),
        ] {
            let error = choose(&to, read, own).await.err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(says)), "{error:?}");
        }
    }

    #[test]
    fn of_an_address_only_what_is_no_secret_is_shown() {
        let shown = |url: &'static str| shown(&http::Uri::from_static(url));
        assert_eq!(shown("https://10.0.0.1:6443/"), "https://10.0.0.1:6443");
        assert_eq!(shown("http://ada:hunter2@host:1/5ecret"), "http://host:1/…");
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_read_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    token: hunter2\n   bad: [\n",
            "apiVersion: v1\nkind: Config\nusers: hunter2\n",
            "hunter2",
        ] {
            let file = dir.path().join("config");
            std::fs::write(&file, text).unwrap();
            let to = ConnectTo {
                kubeconfig: Some(file),
                ..ConnectTo::default()
            };
            let error = read(&to).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("no kubeconfig that can be read"), "{error}");
        }
    }
}
