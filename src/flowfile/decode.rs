//! Small tools that turn a tree into typed values and collect every fault on the way.
//!
//! A map is read through a [`Table`]: ask for each key you know, then [`Table::finish`] reports the keys nobody asked
//! for, with the nearest known one. Each value comes as an [`At`], which knows its place for messages.

use super::fault::{Fault, Faults, hint_for};
use super::source::{Entry, Node, Span, Value};

/// A value with its place in the tree.
#[derive(Debug, Clone)]
pub struct At<'tree> {
    pub node: &'tree Node,
    /// Such as `jobs.relax.files[0]`.
    pub path: String,
}

impl<'tree> At<'tree> {
    /// Returns the whole tree.
    pub fn root(node: &'tree Node) -> Self {
        Self { node, path: String::new() }
    }

    /// Returns a fault at this place.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.node.span, self.path.clone(), message)
    }

    /// Returns the path of a key below this place.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&self, wanted: &str, faults: &mut Faults) {
        let found = self.node.describe();
        let fault = self.fault(format!("{wanted} is needed here, not {found}"));
        let fault = match (&self.node.value, wanted) {
            (Value::Text(text), "true or false") if matches!(text.as_str(), "yes" | "on" | "Yes" | "On") => {
                fault.hint("write true")
            }
            (Value::Text(text), "true or false") if matches!(text.as_str(), "no" | "off" | "No" | "Off") => {
                fault.hint("write false")
            }
            (Value::Boolean(_) | Value::Integer(_) | Value::Number(_), "a text") => {
                fault.hint("put it into quotes")
            }
            _ => fault,
        };
        faults.push(fault);
    }

    /// Returns the text; anything else is a fault.
    pub fn text(&self, faults: &mut Faults) -> Option<&'tree str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.wrong("a text", faults);
                None
            }
        }
    }

    /// Returns the text, or a number or truth value as text; anything else is a fault.
    pub fn scalar_text(&self, faults: &mut Faults) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(value) => Some(value.to_string()),
            Value::Number(value) => Some(value.to_string()),
            Value::Boolean(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong("a text", faults);
                None
            }
        }
    }

    /// Returns the truth value; anything else is a fault.
    pub fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        match self.node.value {
            Value::Boolean(value) => Some(value),
            _ => {
                self.wrong("true or false", faults);
                None
            }
        }
    }

    /// Returns the whole number when it is in the range; anything else is a fault.
    pub fn integer(&self, range: std::ops::RangeInclusive<i64>, faults: &mut Faults) -> Option<i64> {
        let Value::Integer(value) = self.node.value else {
            self.wrong("a whole number", faults);
            return None;
        };
        if !range.contains(&value) {
            let (low, high) = range.into_inner();
            faults.push(self.fault(format!("{value} is not between {low} and {high}")));
            return None;
        }
        Some(value)
    }

    /// Returns the number, whole or not; anything else is a fault.
    pub fn number(&self, faults: &mut Faults) -> Option<f64> {
        match self.node.value {
            Value::Number(value) => Some(value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a number of a file, read as Python would read it"
            )]
            Value::Integer(value) => Some(value as f64),
            _ => {
                self.wrong("a number", faults);
                None
            }
        }
    }

    /// Returns the one of `choices` that the text names; anything else is a fault.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let text = self.text(faults)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let mut fault = self.fault(format!("`{text}` is not known here"));
            fault.hint = hint_for(text, &names);
            faults.push(fault);
        }
        found
    }

    /// Returns the items of a list; anything else is a fault, and no items.
    pub fn list(&self, faults: &mut Faults) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => self.items(items),
            _ => {
                self.wrong("a list", faults);
                Vec::new()
            }
        }
    }

    /// Returns the items of a list, or the single value as one item; nothing (null) is no item.
    pub fn one_or_many(&self) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => self.items(items),
            Value::Null => Vec::new(),
            _ => vec![self.clone()],
        }
    }

    fn items(&self, items: &'tree [Node]) -> Vec<Self> {
        let at = |(index, node)| Self { node, path: format!("{}[{index}]", self.path) };
        items.iter().enumerate().map(at).collect()
    }

    /// Returns the map as a table; anything else is a fault.
    pub fn table(&self, faults: &mut Faults) -> Option<Table<'tree>> {
        match &self.node.value {
            Value::Map(entries) => Some(Table { at: self.clone(), entries, asked: Vec::new() }),
            _ => {
                self.wrong("a map", faults);
                None
            }
        }
    }

    /// Returns the entries of a map with any keys: key, place of the key, value. Anything else is a fault.
    pub fn entries(&self, faults: &mut Faults) -> Vec<(&'tree str, Span, Self)> {
        match &self.node.value {
            Value::Map(entries) => entries
                .iter()
                .map(|entry| {
                    let at = Self { node: &entry.node, path: self.path_of(&entry.key) };
                    (entry.key.as_str(), entry.key_span, at)
                })
                .collect(),
            _ => {
                self.wrong("a map", faults);
                Vec::new()
            }
        }
    }
}

/// A map whose keys are known.
#[derive(Debug)]
pub struct Table<'tree> {
    pub at: At<'tree>,
    entries: &'tree [Entry],
    asked: Vec<&'static str>,
}

impl<'tree> Table<'tree> {
    /// Returns the value of `key` if it is there and not null.
    pub fn take(&mut self, key: &'static str) -> Option<At<'tree>> {
        self.take_or_null(key).filter(|at| at.node.value != Value::Null)
    }

    /// Returns the value of `key` if it is there, null included.
    pub fn take_or_null(&mut self, key: &'static str) -> Option<At<'tree>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(At { node: &entry.node, path: self.at.path_of(key) })
    }

    /// Returns the value of `key`; that it is not there is a fault.
    pub fn need(&mut self, key: &'static str, faults: &mut Faults) -> Option<At<'tree>> {
        let found = self.take(key);
        if found.is_none() {
            faults.push(self.at.fault(format!("the key `{key}` is missing")));
        }
        found
    }

    /// Returns where the key stands.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_span)
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, faults: &mut Faults) {
        for entry in self.unknown() {
            let mut fault = Fault::at(
                entry.key_span,
                self.at.path.clone(),
                format!("the key `{}` is not known here", entry.key),
            );
            fault.hint = hint_for(&entry.key, &self.asked);
            faults.push(fault);
        }
    }

    /// Returns the entries that nobody asked for so far.
    pub fn unknown(&self) -> impl Iterator<Item = &'tree Entry> {
        self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str()))
    }
}
