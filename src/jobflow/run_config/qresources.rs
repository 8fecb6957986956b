//! Resources that jobflow-remote takes for a `QResources` (qtoolkit 0.1, `core/data_objects.py`).

use bson::{Bson, Document, doc};

use super::is_true;

const MODULE: &str = "qtoolkit.core.data_objects";
/// The version of qtoolkit whose form this is. Decoders drop it.
const VERSION: &str = "0.1.7";

const FIELDS: [&str; 20] = [
    "queue_name",
    "job_name",
    "memory_per_thread",
    "nodes",
    "processes",
    "processes_per_node",
    "threads_per_process",
    "gpus_per_job",
    "time_limit",
    "account",
    "qos",
    "priority",
    "output_filepath",
    "error_filepath",
    "process_placement",
    "email_address",
    "rerunnable",
    "project",
    "njobs",
    "scheduler_kwargs",
];

/// Fields that may be set without saying how processes are placed.
const WITHOUT_PLACEMENT: [&str; 3] = ["job_name", "output_filepath", "error_filepath"];

/// Returns the resources as jobflow-remote stores them: a map that could be the arguments of a `QResources` is one,
/// the empty map too; every other map stays as it is, for the template of the scheduler.
pub fn stored_resources(resources: &Document) -> Document {
    let is_serialized = resources.get_str("@class").is_ok_and(|class| class == "QResources");
    let is_field = |key: &String| FIELDS.contains(&key.as_str()) || (is_serialized && key.starts_with('@'));
    if !resources.keys().all(is_field) {
        return resources.clone();
    }
    let Some(placement) = placement(resources) else { return resources.clone() };
    let version = resources.get("@version").cloned().unwrap_or_else(|| VERSION.into());
    let mut stored = doc! { "@module": MODULE, "@class": "QResources", "@version": version };
    for field in FIELDS {
        let value = match (field, resources.get(field)) {
            ("process_placement", _) => placement.clone(),
            ("scheduler_kwargs", value) => {
                value.filter(|value| is_true(value)).cloned().unwrap_or_else(|| Document::new().into())
            }
            (_, value) => value.cloned().unwrap_or(Bson::Null),
        };
        stored.insert(field, value);
    }
    stored
}

/// Returns the value of `process_placement`, or nothing where a `QResources` cannot be made.
fn placement(resources: &Document) -> Option<Bson> {
    let given = |field: &str| resources.get(field).is_some_and(is_true);
    if let Some(placement) = resources.get("process_placement").filter(|value| **value != Bson::Null) {
        return Some(placement.clone());
    }
    let counts = (given("nodes"), given("processes"), given("processes_per_node"));
    let chosen = match counts {
        (false, true, false) => "NO_CONSTRAINTS",
        (true, false, true) => "EVENLY_DISTRIBUTED",
        _ if FIELDS.into_iter().any(|field| given(field) && !WITHOUT_PLACEMENT.contains(&field)) => {
            return None;
        }
        _ => return Some(Bson::Null),
    };
    let placement = doc! {
        "@module": MODULE, "@class": "ProcessPlacement", "@version": VERSION, "value": chosen,
    };
    Some(placement.into())
}
