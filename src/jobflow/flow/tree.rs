//! Flows in flows, as they are read, and which flows stand around each job.

use std::collections::HashSet;

use bson::{Bson, Document};
use indexmap::IndexSet;

use super::FlowError;
use crate::jobflow::document::default_config;
use crate::jobflow::reference::describe;
use crate::model::ids::JobKey;

/// What a value is.
pub(super) enum Read {
    Flow(Box<Branch>),
    /// A job, or a list of jobs and flows.
    Loose(Vec<Part>),
}

/// A flow.
pub(super) struct Branch {
    pub(super) uuid: String,
    pub(super) name: String,
    /// Uuids of the flows around it, innermost first.
    pub(super) hosts: Vec<String>,
    pub(super) order: Order,
    pub(super) metadata: Document,
    pub(super) output: Bson,
    pub(super) parts: Vec<Part>,
}

/// What stands in a flow.
pub(super) enum Part {
    Job(Leaf),
    Flow(Branch),
}

/// A job.
pub(super) struct Leaf {
    pub(super) key: JobKey,
    name: String,
    hosts: Vec<String>,
    pub(super) document: Document,
}

/// How a flow orders its parts beyond their references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Automatic,
    /// Each part after the one before.
    Linear,
}

/// What a walk comes by.
#[derive(Clone, Copy)]
pub(super) enum Seen<'a> {
    Flow(&'a Branch),
    Job(&'a Leaf),
}

/// Subclasses have names of their own; the keys are the same.
pub(super) fn is_flow(document: &Document) -> bool {
    matches!(document.get("jobs"), Some(Bson::Array(_)))
}

pub(super) fn is_job(document: &Document) -> bool {
    matches!(document.get("function"), Some(Bson::Document(_)))
}

/// A `@flow` that was called serializes as the function and what it was called with.
pub(super) fn is_decorated_flow(document: &Document) -> bool {
    document.get_str("@class").is_ok_and(|class| class == "DecoratedFlow") && !is_flow(document)
}

/// Returns the tree of the value. Recursion is as deep as the value, which the readers of JSON and YAML bound.
pub(super) fn read(value: Bson) -> Result<Read, FlowError> {
    match value {
        Bson::Array(items) => items.into_iter().map(read_part).collect::<Result<_, _>>().map(Read::Loose),
        other => Ok(match read_part(other)? {
            Part::Flow(branch) => Read::Flow(Box::new(branch)),
            job @ Part::Job(_) => Read::Loose(vec![job]),
        }),
    }
}

fn read_part(value: Bson) -> Result<Part, FlowError> {
    match value {
        Bson::Document(document) if is_flow(&document) => read_flow(document).map(Part::Flow),
        Bson::Document(document) if is_job(&document) => read_job(document).map(Part::Job),
        Bson::Document(document) if is_decorated_flow(&document) => {
            let function =
                document.get_document("fn").ok().and_then(|function| function.get_str("@callable").ok());
            Err(FlowError::Decorated(function.unwrap_or("the flow").to_owned()))
        }
        other => Err(FlowError::Neither(describe(&other))),
    }
}

fn read_flow(mut document: Document) -> Result<Branch, FlowError> {
    let name = document.get_str("name").unwrap_or("Flow").to_owned();
    let what = format!("the flow {name}");
    let uuid = read_uuid(&document, &what)?;
    let hosts = read_hosts(&document, &what)?;
    let metadata = read_metadata(&document, &what)?;
    let order = match document.get("order") {
        None | Some(Bson::Null) => "auto",
        Some(Bson::String(order)) => order,
        // An Enum as monty writes it.
        Some(Bson::Document(order)) => order.get_str("value").unwrap_or_default(),
        Some(_) => "",
    };
    let order = match order {
        "auto" => Order::Automatic,
        "linear" => Order::Linear,
        _ => return Err(FlowError::Malformed { what, key: "order" }),
    };
    let output = document.remove("output").unwrap_or(Bson::Null);
    let Some(Bson::Array(jobs)) = document.remove("jobs") else {
        return Err(FlowError::Malformed { what, key: "jobs" });
    };
    let parts = jobs.into_iter().map(read_part).collect::<Result<_, _>>()?;
    Ok(Branch { uuid, name, hosts, order, metadata, output, parts })
}

/// Reads a job and gives it what every reader of the database expects in one.
fn read_job(mut document: Document) -> Result<Leaf, FlowError> {
    let name = match document.get("name") {
        Some(Bson::String(name)) => name.clone(),
        _ => function_name(&document),
    };
    let what = format!("the job {name}");
    let uuid = read_uuid(&document, &what)?;
    let index = match document.get("index") {
        None | Some(Bson::Null) => Some(1),
        Some(Bson::Int32(index)) => Some(*index),
        Some(Bson::Int64(index)) => i32::try_from(*index).ok(),
        Some(_) => None,
    };
    let Some(index) = index.filter(|index| *index >= 1) else {
        return Err(FlowError::Malformed { what, key: "index" });
    };
    let hosts = read_hosts(&document, &what)?;
    let metadata = read_metadata(&document, &what)?;
    document.insert("index", index);
    document.insert("name", name.as_str());
    document.insert("metadata", metadata);
    match document.get("config") {
        Some(Bson::Document(_)) => {}
        None | Some(Bson::Null) => drop(document.insert("config", default_config())),
        Some(_) => return Err(FlowError::Malformed { what, key: "config" }),
    }
    Ok(Leaf { key: JobKey { uuid, index }, name, hosts, document })
}

/// Returns the name that jobflow gives a job: that of its maker, else of its function.
fn function_name(job: &Document) -> String {
    let function = job.get_document("function").ok();
    let maker = function.and_then(|function| function.get_document("@bound").ok());
    let name = maker.and_then(|maker| maker.get_str("name").ok());
    name.or_else(|| function?.get_str("@callable").ok()).unwrap_or("job").to_owned()
}

fn read_uuid(document: &Document, what: &str) -> Result<String, FlowError> {
    match document.get("uuid") {
        Some(Bson::String(uuid)) if !uuid.is_empty() => Ok(uuid.clone()),
        _ => Err(FlowError::Malformed { what: what.to_owned(), key: "uuid" }),
    }
}

fn read_hosts(document: &Document, what: &str) -> Result<Vec<String>, FlowError> {
    let malformed = || FlowError::Malformed { what: what.to_owned(), key: "hosts" };
    match document.get("hosts") {
        None | Some(Bson::Null) => Ok(Vec::new()),
        Some(Bson::Array(hosts)) => {
            let host = |host: &Bson| host.as_str().map(str::to_owned).ok_or_else(malformed);
            hosts.iter().map(host).collect()
        }
        Some(_) => Err(malformed()),
    }
}

fn read_metadata(document: &Document, what: &str) -> Result<Document, FlowError> {
    match document.get("metadata") {
        None | Some(Bson::Null) => Ok(Document::new()),
        Some(Bson::Document(metadata)) => Ok(metadata.clone()),
        Some(_) => Err(FlowError::Malformed { what: what.to_owned(), key: "metadata" }),
    }
}

impl Branch {
    /// Returns the flow that jobflow puts around loose jobs.
    pub(super) fn around(parts: Vec<Part>, uuid: String) -> Self {
        Self {
            uuid,
            name: "Flow".to_owned(),
            hosts: Vec::new(),
            order: Order::Automatic,
            metadata: Document::new(),
            output: Bson::Null,
            parts,
        }
    }

    pub(super) fn describe(&self) -> String {
        format!("the flow {} ({})", self.name, self.uuid)
    }

    /// Gives every part that names no flow around it those around it, inner flows first, as jobflow does when it
    /// makes the objects.
    pub(super) fn settle_hosts(&mut self) -> Result<(), FlowError> {
        for part in &mut self.parts {
            if let Part::Flow(flow) = part {
                flow.settle_hosts()?;
            }
            match part.hosts().first() {
                None => {
                    let hosts: Vec<String> = [&self.uuid].into_iter().chain(&self.hosts).cloned().collect();
                    part.add_hosts(&hosts);
                }
                Some(host) if *host == self.uuid => {}
                Some(host) => {
                    let (what, flow, host) = (part.seen().describe(), self.name.clone(), host.clone());
                    return Err(FlowError::ElsewhereAtHome { what, flow, host });
                }
            }
        }
        Ok(())
    }

    pub(super) fn add_hosts(&mut self, hosts: &[String]) {
        self.hosts.extend_from_slice(hosts);
        self.parts.iter_mut().for_each(|part| part.add_hosts(hosts));
    }

    /// Visits the flow, what is in it, and so on, in the order of the text.
    pub(super) fn walk<'a>(
        &'a self,
        visit: &mut dyn FnMut(Seen<'a>) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        visit(Seen::Flow(self))?;
        self.parts.iter().try_for_each(|part| match part {
            Part::Flow(flow) => flow.walk(visit),
            Part::Job(job) => visit(Seen::Job(job)),
        })
    }

    /// Returns all jobs, in the order of the text.
    pub(super) fn leaves(&self) -> Vec<&Leaf> {
        let leaves = self.parts.iter().flat_map(|part| match part {
            Part::Flow(flow) => flow.leaves(),
            Part::Job(job) => vec![job],
        });
        leaves.collect()
    }

    /// Returns all jobs, in the order of the text.
    pub(super) fn into_leaves(self) -> Vec<Leaf> {
        let leaves = self.parts.into_iter().flat_map(|part| match part {
            Part::Flow(flow) => flow.into_leaves(),
            Part::Job(job) => vec![job],
        });
        leaves.collect()
    }
}

impl Part {
    fn seen(&self) -> Seen<'_> {
        match self {
            Self::Flow(flow) => Seen::Flow(flow),
            Self::Job(job) => Seen::Job(job),
        }
    }

    fn hosts(&self) -> &[String] {
        match self {
            Self::Flow(flow) => &flow.hosts,
            Self::Job(job) => &job.hosts,
        }
    }

    fn add_hosts(&mut self, hosts: &[String]) {
        match self {
            Self::Flow(flow) => flow.add_hosts(hosts),
            Self::Job(job) => job.hosts.extend_from_slice(hosts),
        }
    }

    /// Returns the numbers of the jobs in it.
    pub(super) fn numbers(&self, numbers: &IndexSet<String>) -> HashSet<usize> {
        let leaves = match self {
            Self::Flow(flow) => flow.leaves(),
            Self::Job(job) => vec![job],
        };
        leaves.into_iter().filter_map(|leaf| numbers.get_index_of(&leaf.key.uuid)).collect()
    }
}

impl Leaf {
    pub(super) fn describe(&self) -> String {
        format!("the job {} ({})", self.name, self.key.uuid)
    }

    pub(super) fn into_document(mut self) -> Document {
        self.document.insert("hosts", self.hosts);
        self.document
    }
}

impl Seen<'_> {
    pub(super) fn uuid(&self) -> &str {
        match self {
            Self::Flow(flow) => &flow.uuid,
            Self::Job(job) => &job.key.uuid,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Flow(flow) => flow.describe(),
            Self::Job(job) => job.describe(),
        }
    }
}
