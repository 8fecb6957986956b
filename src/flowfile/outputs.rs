//! The `outputs` of a job.

use super::decode::{At, Table};
use super::scope::Scope;
use super::source::{Node, Value};
use super::template::is_name;
use crate::jobflow::command::stored::{Group, Output, OutputKind, ParsedAs, Which};
use crate::jobflow::command::{STDERR, STDOUT, compile_pattern, path_fault};

/// The keys that say what an output is.
const KINDS: [&str; 4] = ["json", "text", "regex", "file"];

/// Returns the outputs that the map declares.
pub(super) fn outputs(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Vec<Output> {
    let mut outputs = Vec::new();
    for (name, span, at) in at.entries(scope.faults) {
        if !is_name(name) || name == "outputs" || name == "for" {
            let mut fault = at.fault(format!("`{}` cannot be the name of an output", name.escape_debug()));
            fault.span = span;
            scope.faults.push(fault.hint("use up to 64 letters, digits, `_` and `-`, a letter first"));
            continue;
        }
        outputs.extend(output(name, &at, scope));
    }
    outputs
}

fn output(name: &str, at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<Output> {
    if !matches!(at.node.value, Value::Map(_)) {
        let fault = at.fault(format!("an output is a map, not {}", at.node.describe()));
        scope.faults.push(fault.hint("for example {json: result.json, pointer: /energy} or {text: stdout}"));
        return None;
    }
    let mut table = at.table(scope.faults)?;
    let found: Vec<(&'static str, At<'_>)> =
        KINDS.into_iter().filter_map(|kind| Some((kind, table.take(kind)?))).collect();
    let optional = table.take("optional").and_then(|at| at.boolean(scope.faults)).unwrap_or(false);
    let [(kind, main)] = found.as_slice() else {
        let message = if found.is_empty() {
            "this says no kind of output"
        } else {
            "this says more than one kind of output"
        };
        scope.faults.push(at.fault(message).hint("give one of `json`, `text`, `regex` and `file`"));
        return None;
    };
    let read = match *kind {
        "json" => json(main, &mut table, scope),
        "text" => text(main, &mut table, scope),
        "regex" => regex(main, &mut table, scope),
        _ => plain_path(main, scope).map(|file| (file, OutputKind::File)),
    };
    table.finish(scope.faults);
    let (file, kind) = read?;
    Some(Output { name: name.to_owned(), file, kind, optional })
}

type Read = Option<(String, OutputKind)>;

fn json(main: &At<'_>, table: &mut Table<'_>, scope: &mut Scope<'_, '_>) -> Read {
    let file = path_or_stream(main, scope);
    let pointer = table.take("pointer");
    let pointer = match pointer {
        None => None,
        Some(at) => {
            let text = scope.fixed_text(&at)?;
            if !text.is_empty() && !text.starts_with('/') {
                let fault = at.fault(format!("`{text}` is no JSON pointer"));
                scope.faults.push(fault.hint(format!("write /{}", text.replace('.', "/"))));
                return None;
            }
            Some(text)
        }
    };
    Some((file?, OutputKind::Json { pointer }))
}

fn text(main: &At<'_>, table: &mut Table<'_>, scope: &mut Scope<'_, '_>) -> Read {
    let file = path_or_stream(main, scope);
    let trim = table.take("trim").and_then(|at| at.boolean(scope.faults)).unwrap_or(true);
    let parsed_as = parsed_as(table, scope);
    Some((file?, OutputKind::Text { trim, parsed_as }))
}

fn parsed_as(table: &mut Table<'_>, scope: &mut Scope<'_, '_>) -> ParsedAs {
    table.take("type").and_then(|at| at.choice(&ParsedAs::WORDS, scope.faults)).unwrap_or(ParsedAs::Text)
}

fn regex(main: &At<'_>, table: &mut Table<'_>, scope: &mut Scope<'_, '_>) -> Read {
    let file = table.need("in", scope.faults).and_then(|at| path_or_stream(&at, scope));
    let parsed_as = parsed_as(table, scope);
    let which =
        table.take("which").and_then(|at| at.choice(&Which::WORDS, scope.faults)).unwrap_or(Which::Last);
    let group = table.take("group");
    let pattern = scope.fixed_text(main)?;
    let compiled = match compile_pattern(&pattern) {
        Ok(compiled) => compiled,
        Err(message) => {
            scope.faults.push(main.fault(message));
            return None;
        }
    };
    let group = match group {
        None => Group::Number(u32::from(compiled.captures_len() > 1)),
        Some(at) => wanted_group(&at, &compiled, scope)?,
    };
    Some((file?, OutputKind::Regex { pattern, group, parsed_as, which }))
}

fn wanted_group(at: &At<'_>, pattern: &::regex::Regex, scope: &mut Scope<'_, '_>) -> Option<Group> {
    if let Node { value: Value::Text(name), .. } = at.node {
        if pattern.capture_names().flatten().any(|known| known == name) {
            return Some(Group::Name(name.clone()));
        }
        scope.faults.push(at.fault(format!("the pattern has no group named `{name}`")));
        return None;
    }
    let last = i64::try_from(pattern.captures_len() - 1).unwrap_or(i64::MAX);
    at.integer(0..=last, scope.faults).and_then(|number| u32::try_from(number).ok()).map(Group::Number)
}

/// Returns a path of the run directory, or the name of one of the streams.
fn path_or_stream(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<String> {
    match &at.node.value {
        Value::Text(word) if word == STDOUT || word == STDERR => Some(word.clone()),
        _ => plain_path(at, scope),
    }
}

/// Returns a path inside the run directory.
pub(super) fn plain_path(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<String> {
    let path = scope.fixed_text(at)?;
    match path_fault(&path) {
        None => Some(path),
        Some(why) => {
            scope.faults.push(at.fault(format!("the path `{}` {why}", path.escape_debug())));
            None
        }
    }
}
