//! Serialized flows (jobflow 0.4, `core/flow.py`): what jobs they hold, in which order, and which needs which.
//!
//! A flow comes from a user (`json.dumps(flow, cls=MontyEncoder)`) or in the response of a job. It may be a `Flow`, a
//! `Job`, or a list of them; flows may hold flows. Only the jobs are stored: what remains of the flows around a job is
//! its `hosts`.
//!
//! Values are stored as they are written. A time stays `{"@module": "datetime", …}`, as jobflow-remote stores it
//! from a response; from its own `submit_flow` it stores a BSON date, which reaches the job as text. Decoders on the
//! worker make the time of it that the user wrote.

mod graph;
mod tree;

use std::collections::HashSet;

use bson::{Bson, Document};
use indexmap::IndexSet;

use self::graph::{Cycle, Graph, TooManyEdges};
use self::tree::{Branch, Leaf, Part};
use super::reference::references_in_order;
use crate::model::ids::JobKey;

/// A flow as it is added to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct SerializedFlow {
    pub uuid: String,
    pub name: String,
    pub metadata: Document,
    /// Its jobs and those of the flows in it, each after the jobs that it needs (jobflow's `iterflow`).
    pub members: Vec<FlowMember>,
    /// Uuids of the jobs that no other job of the flow needs.
    pub leaves: Vec<String>,
}

/// A job of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowMember {
    pub key: JobKey,
    /// Uuids of the jobs of the same flow that it needs: because it refers to their outputs, or because the flow is
    /// linear.
    pub parents: Vec<String>,
    /// The serialized job; has a name, metadata, a config and hosts.
    pub job: Document,
}

/// Whether jobs may refer to outputs of jobs outside their flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalReferences {
    Refused,
    Allowed,
}

/// Why a value is no flow that can be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error("{0} is no serialized Flow or Job of jobflow")]
    Neither(String),
    #[error("a job or a list stands where the worker should have made a Flow of it")]
    NoFlow,
    #[error(
        "{0} is a flow made by @flow, and its serialized form has no jobs: make a plain one of it first, in Python \
         `Flow(list(flow), output=flow.output, name=flow.name, uuid=flow.uuid)`"
    )]
    Decorated(String),
    #[error("{what} has no usable `{key}`")]
    Malformed { what: String, key: &'static str },
    #[error("{what} is part of the flow {host}: submit that one")]
    PartOfFlow { what: String, host: String },
    #[error("{what} stands in the flow {flow}, but says that it is part of {host}")]
    ElsewhereAtHome { what: String, flow: String, host: String },
    #[error("{0} has no jobs")]
    Empty(String),
    #[error("{0} is there twice")]
    Twice(String),
    #[error("the output of {flow} refers to {uuid}, which is no job of it")]
    OutputElsewhere { flow: String, uuid: String },
    #[error("jobs refer to outputs of jobs outside the flow: {}", listed(.0))]
    External(Vec<ExternalReference>),
    #[error("jobs need each other in a circle (these are in it or wait for it): {}", .0.join(", "))]
    Cycle(Vec<String>),
    #[error(
        "its jobs depend on each other in more ways than can be followed (linear flows of very wide flows)"
    )]
    TooManyEdges,
}

/// A reference that leads out of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalReference {
    /// Name and uuid of the job that refers.
    pub job: String,
    pub uuid: String,
}

/// The first ten, for a message.
fn listed(references: &[ExternalReference]) -> String {
    let one = |reference: &ExternalReference| format!("{} to {}", reference.job, reference.uuid);
    let mut shown: Vec<String> = references.iter().take(10).map(one).collect();
    if references.len() > shown.len() {
        shown.push(format!("and {} more", references.len() - shown.len()));
    }
    shown.join(", ")
}

/// Returns whether the value is, by its keys, a serialized `Flow` or `Job`, or a list of them.
pub fn is_serialized_flow(value: &Bson) -> bool {
    match value {
        Bson::Document(document) => {
            document.contains_key("@class")
                && (tree::is_flow(document) || tree::is_job(document) || tree::is_decorated_flow(document))
        }
        Bson::Array(items) => !items.is_empty() && items.iter().all(is_serialized_flow),
        _ => false,
    }
}

