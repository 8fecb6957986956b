//! `#SBATCH` lines from resources: in the order and with the options of jobflow-remote's template (qtoolkit,
//! `io/slurm.py`), so that the same request gives the same directives.

use std::collections::HashMap;

use bson::Bson;

use super::super::{HeaderJob, Unsupported};
use super::NAME;
use crate::model::resources::Resources;

/// Keys of the template and their options, in the template's order.
const OPTIONS: &[(&str, &str)] = &[
    ("partition", "partition"),
    ("job_name", "job-name"),
    ("nodes", "nodes"),
    ("ntasks", "ntasks"),
    ("ntasks_per_node", "ntasks-per-node"),
    ("cpus_per_task", "cpus-per-task"),
    ("mem", "mem"),
    ("mem_per_cpu", "mem-per-cpu"),
    ("hint", "hint"),
    ("time", "time"),
    ("exclude_nodes", "exclude"),
    ("account", "account"),
    ("mail_user", "mail-user"),
    ("mail_type", "mail-type"),
    ("constraint", "constraint"),
    ("gres", "gres"),
    ("requeue", "requeue"),
    ("nodelist", "nodelist"),
    ("propagate", "propagate"),
    ("licenses", "licenses"),
    ("qout_path", "output"),
    ("qerr_path", "error"),
    ("qos", "qos"),
    ("priority", "priority"),
    ("array", "array"),
    ("exclusive", "exclusive"),
    ("gpus", "gpus"),
    ("gpus_per_node", "gpus-per-node"),
];
const VERBATIM: &str = "qverbatim";
/// Longest name that is kept; Slurm itself has no limit, but listings do.
const NAME_LIMIT: usize = 200;

/// Returns the directives, or every field that cannot be one.
pub(super) fn header(job: &HeaderJob<'_>) -> Result<String, Unsupported> {
    let resources = job.resources;
    let mut fields = refused(resources);
    let mut values = words(resources);
    let verbatim = resources.template.get_str(VERBATIM).unwrap_or_default();
    let known = resources.template.iter().filter(|(key, _)| OPTIONS.iter().any(|(option, _)| option == key));
    for (key, value) in known {
        match template_value(value) {
            Some(value) => values.insert(key, value),
            None => {
                fields.push(format!("{key}: {value}"));
                None
            }
        };
    }
    values.insert("job_name", Value::Text(job_name(job.name)));
    // In file names `%` begins a pattern.
    let in_run_dir = |name: &str| Value::Text(format!("{}/{name}", job.run_dir).replace('%', "%%"));
    values.insert("qout_path", in_run_dir("queue.out"));
    values.insert("qerr_path", in_run_dir("queue.err"));
    let mut text = String::new();
    for (key, option) in OPTIONS {
        match values.get(key) {
            Some(Value::Text(value)) if value.contains(['\n', '\0']) => {
                fields.push(format!("{key}: line breaks"));
            }
            Some(value) => text.push_str(&value.line(option)),
            None => {}
        }
    }
    text.extend(verbatim.lines().map(|line| format!("{line}\n")));
    if fields.is_empty() { Ok(text) } else { Err(Unsupported { scheduler: NAME, fields }) }
}

enum Value {
    Text(String),
    /// An option without a value, or with `no-` before its name.
    Switch(bool),
}

impl Value {
    fn line(&self, option: &str) -> String {
        match self {
            Self::Text(value) => format!("#SBATCH --{option}={}\n", directive_word(value)),
            Self::Switch(true) => format!("#SBATCH --{option}\n"),
            Self::Switch(false) if option == "requeue" => "#SBATCH --no-requeue\n".to_owned(),
            Self::Switch(false) => String::new(),
        }
    }
}

/// Returns the value as sbatch reads one back from a `#SBATCH` line, where quotes, backslashes and `#` mean something.
fn directive_word(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,+@%^[]()*&|!~;<>".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns the name with what listings and parsers trip over replaced by `_`.
fn job_name(name: &str) -> String {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'\\`$|#".contains(c);
    let plain: String = name.chars().take(NAME_LIMIT).map(|c| if odd(c) { '_' } else { c }).collect();
    if plain.is_empty() { "jobferry".to_owned() } else { plain }
}

fn refused(resources: &Resources) -> Vec<String> {
    let known = |key: &str| key == VERBATIM || OPTIONS.iter().any(|(option, _)| *option == key);
    let mut fields: Vec<String> =
        resources.template.keys().filter(|key| !known(key)).map(|key| unknown(key)).collect();
    if resources.gpu_type.is_some() && resources.gpus.is_none_or(|gpus| gpus == 0) {
        fields.push("gpu_type without gpus".to_owned());
    }
    fields
}

fn unknown(key: &str) -> String {
    const OURS: &[&str] =
        &["tasks", "tasks_per_node", "cpus", "memory", "memory_per_cpu", "gpu_type", VERBATIM];
    let names = OPTIONS.iter().map(|(option, _)| *option).chain(OURS.iter().copied());
    let close = names.map(|name| (strsim::jaro_winkler(key, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match close {
        Some((likeness, name)) if likeness > 0.85 => format!("{key} (did you mean {name}?)"),
        _ => key.to_owned(),
    }
}

fn words(resources: &Resources) -> HashMap<&str, Value> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let gpus = resources.gpus.filter(|gpus| *gpus > 0).map(|gpus| match &resources.gpu_type {
        Some(kind) => format!("{kind}:{gpus}"),
        None => gpus.to_string(),
    });
    let words = [
        ("partition", resources.partition.clone()),
        ("nodes", number(resources.nodes)),
        ("ntasks", number(resources.tasks)),
        ("ntasks_per_node", number(resources.tasks_per_node)),
        ("cpus_per_task", number(resources.cpus_per_task)),
        ("mem", resources.memory_per_node_bytes.map(memory)),
        ("mem_per_cpu", resources.memory_per_cpu_bytes.map(memory)),
        ("time", resources.walltime_seconds.map(time)),
        ("account", resources.account.clone()),
        ("qos", resources.qos.clone()),
        ("gpus", gpus),
    ];
    words.into_iter().filter_map(|(key, value)| Some((key, Value::Text(value?)))).collect()
}

/// Returns bytes in whole units of 2^20 or 2^30 bytes, never less than asked for.
fn memory(bytes: u64) -> String {
    let megabytes = bytes.div_ceil(1 << 20);
    if megabytes.is_multiple_of(1024) { format!("{}G", megabytes / 1024) } else { format!("{megabytes}M") }
}

/// Returns `D-H:M:S`, the form that `QResources` gives too.
fn time(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    format!("{days}-{hours}:{}:{}", seconds / 60 % 60, seconds % 60)
}

fn template_value(value: &Bson) -> Option<Value> {
    match value {
        Bson::String(text) => Some(Value::Text(text.trim().to_owned())),
        Bson::Int32(number) => Some(Value::Text(number.to_string())),
        Bson::Int64(number) => Some(Value::Text(number.to_string())),
        Bson::Double(number) => Some(Value::Text(number.to_string())),
        Bson::Boolean(on) => Some(Value::Switch(*on)),
        _ => None,
    }
}
