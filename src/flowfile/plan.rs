//! A checked flow file, every sweep written out.

use std::path::PathBuf;

use bson::{Bson, Document};

use super::source::Span;
use crate::jobflow::command::Retries;
use crate::jobflow::command::stored::Output;
use crate::jobflow::reference::Step;
use crate::model::flow::OnMissing;
use crate::model::resources::Resources;

/// A flow that can be compiled: see [`FlowPlan::compile`](Self::compile).
#[derive(Debug, Clone, PartialEq)]
pub struct FlowPlan {
    pub name: String,
    pub metadata: Document,
    /// In the order of the file.
    pub jobs: Vec<JobPlan>,
    /// The numbers of all jobs, parents before children.
    pub(super) order: Vec<usize>,
}

/// One job of the flow.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// Such as `scan:x=1` for a job of a sweep.
    pub name: String,
    /// Its key in the file; all jobs of a sweep have the same.
    pub group: String,
    pub span: Span,
    pub worker: Option<String>,
    pub priority: Option<i32>,
    pub resources: Option<Resources>,
    /// A name (a string) or `modules`, `export`, `pre_run` and `post_run` (a document).
    pub exec_config: Option<Bson>,
    pub on_missing: OnMissing,
    pub metadata: Document,
    /// Numbers of the jobs that have to be done first, ascending.
    pub parents: Vec<usize>,
    pub(super) program: ProgramPlan,
    pub(super) environment: Vec<(String, Template)>,
    pub(super) stdin: Option<StdinPlan>,
    pub(super) files: Vec<FilePlan>,
    pub outputs: Vec<Output>,
    pub retries: Retries,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ProgramPlan {
    Arguments(Vec<Template>),
    /// A text for `sh` and the variables that stand for values in it.
    Shell {
        text: String,
        variables: Vec<(String, Template)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum StdinPlan {
    Text(Template),
    File(String),
}

/// A file, or a folder of files, for the run directory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FilePlan {
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) executable: Option<bool>,
    pub(super) content: ContentPlan,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ContentPlan {
    Text(Template),
    Json(Template),
    /// A kept file of another job.
    Kept(Template),
    /// A file or folder below the flow file's folder.
    Local(PathBuf),
}

/// A value with references in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    Value(Bson),
    Reference {
        job: usize,
        steps: Vec<Step>,
    },
    /// Pieces of one text.
    Text(Vec<Self>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// A path that the flow file names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath {
    /// Relative to the folder of the flow file; without `..`.
    pub path: PathBuf,
    pub span: Span,
}

impl FlowPlan {
    /// Returns the files and folders that the caller has to read for [`FlowPlan::compile`], each once.
    pub fn local_files(&self) -> Vec<LocalPath> {
        let mut paths: Vec<LocalPath> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for file in self.jobs.iter().flat_map(|job| &job.files) {
            if let ContentPlan::Local(path) = &file.content
                && seen.insert(path)
            {
                paths.push(LocalPath { path: path.clone(), span: file.span });
            }
        }
        paths
    }

    /// Returns the jobs, parents before children.
    pub fn in_order(&self) -> impl Iterator<Item = &JobPlan> {
        self.order.iter().filter_map(|number| self.jobs.get(*number))
    }
}
