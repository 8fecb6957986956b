//! `jf submit --dry-run`: the jobs, their dependencies and their scripts, as they would be.

use bson::{Bson, Document};
use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::output::json::{document, plain};
use crate::cli::output::{Block, Table, View};
use crate::config::Project;
use crate::jobflow::command::KeptFile;
use crate::model::Timestamp;
use crate::model::job::{Ferry, JobRecord, NewFlow, NewJob, Remote};
use crate::runner::connect;
use crate::runner::plan::Plan;
use crate::runner::run_directory::{self, Prepared};
use crate::worker::layout;

/// What would be submitted.
pub(super) struct Preview {
    flow: NewFlow,
    jobs: Vec<PreviewJob>,
}

struct PreviewJob {
    uuid: String,
    name: String,
    worker: String,
    /// Names of the jobs it waits for.
    after: Vec<String>,
    resources: Option<Document>,
    priority: i32,
    exec_config: Option<Bson>,
    /// Path in the run directory, and content.
    files: Vec<(String, String)>,
}

impl Preview {
    /// Returns the preview, or why a script cannot be made.
    pub(super) fn of(flow: NewFlow, project: &Project) -> Result<Self, CliError> {
        let plan = connect::plan(project);
        let jobs = flow.jobs.iter().map(|job| preview(job, &flow, &plan)).collect::<Result<_, _>>()?;
        Ok(Self { flow, jobs })
    }
}

fn preview(job: &NewJob, flow: &NewFlow, plan: &Plan) -> Result<PreviewJob, CliError> {
    let Some((_, worker)) = plan.worker(&job.worker) else {
        return Err(CliError::input(format!("the project has no worker {}", job.worker))
            .hint(format!("it has: {}", plan.worker_names().join(", "))));
    };
    let record = record(job, flow.created_on);
    let resolved = shown_references(&job.job, flow);
    let prepared = Prepared { record: &record, resolved: &resolved, needed: &[], additional_stores: &[] };
    let made = run_directory::files(plan, worker, &prepared);
    let files = made.map_err(|why| CliError::input(format!("job {}: {why}", record.name())))?;
    let shown = files.into_iter().filter_map(|file| match file.content {
        run_directory::RunContent::Bytes(bytes) => Some((file.path, String::from_utf8(bytes).ok()?)),
        run_directory::RunContent::Stored { .. } => None,
    });
    Ok(PreviewJob {
        uuid: job.key.uuid.clone(),
        name: record.name().to_owned(),
        worker: job.worker.clone(),
        after: job.parents.iter().map(|uuid| name_of(uuid, flow)).collect(),
        resources: job.resources.clone(),
        priority: job.priority,
        exec_config: job.exec_config.clone(),
        files: shown.filter(|(path, _)| is_script(path)).collect(),
    })
}

/// Returns the record that the job would have once it is checked out for the first time.
fn record(job: &NewJob, at: Timestamp) -> JobRecord {
    JobRecord {
        key: job.key.clone(),
        db_id: String::new(),
        worker: job.worker.clone(),
        state: job.first_state(),
        remote: Remote::default(),
        parents: job.parents.clone(),
        previous_state: None,
        error: None,
        lock: None,
        run_dir: None,
        start_time: None,
        end_time: None,
        created_on: at,
        updated_on: at,
        priority: job.priority,
        exec_config: job.exec_config.clone(),
        resources: job.resources.clone(),
        stored_data: None,
        job: job.job.clone(),
        ferry: Ferry { attempt: 1, ..Ferry::default() },
    }
}

/// The scripts are shown; the serialized job and the job's own files are not.
fn is_script(path: &str) -> bool {
    [layout::SUBMIT, layout::BODY, layout::SHELL_TEXT].contains(&path)
}

/// Returns a script for people: of `submit.sh` what differs from job to job, without the wrapper that follows it.
fn without_wrapper(script: &str) -> String {
    match script.split_once("\n# The wrapper") {
        Some((head, _)) => format!("{head}\n# … and the wrapper (`--json` shows it)"),
        None => script.trim_end().to_owned(),
    }
}

