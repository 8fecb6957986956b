//! The `files` and the `stdin` of a job.

use std::path::PathBuf;

use bson::Bson;

use super::decode::At;
use super::outputs::plain_path;
use super::plan::{ContentPlan, FilePlan, StdinPlan, Template};
use super::scope::Scope;
use super::source::Value;
use super::template::{Part, split};
use crate::jobflow::command::path_fault;

/// How large a text may be that stands in the flow file: it becomes part of the job's document, which the database
/// limits to 16 MB.
const INLINE_LIMIT_BYTES: usize = 1024 * 1024;

/// The keys that say what is in a file.
const KINDS: [&str; 4] = ["copy", "text", "json", "from"];

/// Returns the files: of a list of paths to be copied, or of a map from path to content.
pub(super) fn files(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Vec<FilePlan> {
    let mut files = Vec::new();
    if let Value::List(_) = at.node.value {
        for item in at.list(scope.faults) {
            files.extend(copied(&item, None, scope));
        }
    } else {
        for (key, span, item) in at.entries(scope.faults) {
            let path = match split(key).as_deref() {
                Ok([Part::Literal(path)]) => path_fault(path).map_or_else(|| Ok(path.clone()), Err),
                _ => Err("is not known before the flow runs"),
            };
            match path {
                Err(why) => {
                    let mut fault = at.fault(format!("the path `{}` {why}", key.escape_debug()));
                    fault.span = span;
                    scope.faults.push(fault);
                }
                Ok(path) if matches!(item.node.value, Value::Text(_)) => {
                    files.extend(copied(&item, Some(&path), scope));
                }
                Ok(path) => files.extend(file(&path, &item, scope)),
            }
        }
    }
    clashes(at, &files, scope);
    files
}

/// Returns the file that is copied from beside the flow file, under its own name if no other is given.
fn copied(at: &At<'_>, path: Option<&str>, scope: &mut Scope<'_, '_>) -> Option<FilePlan> {
    let source = local_path(at, scope)?;
    let own_name = || source.file_name().map(|name| name.to_string_lossy().into_owned());
    let path = path.map(str::to_owned).or_else(own_name)?;
    if let Some(why) = path_fault(&path) {
        scope.faults.push(at.fault(format!("the path `{}` {why}", path.escape_debug())));
        return None;
    }
    Some(FilePlan { path, span: at.node.span, executable: None, content: ContentPlan::Local(source) })
}

/// Returns a path that stays below the flow file's folder.
fn local_path(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<PathBuf> {
    let text = scope.fixed_text(at)?;
    let why = if text.is_empty() {
        "is empty"
    } else if text.contains('\0') {
        "contains a NUL byte"
    } else if text.starts_with(['/', '~']) {
        "has to be relative to the folder of the flow file"
    } else if text.split('/').any(|part| part == "..") {
        "leads out of the folder of the flow file (`..`)"
    } else {
        let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
        return Some(parts.collect());
    };
    let fault = at.fault(format!("the path `{}` {why}", text.escape_debug()));
    scope.faults.push(fault.hint("copy the file, or put a symbolic link to it, beside the flow file"));
    None
}

fn file(path: &str, at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<FilePlan> {
    let mut table = at.table(scope.faults)?;
    let found: Vec<(&'static str, At<'_>)> =
        KINDS.into_iter().filter_map(|kind| Some((kind, table.take(kind)?))).collect();
    let executable = table.take("executable").and_then(|at| at.boolean(scope.faults));
    table.finish(scope.faults);
    let [(kind, main)] = found.as_slice() else {
        let message =
            if found.is_empty() { "this says no content" } else { "this says more than one content" };
        scope.faults.push(at.fault(message).hint("give one of `copy`, `text`, `json` and `from`"));
        return None;
    };
    let content = match *kind {
        "copy" => ContentPlan::Local(local_path(main, scope)?),
        "text" => ContentPlan::Text(inline_text(main, scope)?),
        "json" => ContentPlan::Json(scope.template(main)?),
        _ => ContentPlan::Kept(kept(main, scope)?),
    };
    Some(FilePlan { path: path.to_owned(), span: at.node.span, executable, content })
}

fn inline_text(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<Template> {
    if let Value::Text(text) = &at.node.value
        && text.len() > INLINE_LIMIT_BYTES
    {
        let message =
            format!("this text has {} bytes; at most {INLINE_LIMIT_BYTES} may stand here", text.len());
        scope.faults.push(at.fault(message).hint("put it into a file and `copy` that"));
        return None;
    }
    scope.scalar_template(at)
}

/// Returns the reference to another job's kept file.
fn kept(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<Template> {
    let template = scope.template(at)?;
    if matches!(template, Template::Reference { .. }) {
        return Some(template);
    }
    let fault = at.fault("`from` takes one kept file of another job");
    scope.faults.push(fault.hint("for example ${relax.wavefunction}, declared there as {file: WAVECAR}"));
    None
}

/// Reports files of the same path, and files where a folder has to be.
fn clashes(at: &At<'_>, files: &[FilePlan], scope: &mut Scope<'_, '_>) {
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    let sorted = paths.clone();
    for (path, next) in paths.iter().zip(sorted.iter().skip(1)) {
        if path == next {
            scope.faults.push(at.fault(format!("two files have the path `{path}`")));
        }
    }
    for file in files.iter().filter(|file| !matches!(file.content, ContentPlan::Local(_))) {
        let folder = format!("{}/", file.path);
        if let Some(inside) = sorted.iter().find(|path| path.starts_with(&folder)) {
            scope.faults.push(at.fault(format!("`{}` is a file, so `{inside}` cannot be in it", file.path)));
        }
    }
}

/// Returns the standard input: a text, `{text: …}`, or `{file: path}` of the run directory.
pub(super) fn stdin(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<StdinPlan> {
    if !matches!(at.node.value, Value::Map(_)) {
        return inline_text(at, scope).map(StdinPlan::Text);
    }
    let mut table = at.table(scope.faults)?;
    let (text, file) = (table.take("text"), table.take("file"));
    table.finish(scope.faults);
    match (text, file) {
        (Some(text), None) => inline_text(&text, scope).map(StdinPlan::Text),
        (None, Some(file)) => plain_path(&file, scope).map(StdinPlan::File),
        _ => {
            scope.faults.push(at.fault("the standard input is a text, {text: …} or {file: …}"));
            None
        }
    }
}

/// Returns whether the value can be seen to be no text for a program: it contains a NUL byte.
pub(super) fn has_nul(template: &Template) -> bool {
    match template {
        Template::Value(Bson::String(text)) => text.contains('\0'),
        Template::Text(parts) => parts.iter().any(has_nul),
        _ => false,
    }
}
