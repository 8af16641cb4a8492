//! Lists, in pages where the client wants them.
//!
//! Reads the store, never writes.

use super::{
    call::Call,
    failure::Failure,
    object,
    selector::Selector,
    show::Shape,
    store::{ResourceVersion, Store},
};
use serde_json::{Value, json};

/// Answers a list request.
pub(super) fn list(store: &Store, call: &Call, selector: &Selector) -> Result<Value, Failure> {
    let kind = store.kind(call.kind);
    let (version, after) = begin(store, call)?;
    let mut objects = store.list(call.kind, &call.address.namespace);
    objects.retain(|object| selector.selects(object));
    objects.retain(|object| after.as_ref().is_none_or(|after| place(object) > *after));
    let limit: usize = call
        .query
        .get("limit")
        .parse()
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let left = objects.len().saturating_sub(limit);
    objects.truncate(limit);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let (true, Some(last)) = (left > 0, objects.last()) {
        metadata["continue"] = Value::from(token(version, &place(last)));
        metadata["remainingItemCount"] = json!(left);
    }
    let objects: Vec<&Value> = objects.iter().map(|object| &**object).collect();
    Ok(Shape::asked_for(call).list(kind, &objects, &metadata))
}

/// The version the list stands for, and the place it continues after.
///
/// A continued list shows later pages as they are now but under the first page's version: a watch from there brings
/// whatever changed in between, so nothing is lost.
fn begin(store: &Store, call: &Call) -> Result<(ResourceVersion, Option<(String, String)>), Failure> {
    let current = store.version();
    let token = call.query.get("continue");
    if !token.is_empty() {
        let (version, place) = read_token(token)
            .ok_or_else(|| Failure::bad_request("invalid continue token: continue key is not valid"))?;
        store.changes_since(version).map_err(|_| Failure::continue_expired())?;
        return Ok((version, Some(place)));
    }
    let asked = call.query.get("resourceVersion");
    if !asked.is_empty() {
        let asked = asked
            .parse()
            .map_err(|_| Failure::bad_request(format!("invalid resource version {asked:?}")))?;
        if asked > current {
            return Err(Failure::too_new(asked, current));
        }
        if call.query.get("resourceVersionMatch") == "Exact" && asked != current {
            return Err(Failure::too_old(asked, current));
        }
    }
    Ok((current, None))
}

fn place(object: &Value) -> (String, String) {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

fn token(version: ResourceVersion, (namespace, name): &(String, String)) -> String {
    format!("{version}:{namespace}/{name}")
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read_token(token: &str) -> Option<(ResourceVersion, (String, String))> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    let (version, place) = text.split_once(':')?;
    let (namespace, name) = place.split_once('/')?;
    Some((version.parse().ok()?, (namespace.to_owned(), name.to_owned())))
}
