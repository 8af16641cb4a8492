//! Bodies in Kubernetes' protobuf, read into JSON: `kubectl` sends those of built-in kinds so, and nothing else for
//! `auth can-i`, `create` and evictions.
//!
//! Responsible for the few messages that such commands send, by tables taken from Kubernetes' `generated.proto` files.
//! A field that no table has refuses the body: it is never dropped. Answers are JSON always, which every client takes.

use super::{dispatch::Request, failure::Failure};
use http::{HeaderValue, header};
use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with; the message `runtime.Unknown` follows, which holds the object.
const MAGIC: &[u8] = b"k8s\0";

/// A message: number, name and type of each field.
type Message = &'static [(u64, &'static str, Type)];

#[derive(Clone, Copy)]
enum Type {
    Text,
    /// Bytes, which are base64 in JSON.
    Bytes,
    Number,
    Bool,
    Time,
    One(Message),
    Many(Message),
    Texts,
    Map(MapOf),
}

#[derive(Clone, Copy)]
enum MapOf {
    Text,
    Bytes,
}

use Type::{Bool, Bytes, Many, Number, One, Text, Texts, Time};
const TEXTS_BY_NAME: Type = Type::Map(MapOf::Text);
const BYTES_BY_NAME: Type = Type::Map(MapOf::Bytes);

const UNKNOWN: Message = &[
    (1, "type", One(&[(1, "apiVersion", Text), (2, "kind", Text)])),
    (2, "raw", Bytes),
    (3, "contentEncoding", Text),
    (4, "contentType", Text),
];
const OWNER: Message = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
];
const META: Message = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Number),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Number),
    (11, "labels", TEXTS_BY_NAME),
    (12, "annotations", TEXTS_BY_NAME),
    (13, "ownerReferences", Many(OWNER)),
    (14, "finalizers", Texts),
];
const DELETE_OPTIONS: Message = &[
    (1, "gracePeriodSeconds", Number),
    (
        2,
        "preconditions",
        One(&[(1, "uid", Text), (2, "resourceVersion", Text)]),
    ),
    (3, "orphanDependents", Bool),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];
const RESOURCE: Message = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const NO_RESOURCE: Message = &[(1, "path", Text), (2, "verb", Text)];
const ACCESS: Message = &[
    (1, "resourceAttributes", One(RESOURCE)),
    (2, "nonResourceAttributes", One(NO_RESOURCE)),
];
const ACCESS_STATUS: Message = &[
    (1, "allowed", Bool),
    (2, "reason", Text),
    (3, "evaluationError", Text),
    (4, "denied", Bool),
];

/// The kinds that are read, by name: no two groups have one of these.
const KINDS: &[(&str, Message)] = &[
    (
        "ConfigMap",
        &[
            (1, "metadata", One(META)),
            (2, "data", TEXTS_BY_NAME),
            (3, "binaryData", BYTES_BY_NAME),
            (4, "immutable", Bool),
        ],
    ),
    ("DeleteOptions", DELETE_OPTIONS),
    (
        "Eviction",
        &[(1, "metadata", One(META)), (2, "deleteOptions", One(DELETE_OPTIONS))],
    ),
    (
        "Namespace",
        &[
            (1, "metadata", One(META)),
            (2, "spec", One(&[(1, "finalizers", Texts)])),
            (3, "status", One(&[(1, "phase", Text)])),
        ],
    ),
    (
        "Secret",
        &[
            (1, "metadata", One(META)),
            (2, "data", BYTES_BY_NAME),
            (3, "type", Text),
            (4, "stringData", TEXTS_BY_NAME),
            (5, "immutable", Bool),
        ],
    ),
    (
        "SelfSubjectAccessReview",
        &[
            (1, "metadata", One(META)),
            (2, "spec", One(ACCESS)),
            (3, "status", One(ACCESS_STATUS)),
        ],
    ),
    (
        "ServiceAccount",
        &[(1, "metadata", One(META)), (4, "automountServiceAccountToken", Bool)],
    ),
];

/// A body that is not what it says it is, or holds what is not read here.
#[derive(Debug, PartialEq, Eq)]
struct Unread;

/// The request with a body in JSON, if it is one whose body is protobuf.
pub(super) fn read(request: &Request) -> Result<Option<Request>, Failure> {
    let sent = request.headers.get(header::CONTENT_TYPE);
    let sent = sent.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if sent.split(';').next().unwrap_or_default().trim() != MEDIA_TYPE || request.body.is_empty() {
        return Ok(None);
    }
    let object = object(&request.body)?;
    let mut headers = request.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Some(Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers,
        body: object.to_string().into_bytes(),
    }))
}

