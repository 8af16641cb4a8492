//! How objects and lists are shown: whole, or their metadata only.
//!
//! Pure; used by reads and watches.

use serde_json::{Value, json};

/// What the client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object itself.
    Whole,
    /// A `PartialObjectMetadata`.
    Metadata,
}

impl Shape {
    pub(super) fn asked_for(accept: &str) -> Self {
        if accept.contains("as=PartialObjectMetadata") {
            Self::Metadata
        } else {
            Self::Whole
        }
    }

    /// One object, with its type.
    pub(super) fn show(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
        }
    }

    /// One entry of a list; those of built-in kinds have no type of their own.
    pub(super) fn entry(self, object: &Value, custom: bool) -> Value {
        let mut shown = self.show(object);
        if let (Self::Whole, false, Some(map)) = (self, custom, shown.as_object_mut()) {
            map.remove("apiVersion");
            map.remove("kind");
        }
        shown
    }
}
