//! jobflow-remote's general settings: `~/.jfremote.yaml` and the `JFREMOTE_…` variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::defaults;
use super::environment::Environment;
use super::error::ConfigError;
use super::project::LogLevel;
use super::read::Placed;
use super::source::Source;
use crate::flowfile::decode::{At, Table};
use crate::flowfile::fault::{Fault, Faults};
use crate::flowfile::source::{self, Entry, Format, Node, Span, Value};

/// What a variable begins with that sets one of these; jobflow-remote reads it in any case of letters.
const PREFIX: &str = "JFREMOTE_";

/// The settings that hold for every project. A variable wins over the file, the file over the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralSettings {
    /// The file they were read from, whether it exists or not.
    pub config_file: PathBuf,
    pub projects_folder: PathBuf,
    /// The project to use when none is named.
    pub project: Option<String>,
    pub cli_full_exc: bool,
    pub cli_suggestions: bool,
    pub cli_log_level: LogLevel,
    /// Columns of `jf job list` when none are named.
    pub cli_job_list_columns: Option<Vec<String>>,
    /// Read, not used: our command line has no plugins.
    pub cli_load_plugins: bool,
}

impl GeneralSettings {
    /// Returns the settings of this environment; a file that is not there sets nothing.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let file = match variable(environment, "config_file") {
            Some((_, path)) => environment.expand(path),
            None => environment.home().ok_or(ConfigError::NoHome)?.join(".jfremote.yaml"),
        };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path: file, source }),
        };
        Self::parse(&text, &file, environment)
            .map_err(|found| ConfigError::faulty("settings file", &file, &text, &found))
    }

    /// Returns the settings of this text and environment, or all that is wrong with them.
    pub fn parse(text: &str, file: &Path, environment: &Environment) -> Result<Self, Vec<Placed>> {
        let mut faults = Faults::default();
        let format = Format::of_path(file).unwrap_or(Format::Yaml);
        let mut tree = source::read(text, format, &mut faults).unwrap_or_else(defaults::nothing);
        let variables = overlay(&mut tree, environment);
        let settings = settings(&tree, file, environment, &mut faults);
        match settings {
            Some(settings) if faults.is_empty() => Ok(settings),
            _ => Err(faults.into_sorted().into_iter().map(|fault| place(fault, file, &variables)).collect()),
        }
    }
}

/// Every setting. The defaults of the truth values are jobflow-remote 1.0's.
const KEYS: [&str; 7] = [
    "projects_folder",
    "project",
    "cli_full_exc",
    "cli_suggestions",
    "cli_log_level",
    "cli_job_list_columns",
    "cli_load_plugins",
];

fn settings(
    tree: &Node,
    file: &Path,
    environment: &Environment,
    faults: &mut Faults,
) -> Option<GeneralSettings> {
    let mut table = At::root(tree).table(faults)?;
    // The file cannot say where it is itself, but jobflow-remote does not mind the key.
    table.take("config_file");
    let folder =
        table.take("projects_folder").and_then(|at| at.text(faults).map(|path| environment.expand(path)));
    let project = table.take("project").and_then(|at| at.scalar_text(faults)).filter(|name| !name.is_empty());
    let cli_full_exc = boolean(&mut table, "cli_full_exc", faults).unwrap_or(false);
    let cli_suggestions = boolean(&mut table, "cli_suggestions", faults).unwrap_or(true);
    let level = table.take("cli_log_level").map(|at| at.choice(&LogLevel::ALL, faults));
    let columns = table.take("cli_job_list_columns").map(|at| at.list(faults));
    let cli_load_plugins = boolean(&mut table, "cli_load_plugins", faults).unwrap_or(true);
    table.finish(faults);
    let default_folder = || environment.home().map(|home| home.join(".jfremote"));
    let projects_folder = folder.or_else(default_folder);
    if projects_folder.is_none() {
        faults.push(Fault::at(Span::default(), "", ConfigError::NoHome.to_string()));
    }
    Some(GeneralSettings {
        config_file: file.to_owned(),
        projects_folder: projects_folder?,
        project,
        cli_full_exc,
        cli_suggestions,
        cli_log_level: level.unwrap_or(Some(LogLevel::Warn))?,
        cli_job_list_columns: columns
            .map(|columns| columns.iter().filter_map(|at| at.text(faults).map(str::to_owned)).collect()),
        cli_load_plugins,
    })
}

/// Variables spell truth values in many ways, as pydantic accepts them.
fn boolean(table: &mut Table<'_>, key: &'static str, faults: &mut Faults) -> Option<bool> {
    let at = table.take(key)?;
    let word = match &at.node.value {
        Value::Text(text) if at.node.span.line == 0 => text.to_lowercase(),
        _ => return at.boolean(faults),
    };
    match word.as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => at.boolean(faults),
    }
}

/// Puts the variables over the file's values, and returns their names by key.
fn overlay(tree: &mut Node, environment: &Environment) -> BTreeMap<&'static str, String> {
    let mut names = BTreeMap::new();
    if tree.value == Value::Null {
        tree.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut tree.value else { return names };
    for key in KEYS {
        let Some((name, text)) = variable(environment, key) else { continue };
        names.insert(key, name.to_owned());
        entries.retain(|entry| entry.key != key);
        let node = Node { span: Span::default(), value: value_of(key, text) };
        entries.push(Entry { key: key.to_owned(), key_span: Span::default(), node });
    }
    names
}

/// A list is written as JSON in a variable.
fn value_of(key: &str, text: &str) -> Value {
    if key != "cli_job_list_columns" {
        return Value::Text(text.to_owned());
    }
    match source::read(text, Format::Json, &mut Faults::default()) {
        Some(mut node) => {
            defaults::forget_places(&mut node);
            node.value
        }
        None => Value::Text(text.to_owned()),
    }
}

fn place(fault: Fault, file: &Path, variables: &BTreeMap<&'static str, String>) -> Placed {
    let key = fault.path.split(['.', '[']).next().unwrap_or_default();
    let source = match variables.get(key) {
        Some(name) if fault.span.line == 0 => Source::Environment { variable: name.clone() },
        _ => Source::File { path: file.to_owned(), line: 0, column: 0 },
    };
    Placed { fault, source }
}

fn variable<'environment>(
    environment: &'environment Environment,
    key: &str,
) -> Option<(&'environment str, &'environment str)> {
    let wanted = format!("{PREFIX}{key}");
    environment.variables().find(|(name, _)| name.eq_ignore_ascii_case(&wanted))
}

#[cfg(test)]
mod tests;
