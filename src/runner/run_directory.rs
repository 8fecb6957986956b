//! From a resolved job to the files of its run directory.

use super::plan::{Plan, Worker};
use crate::jobflow::command::{CommandSpec, FileContent, Program as SpecProgram};
use crate::model::job::JobRecord;
use crate::model::resources::Resources;
use crate::store::OutputDocument;
use crate::worker::remote_store::{Encoding, RemoteStore};
use crate::worker::script::{self, Attempt, CommandPayload, Payload, Program, Setup};
use crate::worker::{input, layout};

/// Said before the job runs: afterwards its results would be lost.
const UNREADABLE_FORM: &str = "the results of Python jobs in the form of the project's remote_jobstore cannot be read \
                               back: write maggma_json, orjson or msgspec_json there, or leave it out";

/// A file for the run directory.
pub struct RunFile {
    pub path: String,
    pub content: RunContent,
    pub mode: u32,
}

/// Its content, or where the content is kept.
pub enum RunContent {
    Bytes(Vec<u8>),
    Stored { sha256: String },
}

/// A job ready for its worker.
pub struct Prepared<'a> {
    pub record: &'a JobRecord,
    /// The serialized job, its references replaced.
    pub resolved: &'a bson::Document,
    /// Outputs to which references were left in place, with all they refer to themselves.
    pub needed: &'a [&'a OutputDocument],
    /// Names of the additional stores of its job store.
    pub additional_stores: &'a [String],
}

/// Returns the files of the run directory of the attempt in hand, or why they can never be made.
pub fn files(plan: &Plan, worker: &Worker, prepared: &Prepared<'_>) -> Result<Vec<RunFile>, String> {
    let (job, resolved) = (prepared.record, prepared.resolved);
    let run_dir = layout::run_directory(&worker.work_dir, &job.key).map_err(|error| error.to_string())?;
    let spec = CommandSpec::from_job(resolved).map_err(|error| error.to_string())?;
    let asked = job.resources.as_ref().filter(|resources| !resources.is_empty()).unwrap_or(&worker.resources);
    let resources = Resources::from_document(asked).map_err(|faults| faults.join("; "))?;
    let setup = setup(plan, worker, job)?;
    let mut files = Vec::new();
    let payload = match spec {
        None => {
            if plan.remote_store.encoding() != Encoding::Json {
                return Err(UNREADABLE_FORM.to_owned());
            }
            files.extend(needed_outputs(&plan.remote_store, prepared.needed)?);
            Payload::Python
        }
        Some(spec) => {
            files.extend(spec.files.iter().map(staged_file));
            Payload::Command(payload(spec))
        }
    };
    let token = job.token();
    let attempt = Attempt {
        token: &token,
        name: job.name(),
        run_dir: &run_dir,
        work_dir: &worker.work_dir,
        resources: &resources,
        setup: &setup,
        payload: &payload,
    };
    let scripts = script::build(&attempt, worker.scheduler.as_ref()).map_err(|error| error.to_string())?;
    files.extend(scripts.into_iter().map(|file| RunFile {
        path: file.path.to_owned(),
        content: RunContent::Bytes(file.content.into_bytes()),
        mode: file.mode,
    }));
    let document = input::encode(&input::Input {
        record: job,
        job: resolved,
        run_dir: &run_dir,
        additional_stores: prepared.additional_stores,
        remote_store: &plan.remote_store,
    });
    files.push(RunFile { path: layout::INPUT.to_owned(), content: RunContent::Bytes(document), mode: 0o600 });
    Ok(files)
}

/// Returns the file in which the job finds the outputs it still refers to: the one that it writes its own into.
fn needed_outputs(store: &RemoteStore, needed: &[&OutputDocument]) -> Result<Option<RunFile>, String> {
    if needed.is_empty() {
        return Ok(None);
    }
    if store.is_packed() {
        return Err(
            "it refers to a property of a Python object, which can be resolved on the worker only with a \
                    remote_jobstore of unpacked JSON"
                .to_owned(),
        );
    }
    let documents: Vec<&bson::Document> = needed.iter().map(|output| &output.document).collect();
    let content = RunContent::Bytes(input::encode_array(&documents));
    Ok(Some(RunFile { path: store.output_file(), content, mode: 0o600 }))
}

fn staged_file(file: &crate::jobflow::command::StagedFile) -> RunFile {
    let content = match &file.content {
        FileContent::Bytes(bytes) => RunContent::Bytes(bytes.clone()),
        FileContent::Stored { sha256, .. } => RunContent::Stored { sha256: sha256.clone() },
    };
    RunFile { path: file.path.clone(), content, mode: file.mode }
}

fn payload(spec: CommandSpec) -> CommandPayload {
    let program = match spec.program {
        SpecProgram::Arguments(arguments) => Program::Arguments(arguments),
        SpecProgram::Shell(text) => Program::Shell(text),
    };
    CommandPayload { program, environment: spec.environment, stdin: spec.stdin }
}

/// Returns the worker's set-up followed by what the job's `exec_config` adds.
fn setup(plan: &Plan, worker: &Worker, job: &JobRecord) -> Result<Setup, String> {
    let added = match &job.exec_config {
        None | Some(bson::Bson::Null) => return Ok(worker.setup.clone()),
        Some(bson::Bson::String(name)) => {
            let known = plan.exec_configs.get(name).cloned();
            known.ok_or_else(|| format!("the project has no exec_config `{name}`"))?
        }
        Some(bson::Bson::Document(document)) => written_out(document)?,
        Some(other) => return Err(format!("its exec_config is {other}, neither a name nor a document")),
    };
    let worker = worker.setup.clone();
    Ok(Setup {
        pre_run: joined(&worker.pre_run, &added.pre_run),
        post_run: joined(&worker.post_run, &added.post_run),
        modules: [worker.modules, added.modules].concat(),
        export: [worker.export, added.export].concat(),
        ..worker
    })
}

fn joined(first: &str, second: &str) -> String {
    if first.is_empty() || second.is_empty() {
        format!("{first}{second}")
    } else {
        format!("{first}\n{second}")
    }
}

/// Reads an `exec_config` that stands in the job document itself: `modules`, `export`, `pre_run`, `post_run`.
fn written_out(document: &bson::Document) -> Result<Setup, String> {
    let text = |key: &str| document.get_str(key).unwrap_or_default().to_owned();
    let modules = document.get_array("modules").ok().into_iter().flatten();
    let export = document.get_document("export").ok().into_iter().flatten();
    let value = |(name, value): (&String, &bson::Bson)| match value {
        bson::Bson::String(text) => Ok((name.clone(), text.clone())),
        other => Err(format!("the variable {name} of its exec_config is {other}, not a text")),
    };
    Ok(Setup {
        pre_run: text("pre_run"),
        post_run: text("post_run"),
        modules: modules.filter_map(bson::Bson::as_str).map(str::to_owned).collect(),
        export: export.map(value).collect::<Result<_, _>>()?,
        ..Setup::default()
    })
}
