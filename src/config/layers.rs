//! The layers over the project file: environment variables and command-line options, put onto its tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::defaults;
use super::environment::Environment;
use super::read::Placed;
use super::source::Source;
use crate::flowfile::fault::{Fault, Faults, hint_for};
use crate::flowfile::source::{self as text, Entry, Format, Node, Span, Value};

/// What a variable begins with that sets a value of the project: `JOBFERRY_WORKERS__CLUSTER__MAX_JOBS=4`.
pub const VARIABLE_PREFIX: &str = "JOBFERRY_";

/// What stands between two keys in the name of such a variable.
const KEY_SEPARATOR: &str = "__";

/// One value given on the command line, which wins over every other layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Keys from the top, joined by dots: `workers.cluster.max_jobs`.
    pub key: String,
    /// As it would be written in YAML.
    pub value: String,
    /// The option as typed, for `jf project show --source`: `--log-level`.
    pub option: String,
}

/// Which values come from above the file, and the file itself.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    file: PathBuf,
    /// By path; what lies below such a path comes from the same source.
    above: BTreeMap<String, Source>,
}

impl Layers {
    /// Puts the variables and the options onto the file's tree, options last, and returns those that have no place.
    pub(super) fn apply(
        tree: &mut Node,
        file: &Path,
        environment: &Environment,
        overrides: &[Override],
    ) -> (Self, Vec<Placed>) {
        let mut layers = Self { file: file.to_owned(), above: BTreeMap::new() };
        let mut misplaced = Vec::new();
        for (name, value) in environment.variables() {
            let source = Source::Environment { variable: name.to_owned() };
            match keys_of_variable(name) {
                Ok(None) => {}
                Ok(Some(keys)) => misplaced.extend(layers.put(tree, &keys, value, source)),
                Err(fault) => misplaced.push(Placed { fault, source }),
            }
        }
        for Override { key, value, option } in overrides {
            let keys: Vec<&str> = key.split('.').collect();
            misplaced.extend(layers.put(tree, &keys, value, Source::Flag { option: option.clone() }));
        }
        (layers, misplaced)
    }

    /// Returns what is wrong, if the keys lead nowhere.
    fn put(&mut self, tree: &mut Node, keys: &[&str], value: &str, source: Source) -> Option<Placed> {
        match place(tree, keys, &source) {
            Ok((node, path)) => {
                *node = value_of(value, keys);
                self.above.retain(|known, _| !below(known, &path));
                self.above.insert(path, source);
                None
            }
            Err(fault) => Some(Placed { fault, source }),
        }
    }

    /// Returns where the value at `path` came from.
    pub(super) fn source(&self, path: &str, span: Span) -> Source {
        if let Some(source) = self.source_above(path) {
            return source.clone();
        }
        if span.line == 0 {
            return Source::Default;
        }
        let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Source::File { path: self.file.clone(), line: number(span.line), column: number(span.column) }
    }

    /// Returns the variable or option that set the value at `path` or one it lies in.
    pub(super) fn source_above(&self, path: &str) -> Option<&Source> {
        self.above.iter().find(|(known, _)| below(path, known)).map(|(_, source)| source)
    }
}

/// Returns whether `path` is `of`, or lies in it.
fn below(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Returns the keys a variable spells, or nothing when it has no meaning for projects.
///
/// A variable of ours without two underscores that is no key belongs to something else; with them it is a mistake.
fn keys_of_variable(name: &str) -> Result<Option<Vec<&str>>, Fault> {
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return Ok(None) };
    let keys: Vec<&str> = rest.split(KEY_SEPARATOR).collect();
    let first = keys.first().copied().unwrap_or_default().to_lowercase();
    let known: Vec<&str> = top_level_keys().collect();
    if known.iter().any(|key| key.to_lowercase() == first) {
        return Ok(Some(keys));
    }
    if keys.len() == 1 {
        return Ok(None);
    }
    let mut fault = nowhere(format!("`{first}` is no key of a project"));
    fault.hint = hint_for(&first, &known);
    Err(fault)
}

fn nowhere(message: String) -> Fault {
    Fault::at(Span::default(), "", message)
}

fn top_level_keys() -> impl Iterator<Item = &'static str> {
    defaults::section(&[]).iter().map(|entry| entry.key.as_str()).filter(|key| !key.starts_with('<'))
}

/// Returns the place the keys lead to, made if it is not there, and its path.
fn place<'tree>(
    mut node: &'tree mut Node,
    keys: &[&str],
    source: &Source,
) -> Result<(&'tree mut Node, String), Fault> {
    let mut path = String::new();
    for (depth, key) in keys.iter().enumerate() {
        if node.value == Value::Null {
            node.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut node.value else {
            return Err(nowhere(format!("`{path}` is no map, so that `{key}` cannot be set in it")));
        };
        let index = match position(entries, key, source) {
            Some(index) => index,
            None if depth == 1 && matches!(path.as_str(), "workers" | "exec_config") => {
                return Err(no_such_name(&path, key, entries));
            }
            None => add(entries, new_key(key, &path, source)),
        };
        let Some(entry) = entries.get_mut(index) else {
            return Err(nowhere(format!("`{key}` cannot be set")));
        };
        path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        node = &mut entry.node;
    }
    Ok((node, path))
}

fn add(entries: &mut Vec<Entry>, key: String) -> usize {
    entries.push(Entry { key, key_span: Span::default(), node: defaults::nothing() });
    entries.len() - 1
}

/// Variables are in upper case and have no dashes or dots, so they match keys that read the same without them.
fn position(entries: &[Entry], key: &str, source: &Source) -> Option<usize> {
    let plain = |text: &str| text.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_");
    let exact = entries.iter().position(|entry| entry.key == key);
    match source {
        Source::Environment { .. } => {
            exact.or_else(|| entries.iter().position(|entry| plain(&entry.key) == plain(key)))
        }
        Source::Default | Source::File { .. } | Source::Flag { .. } => exact,
    }
}

/// Keys are in lower case, except the names of environment variables and `JOB_STORE`.
fn new_key(key: &str, path: &str, source: &Source) -> String {
    let as_written = path.ends_with("environment") || path.ends_with("export") || key == "JOB_STORE";
    match source {
        Source::Environment { .. } if !as_written => key.to_lowercase(),
        Source::Default | Source::File { .. } | Source::Environment { .. } | Source::Flag { .. } => {
            key.to_owned()
        }
    }
}

fn no_such_name(section: &str, key: &str, entries: &[Entry]) -> Fault {
    let names: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let mut fault =
        nowhere(format!("`{}` is not among the {section} of the project file", key.to_lowercase()));
    fault.hint = hint_for(&key.to_lowercase(), &names);
    fault
}

/// Returns the value a text spells in YAML. A secret is taken as it is, and so is what is no YAML.
fn value_of(value: &str, keys: &[&str]) -> Node {
    let literal = || Node { span: Span::default(), value: Value::Text(value.to_owned()) };
    if keys.last().is_some_and(|key| super::section::names_secret(key)) {
        return literal();
    }
    let mut faults = Faults::default();
    let parsed = text::read(value, Format::Yaml, &mut faults).filter(|_| faults.is_empty());
    let Some(mut node) = parsed else { return literal() };
    defaults::forget_places(&mut node);
    node
}
