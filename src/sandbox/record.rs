//! Says what a controller did or could not do, as Kubernetes events on the object concerned.
//!
//! An event is for people and is lost without harm: a failure to write one is logged and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

/// How many different events are remembered for counting; past that, counting starts anew.
const REMEMBERED: usize = 512;

/// Whether an event tells of the usual or of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

/// Writes events of one component. Equal events on one object become one with a count, as in Kubernetes.
#[derive(Clone)]
pub(crate) struct Recorder {
    client: Client,
    component: &'static str,
    written: Arc<Mutex<HashMap<Said, (String, i32)>>>,
}

/// What makes two events equal: the object's UID, the reason, the message.
type Said = (String, String, String);

impl Recorder {
    pub fn new(client: Client, component: &'static str) -> Self {
        Self {
            client,
            component,
            written: Arc::default(),
        }
    }

    /// Records that something happened to `object`.
    pub async fn say<K>(&self, object: &K, kind: Kind, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let said = (object.uid().unwrap_or_default(), reason.to_owned(), message.to_owned());
        let before = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if written.len() > REMEMBERED {
                written.clear();
            }
            written.get_mut(&said).map(|(name, count)| {
                *count += 1;
                (name.clone(), *count)
            })
        };
        let namespace = object.namespace().unwrap_or_else(|| "default".into());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let done = match before {
            Some((name, count)) => {
                let patch = Patch::Merge(json!({ "count": count, "lastTimestamp": now() }));
                events.patch(&name, &PatchParams::default(), &patch).await
            }
            None => {
                let event = self.event(object, kind, reason, message, &namespace);
                let name = event.name_any();
                let created = events.create(&PostParams::default(), &event).await;
                if created.is_ok() {
                    let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                    written.insert(said, (name, 1));
                }
                created
            }
        };
        if let Err(error) = done {
            tracing::debug!(%error, reason, message, "an event could not be written");
        }
    }

    fn event<K>(&self, object: &K, kind: Kind, reason: &str, message: &str, namespace: &str) -> Event
    where
        K: Resource<DynamicType = ()>,
    {
        let name = format!(
            "{}.{}",
            object.name_any(),
            ulid::Ulid::generate().to_string().to_lowercase()
        );
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(K::kind(&()).into_owned()),
                name: object.meta().name.clone(),
                namespace: object.namespace(),
                uid: object.uid(),
                resource_version: object.resource_version(),
                ..ObjectReference::default()
            },
            type_: Some(if kind == Kind::Normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            count: Some(1),
            first_timestamp: Some(now()),
            last_timestamp: Some(now()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: None,
            }),
            reporting_component: Some(self.component.to_owned()),
            ..Event::default()
        }
    }
}

/// The present, in whole seconds: the form that the field's readers expect.
pub(crate) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
