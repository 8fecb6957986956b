//! From the text of a flow file to its plan.

use std::collections::HashMap;

use bson::Document;

use super::decode::At;
use super::fault::{Fault, Faults};
use super::job::job;
use super::order::order;
use super::plan::FlowPlan;
use super::source::{Entry, Format, Node, Span, Value, entries_to_document, read};
use super::sweep::groups;
use super::template::with_parameters;

/// The keys of `defaults`: those of a job that make sense for many.
const DEFAULTS: [&str; 11] = [
    "worker",
    "resources",
    "env",
    "modules",
    "pre_run",
    "post_run",
    "exec_config",
    "retries",
    "priority",
    "on_missing",
    "metadata",
];

/// Keys whose maps are merged, key by key; of all others the job's value replaces the default.
const MERGED: [&str; 3] = ["env", "resources", "metadata"];

/// Returns the plan of a flow file, or everything that is wrong with it, in the order of the text.
///
/// `name` is the flow's name when the file has no `flow`.
pub fn parse(text: &str, format: Format, name: &str) -> Result<FlowPlan, Vec<Fault>> {
    let mut faults = Faults::default();
    let plan = read(text, format, &mut faults).and_then(|root| plan(&root, name, &mut faults));
    match plan {
        Some(plan) if faults.is_empty() => Ok(plan),
        _ => Err(faults.into_sorted()),
    }
}

fn plan(root: &Node, name: &str, faults: &mut Faults) -> Option<FlowPlan> {
    if root.value == Value::Null {
        let fault = Fault::at(root.span, "", "the file is empty");
        faults.push(fault.hint("see `jf submit --format-help` for what a flow file looks like"));
        return None;
    }
    let mut table = At::root(root).table(faults)?;
    let name = table.take("flow").map_or_else(|| Some(name.to_owned()), |at| flow_name(&at, faults));
    let metadata = table.take("metadata").and_then(|at| document(&at, faults)).unwrap_or_default();
    let defaults = table.take("defaults").and_then(|at| defaults(&at, faults));
    let jobs = table.need("jobs", faults);
    table.finish(faults);
    let jobs = jobs?;
    let merged = with_defaults(jobs.node, defaults.as_ref());
    let jobs_at = At { node: &merged, path: jobs.path.clone() };
    let groups = groups(&jobs_at, faults);
    if matches!(&merged.value, Value::Map(entries) if entries.is_empty()) {
        faults.push(jobs.fault("there are no jobs"));
    }
    let mut plans = Vec::new();
    for group in &groups {
        for (place, combination) in group.combinations.iter().enumerate() {
            let node = with_parameters(group.at.node, &combination.values);
            plans.extend(job(
                &At { node: &node, path: group.at.path.clone() },
                group,
                place,
                &groups,
                faults,
            ));
        }
    }
    if let Some(defaults) = &defaults {
        faults.rename(&places(defaults));
    }
    let order = order(&plans, faults)?;
    Some(FlowPlan { name: name?, metadata, jobs: plans, order })
}

fn flow_name(at: &At<'_>, faults: &mut Faults) -> Option<String> {
    let name = at.scalar_text(faults)?;
    if name.trim().is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        faults.push(at.fault("the name of a flow is one line of at most 256 bytes"));
        return None;
    }
    Some(name)
}

fn document(at: &At<'_>, faults: &mut Faults) -> Option<Document> {
    match &at.node.value {
        Value::Map(entries) => Some(entries_to_document(entries)),
        _ => {
            faults.push(at.fault(format!("a map is needed here, not {}", at.node.describe())));
            None
        }
    }
}

/// Returns the known entries of `defaults`; the others are faults.
fn defaults(at: &At<'_>, faults: &mut Faults) -> Option<Node> {
    let mut table = at.table(faults)?;
    for key in DEFAULTS {
        table.take(key);
    }
    let Value::Map(entries) = &at.node.value else { return None };
    let known = entries.iter().filter(|entry| DEFAULTS.contains(&entry.key.as_str())).cloned().collect();
    table.finish(faults);
    Some(Node { span: at.node.span, value: Value::Map(known) })
}

/// Returns the jobs with the defaults they do not override.
fn with_defaults(jobs: &Node, defaults: Option<&Node>) -> Node {
    let (Value::Map(entries), Some(Node { value: Value::Map(defaults), .. })) = (&jobs.value, defaults)
    else {
        return jobs.clone();
    };
    let merged = entries.iter().map(|entry| {
        let node = match &entry.node.value {
            Value::Map(own) => Node { span: entry.node.span, value: Value::Map(merged(own, defaults)) },
            _ => entry.node.clone(),
        };
        Entry { node, ..entry.clone() }
    });
    Node { span: jobs.span, value: Value::Map(merged.collect()) }
}

fn merged(own: &[Entry], defaults: &[Entry]) -> Vec<Entry> {
    let has = |keys: &[&str]| own.iter().any(|entry| keys.contains(&entry.key.as_str()));
    let mut all = own.to_vec();
    for default in defaults {
        // The two ways to say what runs around a job exclude each other.
        let other_way = match default.key.as_str() {
            "exec_config" => has(&["modules", "pre_run", "post_run"]),
            "modules" | "pre_run" | "post_run" => has(&["exec_config"]),
            _ => false,
        };
        match all.iter_mut().find(|entry| entry.key == default.key) {
            None if !other_way => all.push(default.clone()),
            Some(entry) if MERGED.contains(&default.key.as_str()) => merge(&mut entry.node, &default.node),
            _ => {}
        }
    }
    all
}

fn merge(own: &mut Node, default: &Node) {
    let (Value::Map(own), Value::Map(default)) = (&mut own.value, &default.value) else { return };
    for entry in default {
        if !own.iter().any(|known| known.key == entry.key) {
            own.push(entry.clone());
        }
    }
}

/// Returns the path of each value and key in `defaults` by its place, so that a fault in them is not said of the job
/// they were merged into.
fn places(defaults: &Node) -> HashMap<Span, String> {
    let mut places = HashMap::new();
    let mut open = vec![(defaults, "defaults".to_owned())];
    while let Some((node, path)) = open.pop() {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    places.insert(entry.key_span, path.clone());
                    open.push((&entry.node, format!("{path}.{}", entry.key)));
                }
            }
            Value::List(items) => {
                open.extend(items.iter().enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))));
            }
            _ => {}
        }
        places.insert(node.span, path);
    }
    places
}
