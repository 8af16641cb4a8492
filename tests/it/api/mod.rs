//! The sandbox's API server answers as Kubernetes' own: the same requests are sent to both, and the answers compared.
//!
//! What no two servers share is taken out first: identities, versions, times, and what controllers write meanwhile.

mod asks;

use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};

use self::asks::Ask;
use crate::support::{
    cluster::{Cluster, Kind},
    runner::{Case, NotPassed, Outcome, case},
};

/// The requests of a case.
type Asks = fn() -> Vec<Ask>;

pub fn cases() -> Vec<Case> {
    let subjects: [(&str, Asks); 5] = [
        ("new_objects", asks::new_objects),
        ("changes", asks::changes),
        ("owners", asks::owners),
        ("deletions", asks::deletions),
        ("reads", asks::reads),
    ];
    let compared = |(name, asks): (&str, Asks)| {
        case(format!("api::{name}_are_answered_alike"), move |_ctx| async move {
            compare(asks()).await
        })
    };
    subjects.into_iter().map(compared).collect()
}

async fn compare(asks: Vec<Ask>) -> Outcome {
    let mut servers = Vec::new();
    for kind in [Kind::Real, Kind::Sandbox] {
        let cluster = Cluster::shared(kind).await?;
        servers.push((cluster.client().await?, cluster.fresh_namespace("api").await?));
    }
    let mut differences = Vec::new();
    for ask in asks {
        let mut answers = Vec::new();
        for (client, namespace) in &servers {
            answers.push(answer(client, namespace, &ask).await?);
        }
        if answers[0] != answers[1] {
            let (method, path, _, body) = &ask;
            let [real, ours] = [&answers[0], &answers[1]].map(|(code, answer)| format!("{code} {answer:#}"));
            differences.push(format!("{method} {path} {body}\n-- real: {real}\n-- ours: {ours}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    Ok(())
}

async fn answer(client: &Client, namespace: &str, ask: &Ask) -> Result<(u16, Value), NotPassed> {
    let (method, path, content_type, body) = ask;
    let place = |text: &str| text.replace("NS", namespace);
    let text = if body.is_null() {
        String::new()
    } else {
        place(&body.to_string())
    };
    let request = http::Request::builder()
        .method(*method)
        .uri(place(path))
        .header("content-type", *content_type)
        .body(text.into_bytes().into())?;
    let answer = client.send(request).await?;
    let code = answer.status().as_u16();
    let text = String::from_utf8_lossy(&answer.into_body().collect().await?.to_bytes()).replace(namespace, "NS");
    let mut seen = serde_json::from_str(&text).unwrap_or(Value::String(text));
    forget_what_differs(&mut seen);
    Ok((code, seen))
}

fn forget_what_differs(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // Controllers write the status meanwhile; a Status has one that is a text.
            map.retain(|field, value| field != "status" || value.is_string());
            for (field, value) in map.iter_mut() {
                match field.as_str() {
                    "resourceVersion" | "time" if value.is_string() => *value = json!("some"),
                    "creationTimestamp" | "deletionTimestamp" if value.is_string() => *value = json!("some"),
                    "managedFields" => {
                        let ours = |entry: &Value| {
                            entry["manager"]
                                .as_str()
                                .is_some_and(|manager| manager.starts_with("our-"))
                                || entry["manager"] == "before-first-apply"
                        };
                        if let Some(entries) = value.as_array_mut() {
                            entries.retain(ours);
                            // They are ordered by time, which falls differently on two servers.
                            entries.sort_by_key(|entry| format!("{} {}", entry["operation"], entry["manager"]));
                        }
                        forget_what_differs(value);
                    }
                    _ => forget_what_differs(value),
                }
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(forget_what_differs),
        Value::String(text) => *text = without_identities(text),
        _ => {}
    }
}

/// Replaces UUIDs, and the versions that messages name.
fn without_identities(text: &str) -> String {
    let is_uid = |word: &str| word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let is_version = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let in_record = text.contains("in record (");
    text.split_inclusive([' ', '(', ')', '"', ',', '}'])
        .map(|part| {
            let word = part.trim_end_matches([' ', '(', ')', '"', ',', '}']);
            if is_uid(word) || (in_record && is_version(word)) {
                part.replace(word, "some")
            } else {
                part.to_owned()
            }
        })
        .collect()
}
