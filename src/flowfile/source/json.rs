//! JSON.

use std::ops::Range;

use super::lines::Lines;
use super::{DEPTH_LIMIT, Entry, KeyIndex, NODE_LIMIT, Node, Span, Value, insert};
use crate::flowfile::fault::{Fault, Faults};
use crate::jobflow::json::{Builder, JsonError, Member, Scalar, read as read_json};

/// Returns the only value of the text.
pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Node> {
    let lines = Lines::new(text);
    let mut builder = Tree { lines: &lines, faults, count: 0 };
    let read = read_json(text.as_bytes(), &mut builder);
    let count = builder.count;
    match read {
        Ok(_) if count > NODE_LIMIT => {
            faults.push(Fault::at(Span::default(), "", format!("more than {NODE_LIMIT} values")));
            None
        }
        Ok(node) if depth(&node) > DEPTH_LIMIT => {
            let message = format!("values are nested deeper than {DEPTH_LIMIT} levels");
            faults.push(Fault::at(node.span, "", message));
            None
        }
        Ok(node) => Some(node),
        Err(JsonError { offset, message }) => {
            faults.push(Fault::at(lines.span(Some(offset..offset)), "", message));
            None
        }
    }
}

struct Tree<'a> {
    lines: &'a Lines<'a>,
    faults: &'a mut Faults,
    count: usize,
}

impl Tree<'_> {
    fn node(&mut self, value: Value, range: Range<usize>) -> Node {
        self.count += 1;
        Node { span: self.lines.span(Some(range)), value }
    }
}

impl Builder for Tree<'_> {
    type Value = Node;

    fn scalar(&mut self, scalar: Scalar, range: Range<usize>) -> Node {
        let value = match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Boolean(value),
            Scalar::Integer(value) => Value::Integer(value),
            Scalar::Number(value) => Value::Number(value),
            Scalar::Text(text) => Value::Text(text),
        };
        self.node(value, range)
    }

    fn array(&mut self, items: Vec<Node>, range: Range<usize>) -> Node {
        self.node(Value::List(items), range)
    }

    fn object(&mut self, members: Vec<Member<Node>>, range: Range<usize>) -> Node {
        let (mut entries, mut index) = (Vec::new(), KeyIndex::default());
        for (key, range, node) in members {
            let key_span = self.lines.span(Some(range));
            insert(&mut entries, Entry { key, key_span, node }, &mut index, self.faults);
        }
        self.node(Value::Map(entries), range)
    }
}

/// Recursion is bounded by the reader, which stops at 100 levels.
fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        _ => 0,
    }
}
