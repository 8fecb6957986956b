//! Reads YAML 1.2, JSON and TOML text into one tree of values that knows where each value and key stands.
//!
//! The readers collect faults instead of stopping at the first one that can be stepped over (a key given twice), and
//! refuse what could use up memory or the stack: depth, number of values and expansion of aliases are limited.

mod json;
mod lines;
mod toml;
mod yaml;

use std::path::Path;

use bson::{Bson, Document};

use super::fault::{Fault, Faults};

/// How deep values may be nested. Deeper than any sensible file, shallow enough for recursive code on a small stack.
pub const DEPTH_LIMIT: usize = 64;

/// How many values a text may hold, those that aliases repeat included: some 20 000 jobs of 25 values each.
pub const NODE_LIMIT: usize = 500_000;

/// How large a text may be. What is larger belongs into a staged file.
pub const TEXT_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// The syntax of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
    Toml,
}

impl Format {
    /// Returns the format that the file's ending names: `.yaml`, `.yml`, `.json` or `.toml`.
    pub fn of_path(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// Returns the format of a text that has no file name: JSON when it begins with a brace, else YAML.
    pub fn guess(text: &str) -> Self {
        if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Yaml
        }
    }
}

/// Where something stands in a text, counted from 1 in characters; line 0 is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    /// Characters on its first line.
    pub length: u32,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

/// A value of any of the formats.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    /// A text; a TOML date or time is one too.
    Text(String),
    List(Vec<Node>),
    /// Keys are unique and in the order of the text.
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

impl Node {
    /// Returns what the value is, in words for people: `a list`, `the text "abc"`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing (null)".to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Integer(value) => format!("the number {value}"),
            Value::Number(value) => format!("the number {value}"),
            Value::Text(text) => format!("the text {}", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Returns the value of `key`, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Returns the value as BSON: integers as int32 where they fit, as the Python side's driver writes them.
    pub fn to_bson(&self) -> Bson {
        match &self.value {
            Value::Null => Bson::Null,
            Value::Boolean(value) => Bson::Boolean(*value),
            Value::Integer(value) => i32::try_from(*value).map_or(Bson::Int64(*value), Bson::Int32),
            Value::Number(value) => Bson::Double(*value),
            Value::Text(text) => Bson::String(text.clone()),
            Value::List(items) => Bson::Array(items.iter().map(Self::to_bson).collect()),
            Value::Map(entries) => Bson::Document(entries_to_document(entries)),
        }
    }
}

/// Returns the entries as a BSON document.
pub fn entries_to_document(entries: &[Entry]) -> Document {
    entries.iter().map(|entry| (entry.key.clone(), entry.node.to_bson())).collect()
}

/// Returns the text in quotes, cut after 40 characters.
pub(crate) fn shorten(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

/// Returns the tree of `text`, or nothing when its syntax is broken or a limit is passed.
///
/// Every fault found is added to `faults`; of a key that is given twice the first value is kept. An empty text is
/// [`Value::Null`].
pub fn read(text: &str, format: Format, faults: &mut Faults) -> Option<Node> {
    if text.len() > TEXT_LIMIT_BYTES {
        let message = format!("the text has {} bytes; at most {TEXT_LIMIT_BYTES} are read", text.len());
        faults.push(Fault::at(Span::default(), "", message).hint("put large content into files of its own"));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => yaml::read(text, faults),
        Format::Json => json::read(text, faults),
        Format::Toml => toml::read(text, faults),
    }
}

/// Adds an entry unless its key is there already, which is a fault.
fn insert(entries: &mut Vec<Entry>, entry: Entry, index: &mut KeyIndex, faults: &mut Faults) {
    if let Some(line) = index.insert(entry.key.clone(), entry.key_span.line) {
        let message = format!("the key `{}` is given twice (first in line {line})", entry.key);
        faults.push(Fault::at(entry.key_span, "", message).hint("keep one of them"));
    } else {
        entries.push(entry);
    }
}

/// The keys of one map with their lines.
#[derive(Default)]
struct KeyIndex(std::collections::HashMap<String, u32>);

impl KeyIndex {
    /// Returns the line of the key when it was there already.
    fn insert(&mut self, key: String, line: u32) -> Option<u32> {
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(line);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