/// The keys of a serialized job that are its own; every other one asks for an additional store of that name.
const JOB_KEYS: [&str; 13] = [
    "function",
    "function_args",
    "function_kwargs",
    "output_schema",
    "uuid",
    "index",
    "name",
    "metadata",
    "config",
    "hosts",
    "metadata_updates",
    "config_updates",
    "name_updates",
];

/// Returns the names of the additional stores into which the job puts parts of its output.
pub fn additional_stores(job: &Document) -> impl Iterator<Item = &str> {
    job.keys().map(String::as_str).filter(|key| !key.starts_with('@') && !JOB_KEYS.contains(key))
}

impl SerializedFlow {
    /// Returns the flow that a user submits: `value` itself, or around a job or a list a flow named `Flow` with the
    /// uuid that `new_uuid` gives.
    ///
    /// Refused is what jobflow refuses: a part of another flow, one uuid twice, references to jobs outside (unless
    /// allowed), jobs that need each other, a flow without jobs.
    pub fn submitted(
        value: Bson,
        external: ExternalReferences,
        new_uuid: &mut dyn FnMut() -> String,
    ) -> Result<Self, FlowError> {
        let mut branch = match tree::read(value)? {
            tree::Read::Flow(branch) => *branch,
            tree::Read::Loose(parts) => Branch::around(parts, new_uuid()),
        };
        if let Some(host) = branch.hosts.first() {
            let (what, host) = (branch.describe(), host.clone());
            return Err(FlowError::PartOfFlow { what, host });
        }
        branch.settle_hosts()?;
        check_outputs(&branch)?;
        if external == ExternalReferences::Refused {
            check_references(&branch)?;
        }
        Self::build(branch)
    }

    /// Returns the flow of a response of a job with these `hosts`; its jobs may refer to any job.
    ///
    /// The worker has already put the hosts of the job behind those of the new jobs; where it did not, it is done.
    pub fn of_response(value: Bson, hosts: &[String]) -> Result<Self, FlowError> {
        let mut branch = match tree::read(value)? {
            tree::Read::Flow(branch) => *branch,
            // Jobflow makes a flow of every response.
            tree::Read::Loose(_) => return Err(FlowError::NoFlow),
        };
        branch.settle_hosts()?;
        if branch.hosts.last() != hosts.last() {
            branch.add_hosts(hosts);
        }
        Self::build(branch)
    }

    fn build(branch: Branch) -> Result<Self, FlowError> {
        let mut numbers = numbered(&branch)?;
        let job_count = numbers.len();
        let graph = graph_of(&branch, &mut numbers)?;
        let order = graph.order().map_err(|cycle| named(&cycle, &branch, &numbers))?;
        let uuid_of = |number: usize| numbers.get_index(number).cloned().unwrap_or_default();
        let inside: HashSet<usize> = (0..job_count).collect();
        let leaves = graph.leaves(&inside).into_iter().map(uuid_of).collect();
        let (uuid, name, metadata) = (branch.uuid.clone(), branch.name.clone(), branch.metadata.clone());
        let mut jobs: Vec<Option<Leaf>> = branch.into_leaves().into_iter().map(Some).collect();
        let member = |number: usize| {
            let leaf = jobs.get_mut(number)?.take()?;
            let parents = graph.parents(number).filter(|parent| *parent < job_count).map(uuid_of).collect();
            Some(FlowMember { key: leaf.key.clone(), parents, job: leaf.into_document() })
        };
        let members = order.into_iter().filter_map(member).collect();
        Ok(Self { uuid, name, metadata, members, leaves })
    }
}

/// Returns the uuids of the jobs, in the order of the text, or the uuid that is there twice.
fn numbered(branch: &Branch) -> Result<IndexSet<String>, FlowError> {
    let mut flows = HashSet::new();
    let mut jobs = IndexSet::new();
    branch.walk(&mut |part| {
        let uuid = part.uuid();
        let known = flows.contains(uuid) || jobs.contains(uuid);
        match part {
            tree::Seen::Flow(flow) => drop(flows.insert(flow.uuid.clone())),
            tree::Seen::Job(job) => drop(jobs.insert(job.key.uuid.clone())),
        }
        if known { Err(FlowError::Twice(part.describe())) } else { Ok(()) }
    })?;
    if jobs.is_empty() { Err(FlowError::Empty(branch.describe())) } else { Ok(jobs) }
}

