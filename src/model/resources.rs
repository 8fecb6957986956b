//! What a job asks of its worker's scheduler, in one vocabulary.

use bson::Document;

/// Resources in the words of the field; what is not set is left to the worker's scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    pub nodes: Option<u32>,
    /// Tasks (processes) in all.
    pub tasks: Option<u32>,
    pub tasks_per_node: Option<u32>,
    pub cpus_per_task: Option<u32>,
    /// Memory of each node, in bytes.
    pub memory_per_node_bytes: Option<u64>,
    /// Memory of each cpu, in bytes.
    pub memory_per_cpu_bytes: Option<u64>,
    pub gpus: Option<u32>,
    pub gpu_type: Option<String>,
    pub walltime_seconds: Option<u64>,
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    /// Raw keys of jobflow-remote's header templates (`ntasks`, `qverbatim`, …), which win over the fields above.
    pub template: Document,
}
