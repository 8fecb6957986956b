//! From a plan to the documents of the queue.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use bson::{Bson, Document, doc};

use super::fault::{Fault, Faults};
use super::plan::{ContentPlan, FilePlan, FlowPlan, JobPlan, ProgramPlan, StdinPlan, Template};
use super::source::Span;
use crate::jobflow::command::stored::{StoredCommand, StoredContent, StoredFile, StoredProgram, StoredStdin};
use crate::jobflow::command::{KeptFile, Retries, is_variable_name, path_fault};
use crate::jobflow::document::CommandJob;
use crate::jobflow::reference::Reference;
use crate::jobflow::text::TEXT_KEY;
use crate::model::Timestamp;
use crate::model::flow::OnMissing;
use crate::model::ids::JobKey;
use crate::model::job::{NewFlow, NewJob};
use crate::model::resources::Resources;

/// What the caller found at a [`super::plan::LocalPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalContent {
    File(LocalFile),
    /// All files below it, by their paths relative to it.
    Folder(Vec<(String, LocalFile)>),
}

/// A file of the caller's machine, stored under its hash before the flow is inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// In lower-case hexadecimal.
    pub sha256: String,
    pub size_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
}

/// What jobs get that the flow file says nothing about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    pub worker: Option<String>,
    pub resources: Option<Resources>,
    pub priority: i32,
}

impl FlowPlan {
    /// Returns the flow as it is inserted, jobs in topological order, or everything that keeps it from being made.
    ///
    /// `ids` makes a new uuid at each call. `local` has what was found at each of [`FlowPlan::local_files`].
    pub fn compile(
        &self,
        ids: &mut dyn FnMut() -> String,
        local: &HashMap<PathBuf, LocalContent>,
        defaults: &Defaults,
        created_on: Timestamp,
    ) -> Result<NewFlow, Vec<Fault>> {
        let uuid = ids();
        let mut uuids = vec![String::new(); self.jobs.len()];
        for number in &self.order {
            if let Some(place) = uuids.get_mut(*number) {
                *place = ids();
            }
        }
        let mut compiler =
            Compiler { uuids: &uuids, flow: &uuid, local, defaults, faults: Faults::default() };
        let jobs = self
            .order
            .iter()
            .filter_map(|number| compiler.job(self.jobs.get(*number)?, uuids.get(*number)?))
            .collect();
        if !compiler.faults.is_empty() {
            return Err(compiler.faults.into_sorted());
        }
        Ok(NewFlow {
            uuid,
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            jobstore: None,
            jobs,
            created_on,
        })
    }
}

/// Returns the plan of one command, as it is: nothing in it is a reference.
pub fn single_command(
    arguments: &[String],
    environment: &[(String, String)],
    resources: Option<Resources>,
) -> Result<FlowPlan, Fault> {
    let nowhere = |message: &str| Fault::at(Span::default(), "", message);
    let program = arguments.first().filter(|program| !program.is_empty());
    let Some(program) = program else {
        return Err(nowhere("the command is empty").hint("write the program and its arguments after `--`"));
    };
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(nowhere("an argument cannot contain a NUL byte"));
    }
    if let Some((name, _)) = environment.iter().find(|(name, _)| !is_variable_name(name)) {
        let fault = nowhere(&format!("`{}` is no name of an environment variable", name.escape_debug()));
        return Err(fault.hint("use letters, digits and `_`, no digit first"));
    }
    let base = program.rsplit('/').find(|part| !part.is_empty()).unwrap_or(program);
    let name: String = base.chars().filter(|c| !c.is_control()).take(64).collect();
    let template = |text: &String| Template::Value(Bson::String(text.clone()));
    let job = JobPlan {
        name: name.clone(),
        group: name.clone(),
        span: Span::default(),
        worker: None,
        priority: None,
        resources,
        exec_config: None,
        on_missing: OnMissing::Error,
        metadata: Document::new(),
        parents: Vec::new(),
        program: ProgramPlan::Arguments(arguments.iter().map(template).collect()),
        environment: environment.iter().map(|(name, value)| (name.clone(), template(value))).collect(),
        stdin: None,
        files: Vec::new(),
        outputs: Vec::new(),
        retries: Retries::default(),
    };
    Ok(FlowPlan { name, metadata: Document::new(), jobs: vec![job], order: vec![0] })
}

struct Compiler<'a> {
    /// Of the jobs, by their numbers.
    uuids: &'a [String],
    flow: &'a str,
    local: &'a HashMap<PathBuf, LocalContent>,
    defaults: &'a Defaults,
    faults: Faults,
}