fn name_of(uuid: &str, flow: &NewFlow) -> String {
    let found = flow.jobs.iter().find(|job| job.key.uuid == uuid);
    found.and_then(|job| job.job.get_str("name").ok()).unwrap_or(uuid).to_owned()
}

/// Returns the job with each reference replaced by words that say what will stand there.
fn shown_references(job: &Document, flow: &NewFlow) -> Document {
    let entry = |(key, value): (&String, &Bson)| match value {
        // A file of another job has to look like one, or no script could be made.
        Bson::Document(inner) if key == "stored" && is_reference(inner) => {
            (key.clone(), unknown_file().into())
        }
        other => (key.clone(), shown(other, flow)),
    };
    job.iter().map(entry).collect()
}

fn is_reference(document: &Document) -> bool {
    document.get_str("@class").is_ok_and(|class| class == "OutputReference")
}

fn unknown_file() -> Document {
    KeptFile { name: String::new(), sha256: "0".repeat(64), size_bytes: 0 }.to_document()
}

fn shown(value: &Bson, flow: &NewFlow) -> Bson {
    match value {
        Bson::Document(inner) if is_reference(inner) => Bson::String(describe_reference(inner, flow)),
        Bson::Document(inner) => Bson::Document(shown_references(inner, flow)),
        Bson::Array(items) => Bson::Array(items.iter().map(|item| shown(item, flow)).collect()),
        other => other.clone(),
    }
}

/// Returns `<relax.energy>` for the output `energy` of the job `relax`.
fn describe_reference(reference: &Document, flow: &NewFlow) -> String {
    let steps = reference.get_array("attributes").ok().into_iter().flatten();
    let key = |step: &Bson| match step.as_array().and_then(|pair| pair.get(1)) {
        Some(Bson::String(key)) => format!(".{key}"),
        Some(index) => format!("[{index}]"),
        None => String::new(),
    };
    let path: String = steps.map(key).collect();
    format!("<{}{path}>", name_of(reference.get_str("uuid").unwrap_or_default(), flow))
}

impl View for Preview {
    fn json(&self) -> Value {
        let job = |job: &PreviewJob| {
            let files: serde_json::Map<_, _> =
                job.files.iter().map(|(path, content)| (path.clone(), json!(content))).collect();
            json!({
                "name": job.name,
                "uuid": job.uuid,
                "worker": job.worker,
                "after": job.after,
                "resources": job.resources.as_ref().map_or(Value::Null, document),
                "priority": job.priority,
                "exec_config": job.exec_config.as_ref().map_or(Value::Null, plain),
                "files": files,
            })
        };
        json!({
            "name": self.flow.name,
            "flow_id": self.flow.uuid,
            "metadata": document(&self.flow.metadata),
            "jobstore": self.flow.jobstore,
            "jobs": self.jobs.iter().map(job).collect::<Vec<_>>(),
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let columns = ["Name", "Worker", "After", "Resources"].map(str::to_owned).to_vec();
        let row = |job: &PreviewJob| {
            let resources = job.resources.as_ref().map(words).unwrap_or_default();
            vec![
                job.name.as_str().into(),
                job.worker.as_str().into(),
                job.after.join(", ").into(),
                resources.into(),
            ]
        };
        let title = Some(format!("Flow {}: {} jobs; nothing is written", self.flow.name, self.jobs.len()));
        let table = Table { title, columns, rows: self.jobs.iter().map(row).collect() };
        let scripts = self.jobs.iter().flat_map(|job| {
            job.files.iter().flat_map(move |(path, content)| {
                [Block::Hint(format!("{} of {}:", path, job.name)), Block::Text(without_wrapper(content))]
            })
        });
        [Block::Table(table)].into_iter().chain(scripts).collect()
    }
}

/// Returns `ntasks=4 partition=main`.
fn words(resources: &Document) -> String {
    let word = |(key, value): (&String, &Bson)| match value {
        Bson::String(text) => format!("{key}={text}"),
        other => format!("{key}={}", plain(other)),
    };
    resources.iter().map(word).collect::<Vec<_>>().join(" ")
}
