//! One job of the file, with one combination of its sweep.

use std::time::Duration;

use bson::{Bson, Document, doc};

use super::decode::{At, Table};
use super::fault::Faults;
use super::files::{files, has_nul, stdin};
use super::outputs::outputs;
use super::plan::{JobPlan, ProgramPlan, Template};
use super::quantity::duration_seconds;
use super::resources::resources;
use super::scope::Scope;
use super::shell::shell;
use super::source::{Value, entries_to_document};
use super::sweep::{Combination, Group, Kind};
use crate::jobflow::command::{Retries, is_variable_name};
use crate::model::flow::OnMissing;

/// More tries than anybody waits for.
const RETRY_LIMIT: i64 = 1000;

/// Returns the job; on a fault, which is reported, a job that must not be used, or nothing.
pub(super) fn job(
    at: &At<'_>,
    group: &Group<'_>,
    place: usize,
    groups: &[Group<'_>],
    faults: &mut Faults,
) -> Option<JobPlan> {
    let combination = group.combinations.get(place)?;
    let mut table = at.table(faults)?;
    let mut scope = Scope { groups, combination, parents: std::collections::BTreeSet::new(), faults };
    let program = program(&mut table, &mut scope);
    let environment = table.take("env").map(|at| environment(&at, &mut scope)).unwrap_or_default();
    let stdin = table.take("stdin").and_then(|at| stdin(&at, &mut scope));
    let files = table.take("files").map(|at| files(&at, &mut scope)).unwrap_or_default();
    let outputs = table.take("outputs").map(|at| outputs(&at, &mut scope)).unwrap_or_default();
    if let Some(at) = table.take("after") {
        after(&at, &mut scope);
    }
    let name = table.take("name").and_then(|at| name(&at, &mut scope));
    let worker = table.take("worker").and_then(|at| name_of_worker(&at, &mut scope));
    let exec_config = exec_config(&mut table, &mut scope);
    let metadata = metadata(table.take("metadata").as_ref(), combination, scope.faults);
    // Read by the sweep already.
    table.take("for");
    table.take("each");
    let parents = scope.parents.into_iter().collect();
    let plan = JobPlan {
        name: name.unwrap_or_else(|| combination.job_name(group.name, place)),
        group: group.name.to_owned(),
        span: group.span,
        worker,
        priority: table.take("priority").and_then(|at| priority(&at, faults)),
        resources: table.take("resources").and_then(|at| resources(&at, faults)),
        exec_config,
        on_missing: table.take("on_missing").and_then(|at| on_missing(&at, faults)).unwrap_or_default(),
        metadata,
        parents,
        program: program.unwrap_or(ProgramPlan::Arguments(Vec::new())),
        environment,
        stdin,
        files,
        outputs,
        retries: table.take("retries").and_then(|at| retries(&at, faults)).unwrap_or_default(),
    };
    table.finish(faults);
    Some(plan)
}

fn priority(at: &At<'_>, faults: &mut Faults) -> Option<i32> {
    let value = at.integer(i64::from(i32::MIN)..=i64::from(i32::MAX), faults)?;
    i32::try_from(value).ok()
}

fn on_missing(at: &At<'_>, faults: &mut Faults) -> Option<OnMissing> {
    at.choice(&[("error", OnMissing::Error), ("none", OnMissing::None), ("pass", OnMissing::Pass)], faults)
}

fn program(table: &mut Table<'_>, scope: &mut Scope<'_, '_>) -> Option<ProgramPlan> {
    match (table.take("command"), table.take("shell")) {
        (Some(command), None) => arguments(&command, scope).map(ProgramPlan::Arguments),
        (None, Some(text)) => shell(&text, scope),
        (Some(_), Some(text)) => {
            scope
                .faults
                .push(text.fault("`command` and `shell` exclude each other").hint("keep one of them"));
            None
        }
        (None, None) => {
            let fault = table.at.fault("the job does nothing: it has neither `command` nor `shell`");
            scope.faults.push(fault.hint("for example command: [echo, hello]"));
            None
        }
    }
}

fn arguments(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<Vec<Template>> {
    if let Value::Text(text) = &at.node.value {
        let words: Vec<&str> = text.split_whitespace().collect();
        let fault = at.fault("`command` is a list: the program and its arguments");
        scope.faults.push(
            fault.hint(format!("write [{}], or `shell:` for a line that a shell reads", words.join(", "))),
        );
        return None;
    }
    let items = at.list(scope.faults);
    let Some(first) = items.first() else {
        scope.faults.push(at.fault("the command is empty"));
        return None;
    };
    if first.node.value == Value::Text(String::new()) {
        scope.faults.push(first.fault("the name of the program is empty"));
    }
    let mut arguments = Vec::new();
    for item in &items {
        // On a fault the others are looked at all the same.
        let Some(template) = scope.scalar_template(item) else { continue };
        if has_nul(&template) {
            scope.faults.push(item.fault("an argument cannot contain a NUL byte"));
        }
        arguments.push(template);
    }
    Some(arguments)
}

fn environment(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Vec<(String, Template)> {
    let mut variables = Vec::new();
    for (name, span, value) in at.entries(scope.faults) {
        if !is_variable_name(name) {
            let mut fault = at.fault(format!("`{}` cannot be the name of a variable", name.escape_debug()));
            fault.span = span;
            scope.faults.push(fault.hint("use letters, digits and `_`, no digit first"));
        }
        let Some(template) = scope.scalar_template(&value) else { continue };
        if has_nul(&template) {
            scope.faults.push(value.fault("a variable cannot contain a NUL byte"));
        }
        variables.push((name.to_owned(), template));
    }
    variables
}

/// `after: relax` or `after: [relax, scan]`: order without data.
fn after(at: &At<'_>, scope: &mut Scope<'_, '_>) {
    for item in at.one_or_many() {
        let Some(name) = item.text(scope.faults) else { continue };
        let groups = scope.groups;
        let Some(group) = groups.iter().find(|group| group.name == name) else {
            let names: Vec<&str> = groups.iter().map(|group| group.name).collect();
            let mut fault = item.fault(format!("there is no job `{name}`"));
            fault.hint = super::fault::hint_for(name, &names);
            scope.faults.push(fault);
            continue;
        };
        match scope.combination.pairs.get(name) {
            Some(number) if group.kind == Kind::Sweep => {
                scope.parents.insert(*number);
            }
            _ => scope.parents.extend(group.members()),
        }
    }
}

fn name(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<String> {
    let name = scope.fixed_text(at)?;
    if name.trim().is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        scope.faults.push(at.fault("a name is one line of at most 256 bytes"));
        return None;
    }
    Some(name)
}

fn name_of_worker(at: &At<'_>, scope: &mut Scope<'_, '_>) -> Option<String> {
    let name = scope.fixed_text(at)?;
    if name.is_empty() {
        scope.faults.push(at.fault("the name of the worker is empty"));
        return None;
    }
    Some(name)
}

fn metadata(at: Option<&At<'_>>, combination: &Combination, faults: &mut Faults) -> Document {
    let mut metadata = match at.map(|at| (at, &at.node.value)) {
        None => Document::new(),
        Some((_, Value::Map(entries))) => entries_to_document(entries),
        Some((at, _)) => {
            faults.push(at.fault("`metadata` is a map"));
            Document::new()
        }
    };
    if !combination.values.is_empty() {
        let values = combination.values.iter().map(|(name, node)| (name.clone(), node.to_bson()));
        metadata.insert("for", values.collect::<Document>());
    }
    metadata
}

/// `modules`, `pre_run` and `post_run`, or the name of a project's `exec_config`.
fn exec_config(table: &mut Table<'_>, scope: &mut Scope<'_, '_>) -> Option<Bson> {
    let named = table.take("exec_config");
    let modules = table.take("modules");
    let pre_run = table.take("pre_run");
    let post_run = table.take("post_run");
    if let Some(named) = named {
        if modules.is_some() || pre_run.is_some() || post_run.is_some() {
            let fault = named.fault("`exec_config` excludes `modules`, `pre_run` and `post_run`");
            scope.faults.push(fault.hint("put them into the project's exec_config, or name none"));
        }
        return scope.fixed_text(&named).map(Bson::String);
    }
    if modules.is_none() && pre_run.is_none() && post_run.is_none() {
        return None;
    }
    let loaded: Option<Vec<Bson>> = modules.map(|at| {
        at.one_or_many().iter().filter_map(|item| scope.fixed_text(item)).map(Bson::String).collect()
    });
    let mut text = |at: Option<At<'_>>| at.and_then(|at| commands(&at, scope.faults));
    Some(Bson::Document(doc! {
        "modules": loaded,
        "export": Bson::Null,
        "pre_run": text(pre_run),
        "post_run": text(post_run),
    }))
}

/// A block of shell text, or a list of lines; references have no meaning in it.
fn commands(at: &At<'_>, faults: &mut Faults) -> Option<String> {
    let lines: Option<Vec<&str>> = at.one_or_many().iter().map(|item| item.text(faults)).collect();
    let text = lines?.join("\n");
    if text.contains('\0') {
        faults.push(at.fault("the text contains a NUL byte"));
        return None;
    }
    Some(text)
}

/// `retries: 3` or `retries: {count: 3, delay: 10m}`.
fn retries(at: &At<'_>, faults: &mut Faults) -> Option<Retries> {
    let count = |at: &At<'_>, faults: &mut Faults| {
        at.integer(0..=RETRY_LIMIT, faults).and_then(|count| u32::try_from(count).ok())
    };
    if !matches!(at.node.value, Value::Map(_)) {
        return Some(Retries { count: count(at, faults)?, delay: Duration::ZERO });
    }
    let mut table = at.table(faults)?;
    let wanted = table.need("count", faults).and_then(|at| count(&at, faults));
    let delay = table.take("delay").and_then(|at| {
        let text = at.scalar_text(faults)?;
        duration_seconds(&text).map_err(|message| faults.push(at.fault(message))).ok()
    });
    table.finish(faults);
    Some(Retries { count: wanted?, delay: Duration::from_secs(delay.unwrap_or(0)) })
}
