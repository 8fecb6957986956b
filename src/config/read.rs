//! From the tree of a project file, with the layers over it, to a [`Project`].
//!
//! Pure: text and surroundings in, project or faults out. Every fault is found in one go.

mod store;
mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::defaults;
use super::environment::Environment;
use super::layers::{Layers, Override};
use super::project::{ExecutionConfig, LogLevel, Project, ProjectAdditions, RunnerOptions};
use super::section::{Reader, Section, Zero, seconds_of};
use super::source::{Setting, Source};
use super::store::JobStoreConfig;
use super::worker::{Worker, WorkerKind};
use crate::flowfile::decode::At;
use crate::flowfile::fault::{Fault, Faults};
use crate::flowfile::source::{self as text, Format, Node, Span, Value};

/// A project file and what goes over it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'given> {
    pub file: &'given Path,
    pub text: &'given str,
    pub format: Format,
    /// Where `base_dir` lies when it is not set.
    pub projects_folder: &'given Path,
    pub environment: &'given Environment,
    pub overrides: &'given [Override],
}

/// A project, and what else its file told.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub project: Project,
    /// Every value with its source, in the order of the sections.
    pub settings: Vec<Setting>,
    /// What is accepted and yet may not be what the user expects.
    pub warnings: Vec<Placed>,
    /// Keys of the file that hold a secret themselves; others must not be able to read such a file.
    pub literal_secrets: Vec<String>,
}

/// A fault or a warning, and what it stands in: the file, a variable or an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub fault: Fault,
    pub source: Source,
}

/// Returns the name that a project file gives itself, when its syntax is sound and it has one.
pub fn name_of(text: &str, format: Format) -> Option<String> {
    let tree = text::read(text, format, &mut Faults::default())?;
    match &tree.get("name")?.value {
        Value::Text(name) => Some(name.clone()),
        _ => None,
    }
}

/// Returns the project, or all that is wrong with it, in the order of the text.
pub fn read(input: &Input<'_>) -> Result<Loaded, Vec<Placed>> {
    let mut faults = Faults::default();
    let Some(mut tree) = text::read(input.text, input.format, &mut faults) else {
        return Err(in_file(faults, input.file));
    };
    let (layers, misplaced) = Layers::apply(&mut tree, input.file, input.environment, input.overrides);
    let mut reader = Reader::new(&layers, input.environment);
    reader.faults = faults;
    let project = project(&tree, input, &mut reader);
    let Reader { faults, warnings, settings, literal_secrets, without_default, .. } = reader;
    debug_assert!(without_default.is_empty(), "config/default.yaml lacks {without_default:?}");
    match project {
        Some(project) if faults.is_empty() && misplaced.is_empty() => {
            let warnings = warnings.into_iter().map(|fault| placed(fault, &layers)).collect();
            Ok(Loaded { project, settings, warnings, literal_secrets })
        }
        _ => {
            let faults = faults.into_sorted().into_iter().map(|fault| placed(fault, &layers));
            Err(misplaced.into_iter().chain(faults).collect())
        }
    }
}

fn in_file(faults: Faults, file: &Path) -> Vec<Placed> {
    let source = Source::File { path: file.to_owned(), line: 0, column: 0 };
    faults.into_sorted().into_iter().map(|fault| Placed { fault, source: source.clone() }).collect()
}

fn placed(fault: Fault, layers: &Layers) -> Placed {
    let source = match layers.source_above(&fault.path) {
        Some(source) if fault.span.line == 0 => source.clone(),
        _ => layers.source("", Span { line: fault.span.line.max(1), ..fault.span }),
    };
    Placed { fault, source }
}

