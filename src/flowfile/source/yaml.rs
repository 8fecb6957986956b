//! YAML 1.2, from the parser's events.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr::{Marker, Scalar, ScalarStyle, Tag};
use saphyr_parser::{Event, Parser};

use super::{DEPTH_LIMIT, Entry, KeyIndex, NODE_LIMIT, Node, Span, Value, insert};
use crate::flowfile::fault::{Fault, Faults};

/// Returns the only document of the text.
pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Node> {
    let mut builder = Builder::new(faults);
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.take(event, span_of(span.start, span.end)),
            Err(error) => {
                Err(Fault::at(span_of(*error.marker(), *error.marker()), "", error.info().to_owned()))
            }
        };
        if let Err(fault) = step {
            builder.faults.push(fault);
            return None;
        }
    }
    Some(builder.document.unwrap_or(Node { span: START, value: Value::Null }))
}

const START: Span = Span { line: 1, column: 1, length: 1 };

fn span_of(start: Marker, end: Marker) -> Span {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
    Span { line: number(start.line()), column: number(start.col() + 1), length: number(length) }
}

/// Builds the tree without recursion: one open collection on the stack per level.
struct Builder<'faults> {
    faults: &'faults mut Faults,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    /// Values so far, long texts that aliases repeat weighed by their length.
    weight: usize,
    document: Option<Node>,
}

/// A collection whose end has not come yet.
struct Open {
    span: Span,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, index: KeyIndex, key: Option<(String, Span)>, merges: Vec<Node> },
}

impl<'faults> Builder<'faults> {
    fn new(faults: &'faults mut Faults) -> Self {
        Self { faults, stack: Vec::new(), anchors: HashMap::new(), weight: 0, document: None }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.document.is_some() => {
                Err(Fault::at(span, "", "a second document begins here; a file holds one")
                    .hint("give each its own file"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::SequenceStart(anchor, tag) => self.open(span, anchor, tag, Kind::List(Vec::new())),
            Event::MappingStart(anchor, tag) => self.open(span, anchor, tag, Kind::map()),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Scalar(text, style, anchor, tag) => {
                let node = Node { span, value: scalar(text, style, tag.as_ref(), span)? };
                self.place(node, anchor)
            }
            Event::Alias(anchor) => self.repeat(anchor, span),
        }
    }

    fn open(
        &mut self,
        span: Span,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        kind: Kind,
    ) -> Result<(), Fault> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(foreign_tag(&tag, span));
        }
        if self.stack.len() >= DEPTH_LIMIT {
            let message = format!("values are nested deeper than {DEPTH_LIMIT} levels");
            return Err(Fault::at(span, "", message));
        }
        if let Some(Open { kind: Kind::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            *key = Some((String::new(), span));
            return Err(Fault::at(span, "", "a list or a map cannot be a key"));
        }
        self.stack.push(Open { span, anchor, kind });
        Ok(())
    }

    fn close(&mut self, _end: Span) -> Result<(), Fault> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let value = match open.kind {
            Kind::List(items) => Value::List(items),
            Kind::Map { mut entries, mut index, merges, .. } => {
                for merged in merges {
                    merge(&mut entries, &mut index, merged)?;
                }
                Value::Map(entries)
            }
        };
        self.place(Node { span: open.span, value }, open.anchor)
    }

    /// Puts a whole value where it belongs: into the open collection, or as the document.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.weigh(1, node.span)?;
        if anchor > 0 {
            let weight = weight_of(&node);
            self.weigh(weight, node.span)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.stack.last_mut().map(|open| &mut open.kind) {
            None => self.document = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map { entries, index, key, merges }) => match key.take() {
                None => *key = Some((key_text(&node)?, node.span)),
                Some((key, _)) if key == "<<" => merges.push(node),
                Some((key, key_span)) => insert(entries, Entry { key, key_span, node }, index, self.faults),
            },
        }
        Ok(())
    }

    fn repeat(&mut self, anchor: usize, span: Span) -> Result<(), Fault> {
        let Some((node, weight)) = self.anchors.get(&anchor) else {
            return Err(Fault::at(span, "", "this alias stands inside the value that it repeats"));
        };
        let (node, weight) = (Node { span, value: node.value.clone() }, *weight);
        self.weigh(weight, span)?;
        self.place(node, 0)
    }

    fn weigh(&mut self, weight: usize, span: Span) -> Result<(), Fault> {
        self.weight += weight;
        if self.weight > NODE_LIMIT {
            let message = format!("more than {NODE_LIMIT} values, those that aliases repeat included");
            return Err(Fault::at(span, "", message));
        }
        Ok(())
    }
}

impl Kind {
    fn map() -> Self {
        Self::Map { entries: Vec::new(), index: KeyIndex::default(), key: None, merges: Vec::new() }
    }
}

/// Returns what repeating the value costs: one for each value, and one more for each 32 bytes of text.
fn weight_of(node: &Node) -> usize {
    1 + match &node.value {
        Value::Text(text) => text.len() / 32,
        Value::List(items) => items.iter().map(weight_of).sum(),
        Value::Map(entries) => {
            entries.iter().map(|entry| entry.key.len() / 32 + weight_of(&entry.node)).sum()
        }
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Number(_) => 0,
    }
}

/// Adds the entries of a merge key (`<<: *defaults`) that the map does not have itself.
fn merge(entries: &mut Vec<Entry>, index: &mut KeyIndex, merged: Node) -> Result<(), Fault> {
    match merged.value {
        Value::Map(more) => {
            for entry in more {
                if index.insert(entry.key.clone(), entry.key_span.line).is_none() {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(maps) => maps.into_iter().try_for_each(|map| {
            if matches!(map.value, Value::Map(_)) { merge(entries, index, map) } else { Ok(()) }
        }),
        _ => Err(Fault::at(merged.span, "", "`<<` takes a map, or a list of maps, to be merged in")),
    }
}

/// Returns a key's text: numbers and truth values as they would be written.
fn key_text(node: &Node) -> Result<String, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(value) => Ok(value.to_string()),
        Value::Number(value) => Ok(value.to_string()),
        Value::Boolean(value) => Ok(value.to_string()),
        Value::Null => Err(Fault::at(node.span, "", "the key is empty")),
        Value::List(_) | Value::Map(_) => Err(Fault::at(node.span, "", "a list or a map cannot be a key")),
    }
}

fn foreign_tag(tag: &Tag, span: Span) -> Fault {
    let message = format!("the tag `{}{}` is not known", tag.handle, tag.suffix);
    Fault::at(span, "", message).hint("remove it")
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Cow<'_, Tag>>,
    span: Span,
) -> Result<Value, Fault> {
    if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
        return Err(foreign_tag(tag, span));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let too_large = style == ScalarStyle::Plain
        && digits.len() > 18
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<i64>().is_err();
    if too_large {
        return Err(Fault::at(span, "", "this integer does not fit into 64 bits")
            .hint("put it into quotes, to have it as text"));
    }
    match Scalar::parse_from_cow_and_metadata(text, style, tag) {
        Some(Scalar::Null) => Ok(Value::Null),
        Some(Scalar::Boolean(value)) => Ok(Value::Boolean(value)),
        Some(Scalar::Integer(value)) => Ok(Value::Integer(value)),
        Some(Scalar::FloatingPoint(value)) => Ok(Value::Number(value.into_inner())),
        Some(Scalar::String(text)) => Ok(Value::Text(text.into_owned())),
        None => Err(Fault::at(span, "", "this value is not what its tag says")),
    }
}
