//! TOML 1.1.

use toml_edit::{Document, Item, Key, TableLike, Value as TomlValue};

use super::lines::Lines;
use super::{DEPTH_LIMIT, Entry, NODE_LIMIT, Node, Span, Value};
use crate::flowfile::fault::{Fault, Faults};

/// Returns the table of the whole text.
pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Node> {
    let mut reader = Reader { lines: Lines::new(text), count: 0 };
    let root = match Document::parse(text) {
        Ok(document) => reader.table(document.as_table(), Span { line: 1, column: 1, length: 1 }, 0),
        Err(error) => {
            Err(Fault::at(reader.lines.span(error.span()), "", error.message().trim().replace('\n', ", ")))
        }
    };
    root.map_err(|fault| faults.push(fault)).ok()
}

struct Reader<'text> {
    lines: Lines<'text>,
    count: usize,
}

impl Reader<'_> {
    fn table(&mut self, table: &dyn TableLike, span: Span, depth: usize) -> Result<Node, Fault> {
        self.enter(span, depth)?;
        let mut entries = Vec::new();
        for (name, item) in table.iter() {
            let key_span = self.lines.span(table.key(name).and_then(Key::span));
            if let Some(node) = self.item(item, key_span, depth + 1)? {
                entries.push(Entry { key: name.to_owned(), key_span, node });
            }
        }
        Ok(Node { span, value: Value::Map(entries) })
    }

    /// `key_span` stands for a table that has no place of its own (`a.b = 1` makes `a`).
    fn item(&mut self, item: &Item, key_span: Span, depth: usize) -> Result<Option<Node>, Fault> {
        let span = item.span().map_or(key_span, |range| self.lines.span(Some(range)));
        match item {
            Item::None => Ok(None),
            Item::Value(value) => self.value(value, span, depth).map(Some),
            Item::Table(table) => self.table(table, span, depth).map(Some),
            Item::ArrayOfTables(tables) => {
                self.enter(span, depth)?;
                let mut items = Vec::new();
                for table in tables {
                    let span = self.lines.span(table.span());
                    items.push(self.table(table, span, depth + 1)?);
                }
                Ok(Some(Node { span, value: Value::List(items) }))
            }
        }
    }

    fn value(&mut self, value: &TomlValue, span: Span, depth: usize) -> Result<Node, Fault> {
        self.enter(span, depth)?;
        let value = match value {
            TomlValue::String(text) => Value::Text(text.value().clone()),
            TomlValue::Integer(number) => Value::Integer(*number.value()),
            TomlValue::Float(number) => Value::Number(*number.value()),
            TomlValue::Boolean(value) => Value::Boolean(*value.value()),
            TomlValue::Datetime(moment) => Value::Text(moment.value().to_string()),
            TomlValue::InlineTable(table) => return self.table(table, span, depth),
            TomlValue::Array(array) => {
                let mut items = Vec::new();
                for item in array {
                    let span = self.lines.span(item.span());
                    items.push(self.value(item, span, depth + 1)?);
                }
                Value::List(items)
            }
        };
        Ok(Node { span, value })
    }

    fn enter(&mut self, span: Span, depth: usize) -> Result<(), Fault> {
        self.count += 1;
        if self.count > NODE_LIMIT {
            return Err(Fault::at(span, "", format!("more than {NODE_LIMIT} values")));
        }
        if depth >= DEPTH_LIMIT {
            return Err(Fault::at(span, "", format!("values are nested deeper than {DEPTH_LIMIT} levels")));
        }
        Ok(())
    }
}
