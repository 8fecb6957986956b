//! A serialized jobflow `Job`, as jobflow 0.4 writes it.

use bson::{Bson, Document, doc};

use crate::model::flow::OnMissing;
use crate::model::ids::JobKey;

/// The version of jobflow whose form these documents have. Decoders drop it.
const JOBFLOW_VERSION: &str = "0.4.0";

/// What a command job's document is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandJob {
    pub key: JobKey,
    pub name: String,
    pub metadata: Document,
    pub on_missing: OnMissing,
    /// Uuids of the flows around it, innermost first.
    pub hosts: Vec<String>,
    /// As [`super::command::stored`] makes it.
    pub specification: Document,
}

impl CommandJob {
    /// Returns the serialized `Job`. Its function is Python's `dict`, so that every Python tool decodes it without a
    /// package of ours, and running it there does no harm: it returns the specification.
    pub fn into_document(self) -> Document {
        doc! {
            "@module": "jobflow.core.job",
            "@class": "Job",
            "@version": JOBFLOW_VERSION,
            "function": { "@module": "builtins", "@callable": "dict", "@bound": Bson::Null },
            "function_args": [],
            "function_kwargs": { super::command::KEYWORD: self.specification },
            "output_schema": Bson::Null,
            "uuid": self.key.uuid,
            "index": self.key.index,
            "name": self.name,
            "metadata": self.metadata,
            "config": config(self.on_missing),
            "hosts": self.hosts,
            "metadata_updates": [],
            "config_updates": [],
            "name_updates": [],
        }
    }
}

/// Returns the serialized `JobConfig` that jobflow gives a job without one.
pub fn default_config() -> Document {
    config(OnMissing::Error)
}

fn config(on_missing: OnMissing) -> Document {
    doc! {
        "@module": "jobflow.core.job",
        "@class": "JobConfig",
        "@version": JOBFLOW_VERSION,
        "resolve_references": true,
        "on_missing_references": on_missing_text(on_missing),
        "manager_config": {},
        "expose_store": false,
        "pass_manager_config": true,
        "response_manager_config": {},
    }
}

fn on_missing_text(on_missing: OnMissing) -> &'static str {
    match on_missing {
        OnMissing::Error => "error",
        OnMissing::None => "none",
        OnMissing::Pass => "pass",
    }
}
