//! The `resources` of a job.

use super::decode::{At, Table};
use super::fault::Faults;
use super::quantity::{duration_seconds, memory_bytes};
use super::source::{Value, entries_to_document};
use crate::model::resources::Resources;

/// More nodes, tasks or cpus than any machine has.
const COUNT_LIMIT: i64 = 10_000_000;

/// Returns the resources that the map asks for.
pub(super) fn resources(at: &At<'_>, faults: &mut Faults) -> Option<Resources> {
    let mut table = at.table(faults)?;
    let resources = Resources {
        nodes: count(&mut table, "nodes", 1, faults),
        tasks: count(&mut table, "tasks", 1, faults),
        tasks_per_node: count(&mut table, "tasks_per_node", 1, faults),
        cpus_per_task: count(&mut table, "cpus", 1, faults),
        memory_per_node_bytes: quantity(&mut table, "memory", memory_bytes, faults),
        memory_per_cpu_bytes: quantity(&mut table, "memory_per_cpu", memory_bytes, faults),
        gpus: count(&mut table, "gpus", 0, faults),
        gpu_type: word(&mut table, "gpu_type", faults),
        walltime_seconds: quantity(&mut table, "time", duration_seconds, faults),
        partition: word(&mut table, "partition", faults),
        account: word(&mut table, "account", faults),
        qos: word(&mut table, "qos", faults),
        template: match table.take("template").map(|at| at.node) {
            Some(node) => match &node.value {
                Value::Map(entries) => entries_to_document(entries),
                _ => {
                    faults
                        .push(at.fault("`template` takes a map of keys of the scheduler's header template"));
                    bson::Document::new()
                }
            },
            None => bson::Document::new(),
        },
    };
    if resources.memory_per_node_bytes.is_some() && resources.memory_per_cpu_bytes.is_some() {
        faults.push(at.fault("`memory` and `memory_per_cpu` exclude each other").hint("keep one of them"));
    }
    table.finish(faults);
    Some(resources)
}

fn count(table: &mut Table<'_>, key: &'static str, least: i64, faults: &mut Faults) -> Option<u32> {
    let value = table.take(key)?.integer(least..=COUNT_LIMIT, faults)?;
    u32::try_from(value).ok()
}

fn word(table: &mut Table<'_>, key: &'static str, faults: &mut Faults) -> Option<String> {
    let at = table.take(key)?;
    let word = at.scalar_text(faults)?;
    // It becomes part of a line of a script's header.
    if word.is_empty() || word.chars().any(|c| c.is_control() || c.is_whitespace()) {
        faults.push(at.fault(format!("`{key}` has to be one word")));
        return None;
    }
    Some(word)
}

fn quantity(
    table: &mut Table<'_>,
    key: &'static str,
    read: fn(&str) -> Result<u64, String>,
    faults: &mut Faults,
) -> Option<u64> {
    let at = table.take(key)?;
    let text = at.scalar_text(faults)?;
    read(&text).map_err(|message| faults.push(at.fault(message))).ok()
}