impl Compiler<'_> {
    fn job(&mut self, plan: &JobPlan, uuid: &str) -> Option<NewJob> {
        let path = format!("jobs.{}", plan.group);
        let worker = plan.worker.clone().or_else(|| self.defaults.worker.clone());
        if worker.is_none() {
            let fault = Fault::at(plan.span, path.clone(), format!("the job `{}` has no worker", plan.group));
            self.faults.push(fault.hint("write `worker:` under `defaults`, or give --worker"));
        }
        let specification = self.command(plan, &path).to_document();
        let key = JobKey::new(uuid, 1);
        let job = CommandJob {
            key: key.clone(),
            name: plan.name.clone(),
            metadata: plan.metadata.clone(),
            on_missing: plan.on_missing,
            hosts: vec![self.flow.to_owned()],
            specification,
        };
        let resources = plan.resources.as_ref().or(self.defaults.resources.as_ref());
        Some(NewJob {
            key,
            worker: worker?,
            priority: plan.priority.unwrap_or(self.defaults.priority),
            parents: plan.parents.iter().filter_map(|number| self.uuids.get(*number).cloned()).collect(),
            exec_config: plan.exec_config.clone(),
            resources: resources.map(Resources::to_document),
            job: job.into_document(),
        })
    }

    fn command(&mut self, plan: &JobPlan, path: &str) -> StoredCommand {
        let values = |templates: &[Template]| templates.iter().map(|template| self.value(template)).collect();
        let named = |(name, template): &(String, Template)| (name.clone(), self.value(template));
        let program = match &plan.program {
            ProgramPlan::Arguments(arguments) => StoredProgram::Arguments(values(arguments)),
            ProgramPlan::Shell { text, variables } => {
                StoredProgram::Shell { text: text.clone(), variables: variables.iter().map(named).collect() }
            }
        };
        let environment = plan.environment.iter().map(named).collect();
        let stdin = plan.stdin.as_ref().map(|stdin| match stdin {
            StdinPlan::Text(template) => StoredStdin::Text(self.value(template)),
            StdinPlan::File(path) => StoredStdin::File(path.clone()),
        });
        let files = plan.files.iter().flat_map(|file| self.files(file, path)).collect();
        let command = StoredCommand {
            program,
            environment,
            stdin,
            files,
            outputs: plan.outputs.clone(),
            retries: plan.retries,
        };
        self.check_unique(&command.files, plan, path);
        command
    }

    /// A folder may bring a file that is given already.
    fn check_unique(&mut self, files: &[StoredFile], plan: &JobPlan, path: &str) {
        let mut seen = BTreeSet::new();
        for file in files {
            if !seen.insert(file.path.as_str()) {
                let message = format!("two files of the job have the path `{}`", file.path);
                self.faults.push(Fault::at(plan.span, path, message));
            }
        }
    }

    fn files(&mut self, file: &FilePlan, job: &str) -> Vec<StoredFile> {
        let mode = if file.executable == Some(true) { 0o755 } else { 0o644 };
        let content = match &file.content {
            ContentPlan::Text(template) => StoredContent::Text(self.value(template)),
            ContentPlan::Json(template) => StoredContent::Json(self.value(template)),
            ContentPlan::Kept(template) => StoredContent::File(self.value(template)),
            ContentPlan::Local(path) => return self.local_files(file, path, job),
        };
        vec![StoredFile { path: file.path.clone(), mode, content }]
    }

    fn local_files(&mut self, file: &FilePlan, path: &PathBuf, job: &str) -> Vec<StoredFile> {
        match self.local.get(path) {
            Some(LocalContent::File(local)) => vec![stored_file(file.path.clone(), file, local)],
            Some(LocalContent::Folder(files)) => {
                let mut stored = Vec::new();
                for (inner, local) in files {
                    let target = format!("{}/{inner}", file.path);
                    match path_fault(&target) {
                        None => stored.push(stored_file(target, file, local)),
                        Some(why) => {
                            let message = format!("the path `{}` {why}", target.escape_debug());
                            self.faults.push(Fault::at(file.span, job, message));
                        }
                    }
                }
                stored
            }
            None => {
                let message = format!("the file {} cannot be read", path.display());
                self.faults.push(Fault::at(file.span, job, message));
                Vec::new()
            }
        }
    }

    /// Recursion is bounded by the depth of a source.
    fn value(&self, template: &Template) -> Bson {
        match template {
            Template::Value(value) => value.clone(),
            Template::Reference { job, steps } => {
                let uuid = self.uuids.get(*job).cloned().unwrap_or_default();
                Bson::Document(Reference { uuid, steps: steps.clone() }.to_document())
            }
            Template::Text(parts) => {
                let parts: Vec<Bson> = parts.iter().map(|part| self.value(part)).collect();
                Bson::Document(doc! { TEXT_KEY: parts })
            }
            Template::List(items) => Bson::Array(items.iter().map(|item| self.value(item)).collect()),
            Template::Map(entries) => {
                Bson::Document(entries.iter().map(|(key, value)| (key.clone(), self.value(value))).collect())
            }
        }
    }
}

fn stored_file(path: String, file: &FilePlan, local: &LocalFile) -> StoredFile {
    let executable = file.executable.unwrap_or(local.mode & 0o111 != 0);
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let kept = KeptFile { name, sha256: local.sha256.clone(), size_bytes: local.size_bytes };
    let mode = if executable { 0o755 } else { 0o644 };
    StoredFile { path, mode, content: StoredContent::File(Bson::Document(kept.to_document())) }
}
