//! PATCH: from a content type and a body to a changed object.
//!
//! JSON patch, merge patch and strategic merge patch are computed here against the object as it is now; server-side
//! apply is in `apply.rs`. What the result may change is decided in `write.rs`.

use super::{
    apply,
    call::Call,
    failure::Failure,
    scale,
    store::{Key, Store},
    strategic,
    write::{self, Owners},
};
use serde_json::Value;
use std::sync::Arc;

/// The four kinds of patch, by content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub(super) fn of(content_type: &str) -> Result<Self, Failure> {
        match content_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+json" => Ok(Self::Apply),
            _ => Err(Failure::media_type()),
        }
    }
}

/// Patches an object, or a subresource of it.
pub(super) fn patch(store: &mut Store, call: &Call, body: &[u8]) -> Result<(u16, Arc<Value>), Failure> {
    let kinds = store.kinds.clone();
    let kind = &kinds[call.kind];
    let patch_type = PatchType::of(&call.content_type)?;
    if patch_type == PatchType::Strategic && kind.custom {
        return Err(Failure::media_type());
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    if call.address.subresource == "scale" {
        let old = store.get(&key)?;
        let mut view = scale::view(&old);
        apply_patch(patch_type, &mut view, &body)?;
        return scale::replace(store, call, &view).map(|scaled| (200, scaled));
    }
    if patch_type == PatchType::Apply {
        return apply::apply(store, call, body);
    }
    let old = store.get(&key)?;
    let mut new = (*old).clone();
    apply_patch(patch_type, &mut new, &body)?;
    write::change(store, call, &old, new, Owners::Update).map(|changed| (200, changed))
}

fn apply_patch(patch_type: PatchType, target: &mut Value, body: &Value) -> Result<(), Failure> {
    match patch_type {
        PatchType::Json => {
            let patch: json_patch::Patch = serde_json::from_value(body.clone())
                .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(target, &patch).map_err(|_| Failure::patch_rejected())
        }
        PatchType::Merge => {
            json_patch::merge(target, body);
            Ok(())
        }
        PatchType::Strategic => strategic::merge(target, body).map_err(Failure::internal),
        PatchType::Apply => Err(Failure::media_type()),
    }
}