fn project(tree: &Node, input: &Input<'_>, reader: &mut Reader<'_>) -> Option<Project> {
    let root = At::root(tree);
    let mut top = Section::at(&root, &[defaults::section(&[])], reader)?;
    let name = name(&mut top, reader);
    let folders = folders(&mut top, name.as_deref().unwrap_or_default(), input.projects_folder, reader);
    let log_level = log_level(&mut top, reader);
    let runner = runner(&mut top, reader);
    let (jobferry, for_workers) = additions(&mut top, reader);
    let workers = workers(&mut top, &for_workers, reader);
    let exec_config = exec_config(&mut top, reader);
    let queue = store::queue(&mut top, &folders.base, reader);
    let jobstore = store::jobstore(&mut top, queue.as_ref(), &folders.base, reader);
    let optional_jobstores = optional_jobstores(&mut top, &folders.base, reader);
    let remote_jobstore = store::remote_jobstore(&mut top, reader);
    let metadata = top.raw("metadata", reader);
    top.finish(reader, |_| None);
    Some(Project {
        name: name?,
        file: input.file.to_owned(),
        base_dir: folders.base,
        tmp_dir: folders.tmp,
        log_dir: folders.log,
        daemon_dir: folders.daemon,
        log_level: log_level?,
        runner: runner?,
        workers,
        exec_config,
        queue: queue?,
        jobstore: jobstore?,
        remote_jobstore,
        optional_jobstores,
        metadata,
        jobferry: jobferry?,
    })
}

/// The name is a folder's name, and stands in file names and messages.
fn name(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = top.need("name", "write `name: my_project` in the first line", reader)?;
    let name = at.text(&mut reader.faults)?;
    if is_name(name) {
        return Some(name.to_owned());
    }
    let fault = at.fault(format!("`{}` is no name for a project", name.escape_debug()));
    reader.faults.push(fault.hint(NAME_RULE));
    None
}

/// What a project's name may be.
const NAME_RULE: &str = "use letters, digits, `.`, `_` and `-`, and begin with a letter, a digit or `_`";

/// Returns whether the text can be the name of a project or worker.
pub(super) fn is_name(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|c| c.is_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

struct Folders {
    base: PathBuf,
    tmp: PathBuf,
    log: PathBuf,
    daemon: PathBuf,
}

fn folders(top: &mut Section<'_>, name: &str, projects_folder: &Path, reader: &mut Reader<'_>) -> Folders {
    let mut folder = |key: &'static str, derived: PathBuf| {
        let found = top.path(key, reader);
        if found.is_none() {
            reader.record_derived(key, derived.display().to_string());
        }
        found.unwrap_or(derived)
    };
    let base = folder("base_dir", projects_folder.join(name));
    let tmp = folder("tmp_dir", base.join("tmp"));
    let log = folder("log_dir", base.join("log"));
    let daemon = folder("daemon_dir", base.join("daemon"));
    Folders { base, tmp, log, daemon }
}