fn object(body: &[u8]) -> Result<Value, Failure> {
    let garbled = |_| Failure::bad_request("the object provided is unrecognized: it is no protobuf of Kubernetes");
    let envelope = body.strip_prefix(MAGIC).ok_or(Unread).map_err(garbled)?;
    let raw = fields(envelope)
        .map_err(garbled)?
        .into_iter()
        .find_map(|(number, field)| Some(field).filter(|_| number == 2));
    let envelope = message(UNKNOWN, envelope).map_err(garbled)?;
    let text = |name: &str| envelope["type"][name].as_str().unwrap_or_default().to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let read = KINDS.iter().find(|(known, _)| *known == kind);
    let raw = match raw {
        Some(Field::Bytes(raw)) => raw,
        _ => &[],
    };
    let read = read.and_then(|(_, known)| message(known, raw).ok());
    let Some(Value::Object(mut object)) = read else {
        return Err(Failure::only_json(&kind));
    };
    object.insert("kind".to_owned(), json!(kind));
    object.insert("apiVersion".to_owned(), json!(api_version));
    Ok(Value::Object(object))
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message as they come. The types that are not here no object of Kubernetes has.
fn fields(mut rest: &[u8]) -> Result<Vec<(u64, Field<'_>)>, Unread> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(number(&mut rest)?),
            2 => {
                let length = usize::try_from(number(&mut rest)?).map_err(|_| Unread)?;
                let (bytes, after) = rest.split_at_checked(length).ok_or(Unread)?;
                rest = after;
                Field::Bytes(bytes)
            }
            _ => return Err(Unread),
        };
        fields.push((tag >> 3, field));
    }
    Ok(fields)
}

/// A number of seven bits a byte, the lowest first.
fn number(rest: &mut &[u8]) -> Result<u64, Unread> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first().ok_or(Unread)?;
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Unread)
}

fn message(known: Message, bytes: &[u8]) -> Result<Value, Unread> {
    let mut object = Map::new();
    for (number, field) in fields(bytes)? {
        let (_, name, of) = known.iter().find(|(known, ..)| *known == number).ok_or(Unread)?;
        let place = object.entry(*name).or_insert(Value::Null);
        match (of, field) {
            (Text, Field::Bytes(bytes)) => *place = text(bytes)?,
            (Bytes, Field::Bytes(bytes)) => *place = base64(bytes),
            (Number, Field::Number(number)) => *place = json!(number.cast_signed()),
            (Bool, Field::Number(number)) => *place = json!(number != 0),
            (Time, Field::Bytes(bytes)) => *place = time(bytes)?,
            (One(known), Field::Bytes(bytes)) => *place = message(known, bytes)?,
            (Many(known), Field::Bytes(bytes)) => push(place, message(known, bytes)?),
            (Texts, Field::Bytes(bytes)) => push(place, text(bytes)?),
            (Type::Map(of), Field::Bytes(bytes)) => {
                let entry = match of {
                    MapOf::Text => message(&[(1, "key", Text), (2, "value", Text)], bytes)?,
                    MapOf::Bytes => message(&[(1, "key", Text), (2, "value", Bytes)], bytes)?,
                };
                if place.is_null() {
                    *place = json!({});
                }
                let empty = || json!("");
                let key = entry["key"].as_str().unwrap_or_default();
                place[key] = entry.get("value").cloned().unwrap_or_else(empty);
            }
            _ => return Err(Unread),
        }
    }
    // As Go leaves out what is empty: every text is sent, also one that nobody set.
    object.retain(|_, value| !value.is_null() && *value != json!(""));
    Ok(Value::Object(object))
}

fn push(list: &mut Value, entry: Value) {
    match list {
        Value::Array(entries) => entries.push(entry),
        empty => *empty = json!([entry]),
    }
}

fn text(bytes: &[u8]) -> Result<Value, Unread> {
    std::str::from_utf8(bytes).map(Value::from).map_err(|_| Unread)
}

fn base64(bytes: &[u8]) -> Value {
    json!(ByteString(bytes.to_vec()))
}

/// A time in seconds; nothing where none was set.
fn time(bytes: &[u8]) -> Result<Value, Unread> {
    let time = message(&[(1, "seconds", Number), (2, "nanos", Number)], bytes)?;
    match time["seconds"].as_i64() {
        None | Some(0) => Ok(Value::Null),
        Some(seconds) => {
            let time = jiff::Timestamp::from_second(seconds).map_err(|_| Unread)?;
            Ok(json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let of = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [
            MAGIC.to_vec(),
            field(1, &of),
            field(2, raw),
            field(3, b""),
            field(4, b""),
        ]
        .concat()
    }

    #[test]
    fn a_secret_is_read() {
        let meta = [
            field(1, b"s"),
            field(2, b""),
            field(8, b""),
            field(11, &[field(1, b"app"), field(2, b"shop")].concat()),
        ];
        let raw = [
            field(1, &meta.concat()),
            field(2, &[field(1, b"k"), field(2, b"hello")].concat()),
            field(3, b"Opaque"),
            vec![5 << 3, 1],
        ];
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": {"app": "shop"}},
            "data": {"k": "aGVsbG8="}, "type": "Opaque", "immutable": true,
        });
        assert_eq!(object(&body("Secret", &raw.concat())).unwrap(), expected);
    }

    #[test]
    fn what_no_table_has_is_refused() {
        let refused = |body: &[u8]| object(body).unwrap_err().code;
        assert_eq!(refused(&body("Deployment", b"")), 415);
        assert_eq!(refused(&body("ConfigMap", &field(9, b"x"))), 415);
        assert_eq!(refused(b"{}"), 400);
        let whole = body("ConfigMap", &field(1, &field(1, b"name")));
        assert!(object(&whole).is_ok());
        for length in 0..whole.len() {
            // No prefix panics, and none is taken for the object.
            let read = object(&whole[..length]);
            assert!(read.is_err() || read.unwrap()["metadata"] != json!({"name": "nam"}));
        }
        assert_eq!(number(&mut &[0xff; 11][..]), Err(Unread));
        assert_eq!(number(&mut &[0xac, 0x02][..]), Ok(300));
    }
}
