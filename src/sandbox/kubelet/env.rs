//! The environment of a container, from the pod's own text, ConfigMaps, Secrets and fields of the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};
use kube::{Api, Client, ResourceExt};

/// The variables in no particular order, or why there are none: what a kubelet puts next to
/// `CreateContainerConfigError`. It names objects and keys, and never a value.
pub(super) async fn resolve(
    client: &Client,
    pod: &Pod,
    container: &Container,
    address: &str,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let sources = Sources {
        client,
        namespace: &namespace,
    };
    let mut env = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut found = BTreeMap::new();
        if let Some(map) = &source.config_map_ref {
            found.extend(sources.config_map(&map.name, map.optional).await?);
        }
        if let Some(secret) = &source.secret_ref {
            found.extend(sources.secret(&secret.name, secret.optional).await?);
        }
        env.extend(found.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = sources.value(variable, pod, address, &env).await? {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

struct Sources<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Sources<'_> {
    async fn value(
        &self,
        variable: &EnvVar,
        pod: &Pod,
        address: &str,
        before: &BTreeMap<String, String>,
    ) -> Result<Option<String>, String> {
        let Some(source) = &variable.value_from else {
            return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), before)));
        };
        let name = &variable.name;
        let missing = |kind: &str, object: &str, key: &str, optional: Option<bool>| {
            if optional == Some(true) {
                Ok(None)
            } else {
                Err(format!("couldn't find key {key} in {kind} {object}"))
            }
        };
        if let Some(key) = &source.config_map_key_ref {
            let mut data = self.config_map(&key.name, key.optional).await?;
            return match data.remove(&key.key) {
                Some(value) => Ok(Some(value)),
                None => missing("ConfigMap", &key.name, &key.key, key.optional),
            };
        }
        if let Some(key) = &source.secret_key_ref {
            let mut data = self.secret(&key.name, key.optional).await?;
            return match data.remove(&key.key) {
                Some(value) => Ok(Some(value)),
                None => missing("Secret", &key.name, &key.key, key.optional),
            };
        }
        match source.field_ref.as_ref().map(|field| &*field.field_path) {
            Some("metadata.name") => Ok(Some(pod.name_any())),
            Some("metadata.namespace") => Ok(Some(self.namespace.to_owned())),
            Some("metadata.uid") => Ok(pod.uid()),
            Some("spec.nodeName") => Ok(pod.spec.as_ref().and_then(|spec| spec.node_name.clone())),
            Some("status.podIP" | "status.podIPs") => Ok(Some(address.to_owned())),
            Some(path) => match subscript(path) {
                Some(("metadata.labels", key)) => Ok(Some(pod.labels().get(key).cloned().unwrap_or_default())),
                Some(("metadata.annotations", key)) => {
                    Ok(Some(pod.annotations().get(key).cloned().unwrap_or_default()))
                }
                _ => Err(format!(
                    "the variable {name} takes the field {path}, which this node does not know"
                )),
            },
            None => Err(format!(
                "the variable {name} takes its value from a source that this node does not know"
            )),
        }
    }

    async fn config_map(&self, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, String>, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            Some(map) => Ok(map.data.unwrap_or_default()),
            None if optional == Some(true) => Ok(BTreeMap::new()),
            None => Err(format!("configmap {name:?} not found")),
        }
    }

    async fn secret(&self, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, String>, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            Some(secret) => {
                let text = |(key, value): (_, k8s_openapi::ByteString)| (key, String::from_utf8_lossy(&value.0).into());
                Ok(secret.data.unwrap_or_default().into_iter().map(text).collect())
            }
            None if optional == Some(true) => Ok(BTreeMap::new()),
            None => Err(format!("secret {name:?} not found")),
        }
    }
}

/// `metadata.labels['app']` as what is subscripted and with what.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    Some((field, key))
}

/// Puts the values of earlier variables in place of `$(NAME)`; `$$` is a dollar sign, an unknown name stays as it is.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let reference = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((value, after)) = reference.and_then(|(name, after)| Some((env.get(name)?, after))) {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_variables_are_expanded() {
        let env = BTreeMap::from([("A".to_owned(), "one".to_owned())]);
        for (text, expected) in [
            ("x$(A)y", "xoney"),
            ("$$(A)", "$(A)"),
            ("$(B) $(A)", "$(B) one"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &env), expected);
        }
    }

    #[test]
    fn a_subscript_is_taken_apart() {
        assert_eq!(subscript("metadata.labels['a/b']"), Some(("metadata.labels", "a/b")));
        assert_eq!(subscript("metadata.name"), None);
    }
}