/// Returns the graph of a flow, as jobflow composes it of the graphs of its parts. Jobs outside get new numbers.
///
/// Recursion is as deep as flows are nested, which the readers of JSON and YAML bound.
fn graph_of(branch: &Branch, numbers: &mut IndexSet<String>) -> Result<Graph, FlowError> {
    let too_many = |TooManyEdges| FlowError::TooManyEdges;
    if branch.parts.is_empty() {
        return Err(FlowError::Empty(branch.describe()));
    }
    let mut graph = Graph::default();
    let mut before: Option<(Graph, HashSet<usize>)> = None;
    let mut forced = Vec::new();
    for part in &branch.parts {
        let part_graph = match part {
            Part::Job(job) => graph_of_job(job, numbers)?,
            Part::Flow(flow) => graph_of(flow, numbers)?,
        };
        graph.compose(&part_graph).map_err(too_many)?;
        if branch.order == tree::Order::Linear {
            let inside = part.numbers(numbers);
            if let Some((graph_before, inside_before)) = &before {
                forced.push((graph_before.leaves(inside_before), part_graph.roots(&inside)));
            }
            before = Some((part_graph, inside));
        }
    }
    for (leaves, roots) in forced {
        for leaf in leaves {
            roots.iter().try_for_each(|root| graph.add_edge(leaf, *root)).map_err(too_many)?;
        }
    }
    Ok(graph)
}

fn graph_of_job(job: &Leaf, numbers: &mut IndexSet<String>) -> Result<Graph, FlowError> {
    let (own, _) = numbers.insert_full(job.key.uuid.clone());
    // Whatever the job's `resolve_references` says: jobflow waits for these jobs all the same.
    let arguments = ["function_args", "function_kwargs"].into_iter().filter_map(|key| job.document.get(key));
    let references: Vec<usize> = arguments
        .flat_map(references_in_order)
        .map(|uuid| numbers.insert_full(uuid).0)
        .collect::<IndexSet<_>>()
        .into_iter()
        .collect();
    Graph::of_job(own, &references).map_err(|TooManyEdges| FlowError::TooManyEdges)
}

/// Returns the error that names the jobs of a circle, at most ten.
fn named(cycle: &Cycle, branch: &Branch, numbers: &IndexSet<String>) -> FlowError {
    let uuids: HashSet<&String> = cycle.0.iter().filter_map(|number| numbers.get_index(*number)).collect();
    let leaves = branch.leaves();
    let members = leaves.iter().filter(|leaf| uuids.contains(&leaf.key.uuid));
    FlowError::Cycle(members.map(|leaf| leaf.describe()).take(10).collect())
}

/// The output of a flow refers to its own jobs alone.
fn check_outputs(branch: &Branch) -> Result<(), FlowError> {
    branch.walk(&mut |part| {
        let tree::Seen::Flow(flow) = part else { return Ok(()) };
        let own: HashSet<&str> = flow.leaves().into_iter().map(|leaf| leaf.key.uuid.as_str()).collect();
        match references_in_order(&flow.output).into_iter().find(|uuid| !own.contains(uuid.as_str())) {
            Some(uuid) => Err(FlowError::OutputElsewhere { flow: flow.describe(), uuid }),
            None => Ok(()),
        }
    })
}

/// Jobs refer to each other alone, in all that is in them.
fn check_references(branch: &Branch) -> Result<(), FlowError> {
    let leaves = branch.leaves();
    let own: HashSet<&str> = leaves.iter().map(|leaf| leaf.key.uuid.as_str()).collect();
    let external: Vec<ExternalReference> = leaves
        .iter()
        .flat_map(|leaf| {
            let all = leaf.document.values().flat_map(references_in_order);
            let outside: IndexSet<String> = all.filter(|uuid| !own.contains(uuid.as_str())).collect();
            outside.into_iter().map(|uuid| ExternalReference { job: leaf.describe(), uuid })
        })
        .collect();
    if external.is_empty() { Ok(()) } else { Err(FlowError::External(external)) }
}

#[cfg(test)]
mod tests;
