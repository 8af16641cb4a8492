//! As much of JSON Schema (draft 2020-12) as the app file's schema uses. A keyword that it does not know is a panic, so
//! that the schema cannot grow past its test. For tests only: a whole validator would be thirty more crates to build.

use regex::Regex;
use serde_json::{Map, Value};

/// Whether the value is valid; where not, the path of what is wrong and the keyword that says so.
pub(super) fn validate(root: &Value, value: &Value) -> Result<(), String> {
    check(root, root, value, "")
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        panic!("{path}: a schema that is no object: {schema}");
    };
    for (keyword, rule) in keywords {
        let holds = holds(root, keywords, keyword, rule, value, path)?;
        if !holds {
            return Err(format!("{path}: {keyword}: {rule} does not hold of {value}"));
        }
    }
    Ok(())
}

fn holds(
    root: &Value,
    keywords: &Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
    path: &str,
) -> Result<bool, String> {
    let valid = |schema: &Value| check(root, schema, value, path);
    let list = || rule.as_array().expect("a list");
    let number = || rule.as_f64().expect("a number");
    Ok(match keyword {
        "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" => true,
        // Both belong to `if`.
        "then" | "else" => keywords.contains_key("if"),
        "$ref" => {
            let pointer = rule
                .as_str()
                .and_then(|rule| rule.strip_prefix('#'))
                .expect("a local reference");
            valid(root.pointer(pointer).expect("what is referred to is there"))?;
            true
        }
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| is_of(value, name)),
            name => is_of(value, name),
        },
        "const" => value == rule,
        "enum" => list().contains(value),
        "not" => valid(rule).is_err(),
        "anyOf" => list().iter().any(|schema| valid(schema).is_ok()),
        "oneOf" => list().iter().filter(|schema| valid(schema).is_ok()).count() == 1,
        "if" => {
            if let (Ok(()), Some(then)) = (valid(rule), keywords.get("then")) {
                valid(then)?;
            }
            true
        }
        "properties" => {
            let rules = rule.as_object().expect("a mapping");
            for (name, value) in value.as_object().into_iter().flatten() {
                if let Some(schema) = rules.get(name) {
                    check(root, schema, value, &format!("{path}/{name}"))?;
                }
            }
            true
        }
        "additionalProperties" => {
            let known = keywords.get("properties").and_then(Value::as_object);
            let others = value.as_object().into_iter().flatten();
            for (name, value) in others.filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name))) {
                match rule {
                    Value::Bool(false) => return Ok(false),
                    schema => check(root, schema, value, &format!("{path}/{name}"))?,
                }
            }
            true
        }
        "propertyNames" => {
            for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                check(root, rule, &Value::String(name.clone()), path)?;
            }
            true
        }
        "required" => value.as_object().is_none_or(|object| {
            list()
                .iter()
                .all(|name| object.contains_key(name.as_str().expect("a name")))
        }),
        "items" => {
            for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                check(root, rule, value, &format!("{path}/{at}"))?;
            }
            true
        }
        "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number()),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as f64 >= number()),
        "maxLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as f64 <= number()),
        "minimum" => value.as_f64().is_none_or(|value| value >= number()),
        "maximum" => value.as_f64().is_none_or(|value| value <= number()),
        "pattern" => {
            let pattern = Regex::new(rule.as_str().expect("a pattern")).expect("a pattern that can be read");
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        other => panic!("{path}: the keyword {other} is not known to this test; teach it first"),
    })
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}
