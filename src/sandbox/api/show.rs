//! How objects and lists are shown: whole, their metadata only, or as rows of a table.
//!
//! Pure; used by reads and watches.

use super::{
    call::Call,
    kinds::Kind,
    table::{Include, table},
};
use serde_json::{Value, json};

/// What the client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object itself.
    Whole,
    /// A `PartialObjectMetadata`.
    Metadata,
    /// A `Table`.
    Rows(Include),
}

impl Shape {
    pub(super) fn asked_for(call: &Call) -> Self {
        // The first form that is known; who asks for tables takes what there is.
        let mut forms = call.accept.split(',');
        forms.find_map(|form| Self::named(form, call)).unwrap_or(Self::Whole)
    }

    fn named(form: &str, call: &Call) -> Option<Self> {
        let mut words = form.split(';').map(str::trim);
        let json = words.next() == Some("application/json");
        let known = match words.find_map(|word| word.strip_prefix("as=")) {
            None => Self::Whole,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Self::Metadata,
            Some("Table") => Self::Rows(Include::asked_for(call)),
            Some(_) => return None,
        };
        json.then_some(known)
    }

    /// One object, with its type.
    pub(super) fn show(self, kind: &Kind, object: &Value) -> Value {
        match self {
            Self::Rows(include) => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                table(kind, &[object], &metadata, include)
            }
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
        }
    }

    /// A list of objects of one kind.
    pub(super) fn list(self, kind: &Kind, objects: &[&Value], metadata: &Value) -> Value {
        let (list_kind, api_version) = match self {
            Self::Rows(include) => return table(kind, objects, metadata, include),
            Self::Whole => (format!("{}List", kind.kind), kind.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        let items: Vec<Value> = objects.iter().map(|object| self.entry(kind, object)).collect();
        json!({"kind": list_kind, "apiVersion": api_version, "metadata": metadata, "items": items})
    }

    /// One entry of a list; those of built-in kinds have no type of their own.
    fn entry(self, kind: &Kind, object: &Value) -> Value {
        let mut shown = self.show(kind, object);
        if let (Self::Whole, false, Some(map)) = (self, kind.custom, shown.as_object_mut()) {
            map.remove("apiVersion");
            map.remove("kind");
        }
        shown
    }
}
