//! The built-in defaults: `config/default.yaml`, embedded.

use std::sync::LazyLock;

use crate::flowfile::fault::Faults;
use crate::flowfile::source::{self, Entry, Format, Node, Span, Value};

/// The text of `config/default.yaml`: every key of a project file, its default, and a comment.
pub const DEFAULT_YAML: &str = include_str!("../../config/default.yaml");

static TREE: LazyLock<Node> = LazyLock::new(|| {
    let mut faults = Faults::default();
    // A broken text gives no defaults at all, which the tests of this file would not pass.
    let mut tree = source::read(DEFAULT_YAML, Format::Yaml, &mut faults).unwrap_or_else(nothing);
    forget_places(&mut tree);
    tree
});

/// Returns the defaults of a section: its keys (`workers.<remote>`) joined by dots, nothing for the top.
pub(super) fn section(path: &[&str]) -> &'static [Entry] {
    let found = path.iter().try_fold(&*TREE, |node, key| node.get(key));
    match found.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    }
}

/// Returns a value that is not set, and stands nowhere.
pub(super) fn nothing() -> Node {
    Node { span: Span::default(), value: Value::Null }
}

/// Makes every place in the tree nowhere: a place in a text the user never saw is no help.
pub(super) fn forget_places(node: &mut Node) {
    node.span = Span::default();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(forget_places),
        Value::Map(entries) => {
            for entry in entries {
                entry.key_span = Span::default();
                forget_places(&mut entry.node);
            }
        }
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {}
    }
}