fn log_level(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<LogLevel> {
    top.take("log_level", reader)?.choice(&LogLevel::ALL, &mut reader.faults)
}

fn runner(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<RunnerOptions> {
    let mut section = top.section("runner", &[defaults::section(&["runner"])], reader)?;
    let options = runner_options(&mut section, reader);
    section.finish(reader, |_| None);
    options
}

fn runner_options(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<RunnerOptions> {
    let mut seconds = |key| section.seconds(key, reader);
    let delay_checkout = seconds("delay_checkout");
    let delay_check_run_status = seconds("delay_check_run_status");
    let delay_advance_status = seconds("delay_advance_status");
    let delay_refresh_limited = seconds("delay_refresh_limited");
    let delay_update_batch = seconds("delay_update_batch");
    let delay_ping_db = seconds("delay_ping_db");
    let lock_timeout = section.seconds_or_none("lock_timeout", reader);
    section.unused("lock_timeout", "locks end by themselves", reader);
    let delete_tmp_folder = section.boolean("delete_tmp_folder", reader);
    let max_step_attempts = section.count("max_step_attempts", 1, reader);
    let delta_retry = delta_retry(section, reader);
    Some(RunnerOptions {
        delay_checkout: delay_checkout?,
        delay_check_run_status: delay_check_run_status?,
        delay_advance_status: delay_advance_status?,
        delay_refresh_limited: delay_refresh_limited?,
        delay_update_batch: delay_update_batch?,
        delay_ping_db: delay_ping_db?,
        lock_timeout,
        delete_tmp_folder: delete_tmp_folder?,
        max_step_attempts: max_step_attempts?,
        delta_retry: delta_retry?,
    })
}

fn delta_retry(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Vec<Duration>> {
    let at = section.take("delta_retry", reader)?;
    let items = at.list(&mut reader.faults);
    if items.is_empty() && matches!(at.node.value, Value::List(_)) {
        let warning = at.fault("`delta_retry` is empty: a failed step is tried again at once");
        reader.warnings.push(warning.hint("leave the key out for the default"));
        return Some(vec![Duration::ZERO]);
    }
    let waits: Vec<Option<Duration>> =
        items.iter().map(|item| seconds_of(item, Zero::Allowed, &mut reader.faults)).collect();
    waits.into_iter().collect()
}

/// Our keys of the project that are defaults for every worker.
#[derive(Default)]
struct ForWorkers {
    poll_floor: Duration,
    keep_attempts: Option<u32>,
    ssh_config_file: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

fn additions(top: &mut Section<'_>, reader: &mut Reader<'_>) -> (Option<ProjectAdditions>, ForWorkers) {
    let Some(mut section) = top.section("jobferry", &[defaults::section(&["jobferry"])], reader) else {
        return (None, ForWorkers::default());
    };
    let lease = section.seconds("lease_seconds", reader);
    let log_files = section.count("log_files", 1, reader);
    let for_workers = ForWorkers {
        poll_floor: poll_floor(&mut section, reader).unwrap_or_default(),
        keep_attempts: section.count("keep_attempts", 0, reader),
        ssh_config_file: section.path("ssh_config_file", reader),
        environment: section.texts("environment", reader),
    };
    section.finish(reader, |_| None);
    let own = lease.zip(log_files).map(|(lease, log_files)| ProjectAdditions { lease, log_files });
    (own, for_workers)
}

fn poll_floor(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Duration> {
    let at = section.take("poll_floor_seconds", reader)?;
    seconds_of(&at, Zero::Allowed, &mut reader.faults)
}

fn workers(
    top: &mut Section<'_>,
    for_workers: &ForWorkers,
    reader: &mut Reader<'_>,
) -> IndexMap<String, Worker> {
    let mut workers = IndexMap::new();
    let mut batches: HashMap<(String, String), String> = HashMap::new();
    for (name, span, at) in top.named("workers", reader) {
        if !is_name(name) {
            let fault =
                Fault::at(span, "workers", format!("`{}` is no name for a worker", name.escape_debug()));
            reader.faults.push(fault.hint(NAME_RULE));
        }
        let Some(worker) = worker::worker(&at, for_workers, reader) else { continue };
        let place = batch_place(&worker);
        if let Some(first) = place.and_then(|place| batches.insert(place, name.to_owned())) {
            let message =
                format!("`jobs_handle_dir` is also the one of the worker `{first}` on the same host");
            reader.faults.push(Fault::at(span, "workers", message).hint("give each batch worker its own"));
        }
        workers.insert(name.to_owned(), worker);
    }
    workers
}

/// Returns host and directory that no two batch workers may share.
fn batch_place(worker: &Worker) -> Option<(String, String)> {
    let directory = worker.batch.as_ref()?.jobs_handle_dir.clone();
    let host = match &worker.kind {
        WorkerKind::Local => String::new(),
        WorkerKind::Remote(connection) | WorkerKind::SeparatedTransfer { commands: connection, .. } => {
            format!("{:?}@{}:{:?}", connection.user, connection.host, connection.port)
        }
    };
    Some((host, directory))
}

fn exec_config(top: &mut Section<'_>, reader: &mut Reader<'_>) -> IndexMap<String, ExecutionConfig> {
    let mut configs = IndexMap::new();
    for (name, _, at) in top.named("exec_config", reader) {
        let template = defaults::section(&["exec_config", "<name>"]);
        let Some(mut section) = Section::at(&at, &[template], reader) else { continue };
        let modules =
            section.take("modules", reader).map(|at| at.list(&mut reader.faults)).unwrap_or_default();
        let config = ExecutionConfig {
            modules: modules.iter().filter_map(|at| at.scalar_text(&mut reader.faults)).collect(),
            export: section.texts("export", reader).into_iter().collect(),
            pre_run: section.some_text("pre_run", reader),
            post_run: section.some_text("post_run", reader),
        };
        section.finish(reader, |_| None);
        configs.insert(name.to_owned(), config);
    }
    configs
}

fn optional_jobstores(
    top: &mut Section<'_>,
    base: &Path,
    reader: &mut Reader<'_>,
) -> IndexMap<String, JobStoreConfig> {
    let mut stores = IndexMap::new();
    for (name, _, at) in top.named("optional_jobstores", reader) {
        if let Some(store) = store::optional_jobstore(&at, base, reader) {
            stores.insert(name.to_owned(), store);
        }
    }
    stores
}

#[cfg(test)]
mod tests;
