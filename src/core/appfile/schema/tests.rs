use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::JSON_SCHEMA;
use super::validator::validate;
use crate::appfile::{AppFile, Problem};

fn schema() -> Value {
    serde_json::from_str(JSON_SCHEMA).unwrap()
}

/// The documents of a file of `testdata/appfiles`.
fn documents(file: &str) -> Vec<String> {
    let path = format!("{}/../../testdata/appfiles/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n---\n").map(str::to_owned).collect()
}

/// What the parser and the schema say of a document.
type Judged = (String, Result<(), String>, Result<(), String>);

fn judged(file: &str) -> Vec<Judged> {
    let schema = schema();
    let judge = |text: String| {
        let parsed = AppFile::parse(&text, file)
            .map(drop)
            .map_err(|errors| errors.to_string());
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let valid = validate(&schema, &value);
        (text, parsed, valid)
    };
    documents(file).into_iter().map(judge).collect()
}

#[test]
fn parser_and_schema_take_the_same_files() {
    for (text, parsed, valid) in judged("good.yaml") {
        assert_eq!((parsed, valid), (Ok(()), Ok(())), "{text}");
    }
    let shop = format!("{}/../../testdata/apps/shop/stepback.yaml", env!("CARGO_MANIFEST_DIR"));
    let shop: Value = serde_saphyr::from_str(&std::fs::read_to_string(shop).unwrap()).unwrap();
    assert_eq!(validate(&schema(), &shop), Ok(()));
}

#[test]
fn parser_and_schema_refuse_the_same_mistakes() {
    let judged = judged("mistakes.yaml");
    assert!(judged.len() > 50);
    for (text, parsed, valid) in judged {
        assert!(parsed.is_err(), "the parser takes {text}");
        assert!(valid.is_err(), "the schema takes {text}");
        let errors = parsed.unwrap_err();
        assert!(!errors.contains("hunter2"), "{errors}");
        assert!(errors.starts_with("mistakes.yaml:"), "{errors}");
    }
}

#[test]
fn contradictions_are_the_parsers_alone() {
    for (text, parsed, valid) in judged("mistakes_for_the_parser.yaml") {
        assert!(parsed.is_err(), "the parser takes {text}");
        assert_eq!(
            valid,
            Ok(()),
            "the schema can tell after all: move it to mistakes.yaml: {text}"
        );
    }
}

/// A key `?` in every mapping of a file that has them all: the parser says of each which keys there are.
#[test]
fn parser_and_schema_know_the_same_keys() {
    let text = r#"
"?": 0
apiVersion: stepback.dev/v1
kind: App
metadata: { "?": 0, name: shop }
spec:
  "?": 0
  database: { "?": 0, url: { "?": 0, env: A } }
  workloads: [{ "?": 0, kind: StatefulSet, name: a }]
  alsoUses: [{ "?": 0, kind: Job, name: a }]
  releases: [{ "?": 0, version: 1.0.0, schema: 1, accepts: { "?": 0 } }]
  probes:
    - { "?": 0, http: { "?": 0, port: 1 }, https: { "?": 0, port: 1 }, tcp: { "?": 0, port: 1 }, exec: { "?": 0, command: [a] } }
  limits: { "?": 0 }
"#;
    let errors = AppFile::parse(text, "a").unwrap_err();
    let mut parser: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for error in errors.errors() {
        if let Problem::UnknownKey { within, choices, .. } = &error.problem {
            let path = within.trim_matches('`').replace("[0]", "[]").replace("the file", "");
            parser.insert(path, choices.iter().cloned().collect());
        }
    }
    let mut keys = BTreeMap::new();
    let schema = schema();
    collect(&schema, &schema, "", &mut keys);
    // Where a URL can come from is three shapes to the schema, and one to the parser.
    assert_eq!(
        keys.remove("spec.database.directUrl"),
        keys.get("spec.database.url").cloned()
    );
    assert_eq!(keys, parser);
}

/// Path of a mapping to its keys.
fn collect(root: &Value, schema: &Value, path: &str, keys: &mut BTreeMap<String, BTreeSet<String>>) {
    let Value::Object(keywords) = schema else { return };
    if let Some(pointer) = keywords.get("$ref").and_then(Value::as_str) {
        collect(root, root.pointer(&pointer[1..]).unwrap(), path, keys);
    }
    for schema in ["oneOf", "anyOf"]
        .iter()
        .filter_map(|word| keywords.get(*word)?.as_array())
        .flatten()
    {
        collect(root, schema, path, keys);
    }
    if let Some(items) = keywords.get("items") {
        collect(root, items, &format!("{path}[]"), keys);
    }
    if let Some(properties) = keywords.get("properties").and_then(Value::as_object) {
        keys.entry(path.to_owned())
            .or_default()
            .extend(properties.keys().cloned());
        for (name, schema) in properties {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            collect(root, schema, &path, keys);
        }
    }
}

/// An editor shows the description of what the cursor is on.
#[test]
fn every_key_is_described() {
    fn check(schema: &Value, path: &str) {
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(
                text.ends_with('.') || text.ends_with('"'),
                "{path} is not described: {text:?}"
            );
            check(schema, &path);
            check(&schema["items"], &path);
        }
    }
    let schema = schema();
    check(&schema, "");
    for schema in schema["$defs"].as_object().unwrap().values() {
        check(schema, "");
    }
}
