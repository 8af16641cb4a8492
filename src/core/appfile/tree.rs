//! A YAML document as a tree that remembers where everything stood and how scalars were spelled.
//!
//! Typed deserialisation stops at the first error and reads `1.10` as the number 1.1; people want every error at once,
//! and versions are text. So the parser's events are read here, and `read` gives the tree its meaning.

use std::collections::HashMap;
use std::rc::Rc;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle};

use super::error::{Place, Problem};

/// Far deeper than any app file; a deeper one would only exhaust the stack.
const MAX_DEPTH: usize = 32;
/// Aliases of aliases grow without bound; this many nodes are plenty.
const MAX_NODES: usize = 100_000;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Rc<Node>>),
    /// In the order of the file, duplicates included.
    Map(Vec<(Key, Rc<Node>)>),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

impl Node {
    /// What stands there, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// A collection that is still open.
struct Open {
    place: Place,
    anchor: usize,
    size: usize,
    /// Keys and values of a mapping alternate.
    children: Vec<Rc<Node>>,
    is_map: bool,
}

fn place(marker: &Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// Reads a text that holds one document.
pub(super) fn read(text: &str) -> Result<Rc<Node>, (Place, Problem)> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut anchors: HashMap<usize, (Rc<Node>, usize)> = HashMap::new();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| fault(place(error.marker()), error.kind().to_string()))?;
        let here = place(&span.start);
        let (node, size, anchor) = match event {
            Event::MappingStart(_, anchor, _) | Event::SequenceStart(_, anchor, _) => {
                if open.len() >= MAX_DEPTH {
                    return Err(fault(here, format!("nested more than {MAX_DEPTH} deep")));
                }
                let is_map = matches!(event, Event::MappingStart(..));
                open.push(Open {
                    place: here,
                    anchor,
                    size: 1,
                    children: Vec::new(),
                    is_map,
                });
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(done) = open.pop() else { continue };
                let (size, anchor) = (done.size, done.anchor);
                (close(done)?, size, anchor)
            }
            Event::Scalar(value, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null {
                    Value::Null
                } else {
                    Value::Scalar(value.into_owned())
                };
                (Rc::new(Node { place: here, value }), 1, anchor)
            }
            Event::Alias(id) => match anchors.get(&id) {
                Some((node, size)) => (Rc::clone(node), *size, 0),
                None => return Err(fault(here, "an alias inside of its own anchor".to_owned())),
            },
            _ => continue,
        };
        if anchor != 0 {
            anchors.insert(anchor, (Rc::clone(&node), size));
        }
        match open.last_mut() {
            Some(parent) => {
                parent.size += size;
                if parent.size > MAX_NODES {
                    return Err(fault(here, format!("more than {MAX_NODES} values")));
                }
                parent.children.push(node);
            }
            None if root.is_some() => return Err(fault(here, "a second document; an app file holds one".to_owned())),
            None => root = Some(node),
        }
    }
    root.ok_or_else(|| fault(Place { line: 1, column: 1 }, "the file is empty".to_owned()))
}

fn fault(place: Place, what: String) -> (Place, Problem) {
    (place, Problem::Yaml { what })
}

fn close(done: Open) -> Result<Rc<Node>, (Place, Problem)> {
    let value = if done.is_map {
        let mut entries = Vec::new();
        let mut children = done.children.into_iter();
        while let (Some(key), Some(value)) = (children.next(), children.next()) {
            let text = match &key.value {
                Value::Scalar(text) => text.clone(),
                Value::Null => "null".to_owned(),
                _ => return Err(fault(key.place, format!("{} as a key", key.kind()))),
            };
            entries.push((Key { text, place: key.place }, value));
        }
        Value::Map(entries)
    } else {
        Value::List(done.children)
    };
    Ok(Rc::new(Node {
        place: done.place,
        value,
    }))
}
