//! qtoolkit's `QResources` (`qtoolkit/core/data_objects.py`), as jobflow-remote stores it in a job.

use bson::{Bson, Document};

use super::{Resources, count, text, whole};

/// Returns whether the document is a serialized `QResources`.
pub(super) fn is_qresources(document: &Document) -> bool {
    document.get_str("@class").is_ok_and(|class| class == "QResources")
}

/// Returns the same request in our words; fields that have no word are kept as template keys under the template's name
/// where there is one, else under their own, for the scheduler to refuse.
pub(super) fn read(document: &Document) -> Result<Resources, Vec<String>> {
    let fields = Fields { document };
    let mut faults = Vec::new();
    let mut resources = Resources::default();
    let results = [
        fields.set_count("threads_per_process", &mut resources.cpus_per_task),
        fields.set_text("queue_name", &mut resources.partition),
        fields.set_text("account", &mut resources.account),
        fields.set_text("qos", &mut resources.qos),
        read_amounts(&fields, &mut resources),
        read_places(&fields, &mut resources),
    ];
    faults.extend(results.into_iter().filter_map(Result::err));
    read_template(&fields, &mut resources.template);
    if faults.is_empty() { Ok(resources) } else { Err(faults) }
}

struct Fields<'a> {
    document: &'a Document,
}

impl<'a> Fields<'a> {
    /// Returns a value that Python would call true; `QResources` treats the others as not given.
    fn get(&self, key: &str) -> Option<&'a Bson> {
        self.document.get(key).filter(|value| match value {
            Bson::Null | Bson::Boolean(false) => false,
            Bson::String(text) => !text.is_empty(),
            other => whole(other) != Some(0),
        })
    }

    fn set_count(&self, key: &str, place: &mut Option<u32>) -> Result<(), String> {
        *place = self.get(key).map(|value| count(key, value)).transpose()?;
        Ok(())
    }

    fn set_text(&self, key: &str, place: &mut Option<String>) -> Result<(), String> {
        *place = self.get(key).map(|value| text(key, value)).transpose()?;
        Ok(())
    }

    fn count(&self, key: &str) -> Result<Option<u32>, String> {
        self.get(key).map(|value| count(key, value)).transpose()
    }
}

fn read_amounts(fields: &Fields<'_>, resources: &mut Resources) -> Result<(), String> {
    let whole_of = |key: &str| {
        let fault = |value: &Bson| format!("{key} must be a whole number, not {value}");
        fields.get(key).map(|value| whole(value).ok_or_else(|| fault(value))).transpose()
    };
    resources.walltime_seconds = whole_of("time_limit")?;
    // Megabytes of 2^20 bytes, as Slurm counts them.
    resources.memory_per_cpu_bytes =
        whole_of("memory_per_thread")?.map(|megabytes| megabytes.saturating_mul(1024 * 1024));
    Ok(())
}

/// Sets nodes and tasks from the placement (`QResources.get_processes_distribution`).
fn read_places(fields: &Fields<'_>, resources: &mut Resources) -> Result<(), String> {
    let nodes = fields.count("nodes")?;
    let processes = fields.count("processes")?;
    let per_node = fields.count("processes_per_node")?;
    let placement = match fields.get("process_placement") {
        None => None,
        Some(Bson::String(text)) => Some(text.to_ascii_uppercase()),
        Some(Bson::Document(document)) => document.get_str("value").ok().map(str::to_ascii_uppercase),
        Some(other) => return Err(format!("process_placement must be text, not {other}")),
    };
    let (nodes, tasks, per_node) = match placement.as_deref() {
        Some("NO_CONSTRAINTS") => (nodes, Some(processes.unwrap_or(1)), None),
        Some("SCATTERED") => {
            let spread = processes.or(nodes).unwrap_or(1);
            (Some(spread), Some(spread), Some(1))
        }
        Some("SAME_NODE") => {
            let together = processes.or(per_node).unwrap_or(1);
            (Some(1), Some(together), Some(together))
        }
        Some("EVENLY_DISTRIBUTED") => (Some(nodes.unwrap_or(1)), None, Some(per_node.unwrap_or(1))),
        None => (nodes, processes, per_node),
        Some(other) => return Err(format!("process_placement {other:?} is unknown")),
    };
    resources.nodes = nodes;
    resources.tasks = tasks;
    resources.tasks_per_node = per_node;
    Ok(())
}

fn read_template(fields: &Fields<'_>, template: &mut Document) {
    if let Some(gpus) = fields.get("gpus_per_job") {
        template.insert(
            "gres",
            format!("gpu:{}", whole(gpus).map_or_else(|| gpus.to_string(), |n| n.to_string())),
        );
    }
    if let Some(address) = fields.get("email_address") {
        template.insert("mail_user", address);
        template.insert("mail_type", "ALL");
    }
    if let Some(jobs) = fields.get("njobs").and_then(whole).filter(|jobs| *jobs > 1) {
        template.insert("array", format!("1-{jobs}"));
    }
    for key in ["priority", "rerunnable", "project"] {
        if let Some(value) = fields.get(key) {
            template.insert(key, value);
        }
    }
    // Job name and output files are the layout's; the free options come last and win.
    if let Ok(options) = fields.document.get_document("scheduler_kwargs") {
        template.extend(options.clone());
    }
}
