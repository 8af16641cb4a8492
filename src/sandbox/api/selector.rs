//! Label and field selectors of list, watch and deletecollection.
//!
//! Pure: text in, a test for objects out.

use super::{failure::Failure, kinds::Kind, object};
use serde_json::Value;

/// What a collection request selects.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Labels>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Labels {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    path: String,
    equal: bool,
    value: String,
}

impl Selector {
    pub(super) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Failure> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(kind, fields)?,
        })
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        self.labels.iter().all(|term| term.holds(object)) && self.fields.iter().all(|term| term.holds(object))
    }
}

impl Labels {
    fn holds(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        match self {
            Self::In(key, values) => label(key).is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|wanted| wanted != value)),
            Self::Exists(key) => label(key).is_some(),
            Self::Missing(key) => label(key).is_none(),
        }
    }
}

impl Field {
    fn holds(&self, object: &Value) -> bool {
        let value = match object::at(object, &self.path) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        (value == self.value) == self.equal
    }
}

fn parse_labels(text: &str) -> Result<Vec<Labels>, Failure> {
    split_outside_parentheses(text)
        .into_iter()
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .map(parse_term)
        .collect()
}

fn parse_term(term: &str) -> Result<Labels, Failure> {
    let refuse = |what: String| Failure::bad_request(format!("unable to parse requirement: {what}"));
    if let Some(open) = term.find('(') {
        let (head, values) = term.split_at(open);
        let words: Vec<&str> = head.split_whitespace().collect();
        let (key, within) = match words[..] {
            [key, "in"] => (checked(key)?, true),
            [key, "notin"] => (checked(key)?, false),
            _ => return Err(refuse("found '(', expected: identifier".to_owned())),
        };
        let Some(values) = values.strip_prefix('(').and_then(|values| values.strip_suffix(')')) else {
            return Err(refuse("found '', expected: ',' or ')'".to_owned()));
        };
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return Ok(if within {
            Labels::In(key, values)
        } else {
            Labels::NotIn(key, values)
        });
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(Labels::NotIn(checked(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Labels::In(checked(key)?, vec![value.trim().to_owned()]));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(Labels::Missing(checked(key)?)),
        None => Ok(Labels::Exists(checked(term)?)),
    }
}

fn checked(key: &str) -> Result<String, Failure> {
    let key = key.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if key.is_empty() || !key.chars().all(legal) {
        let message = format!("unable to parse requirement: <nil>: Invalid value: \"{key}\": name part must be valid");
        return Err(Failure::bad_request(message));
    }
    Ok(key.to_owned())
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let split = text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    split.collect()
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<Field>, Failure> {
    let mut fields = Vec::new();
    for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
        let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
            (path, value, false)
        } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (path, value, true)
        } else {
            return Err(Failure::bad_request(format!(
                "invalid selector: '{term}'; can't understand '{term}'"
            )));
        };
        let known = ["metadata.name", "metadata.namespace"].contains(&path) || kind.fields.contains(&path);
        if !known {
            let message = if kind.fields.is_empty() {
                let known = "\"metadata.name\", \"metadata.namespace\"";
                format!("\"{path}\" is not a known field selector: only {known}")
            } else {
                format!("field label not supported: {path}")
            };
            return Err(Failure::bad_request(message));
        }
        fields.push(Field {
            path: path.to_owned(),
            equal,
            value: value.to_owned(),
        });
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(labels: &str, fields: &str) -> bool {
        let pods = super::super::kinds::builtin().into_iter().find(Kind::is_pod).unwrap();
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web", "tier": "front"}},
            "spec": {"nodeName": "n1"},
        });
        Selector::parse(&pods, labels, fields).unwrap().selects(&pod)
    }

    #[test]
    fn label_terms_select_as_documented() {
        for yes in [
            "",
            "app=web",
            "app==web",
            "app",
            "!gone",
            "app!=db",
            "gone!=x",
            "app in (db, web),tier=front",
        ] {
            assert!(selects(yes, ""), "{yes}");
        }
        for no in [
            "app=db",
            "gone",
            "!app",
            "app!=web",
            "app notin (web,db)",
            "app=web,tier=back",
            "gone in (a)",
        ] {
            assert!(!selects(no, ""), "{no}");
        }
    }

    #[test]
    fn field_terms_select_as_documented() {
        for yes in [
            "metadata.name=web-0",
            "spec.nodeName==n1,metadata.namespace=shop",
            "status.phase!=Failed",
        ] {
            assert!(selects("", yes), "{yes}");
        }
        assert!(!selects("", "spec.nodeName!=n1"));
    }

    #[test]
    fn what_cannot_be_read_is_a_bad_request() {
        let pods = super::super::kinds::builtin().into_iter().find(Kind::is_pod).unwrap();
        for (labels, fields) in [("a=(b", ""), ("a b", ""), ("", "foo=bar"), ("", "metadata.name")] {
            assert_eq!(
                Selector::parse(&pods, labels, fields).unwrap_err().code,
                400,
                "{labels} {fields}"
            );
        }
    }
}
