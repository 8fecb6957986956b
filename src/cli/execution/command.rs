//! A command job, run in its directory: the files of jobflow-remote are written for it as for a Python job.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use bson::{Bson, Document, doc};
use sha2::{Digest as _, Sha256};

use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::jobflow::command::{self, CommandSpec, Digest, FileContent, Program, ResultFiles};
use crate::model::Timestamp;
use crate::worker::{input, layout, script};

/// How much of what a failed command said is put into its error.
const SAID_BYTES: usize = 4096;

/// How much of a kept file is in memory at once.
const BLOCK_BYTES: usize = 1 << 16;

/// Runs the command and writes `jfremote_out.json` and `remote_job_data.json`, the former last.
///
/// Files of the job that the runner keeps elsewhere have to be there already. Fails when these files cannot be written;
/// a job that fails has said so in them.
pub(super) fn run(
    run_dir: &Path,
    job: &Document,
    spec: &CommandSpec,
    session: &Session,
) -> Result<Exit, CliError> {
    let started = session.now().at;
    write(run_dir, layout::PYTHON_RESULT, &doc! { "start_time": monty_time(started) })?;
    let ended = execute(run_dir, spec)
        .and_then(|()| Files::read(run_dir, job))
        .and_then(|files| command::extract(job, &files).map_err(|error| error.to_string()));
    let now = session.now().at;
    let documents = match &ended {
        Ok(output) => vec![Bson::from(output_document(job, output, now))],
        Err(_) => Vec::new(),
    };
    write_value(run_dir, &format!("{}.json", layout::PYTHON_OUTPUT), &Bson::Array(documents))?;
    let result = doc! {
        "response": ended.is_ok().then(empty_response),
        "error": ended.as_ref().err(),
        "start_time": monty_time(started),
        "end_time": monty_time(now),
    };
    write(run_dir, layout::PYTHON_RESULT, &result)?;
    match ended {
        Ok(_) => Ok(Exit::Success),
        Err(error) => Err(CliError::failed(error)),
    }
}

/// Returns jobflow 0.4's `Response` of a job that only has an output, which is stored apart.
fn empty_response() -> Document {
    doc! {
        "output": null, "detour": null, "addition": null, "replace": null, "stored_data": null,
        "stop_children": false, "stop_jobflow": false, "job_dir": null,
        "@module": "jobflow.core.job", "@class": "Response", "@version": "0.4.0",
    }
}

/// Returns jobflow 0.4's `JobStoreDocument`.
fn output_document(job: &Document, output: &Document, now: Timestamp) -> Document {
    let completed_at = now.try_to_rfc3339_string().unwrap_or_default();
    let of_job = |key| job.get(key).cloned().unwrap_or(Bson::Null);
    doc! {
        "uuid": of_job("uuid"),
        "index": of_job("index"),
        "output": output,
        "completed_at": completed_at.trim_end_matches('Z'),
        "metadata": of_job("metadata"),
        "hosts": of_job("hosts"),
        "name": of_job("name"),
        "@module": "jobflow.core.schemas",
        "@class": "JobStoreDocument",
        "@version": "0.4.0",
    }
}

/// Returns a time as monty writes it.
fn monty_time(time: Timestamp) -> Document {
    let moment = jiff::Timestamp::from_millisecond(time.timestamp_millis()).unwrap_or_default();
    let text = moment.strftime("%Y-%m-%d %H:%M:%S.%6f+00:00").to_string();
    doc! { "@module": "datetime", "@class": "datetime", "string": text }
}

fn write(run_dir: &Path, name: &str, document: &Document) -> Result<(), CliError> {
    write_value(run_dir, name, &Bson::Document(document.clone()))
}

/// Writes a file whole or not at all.
fn write_value(run_dir: &Path, name: &str, value: &Bson) -> Result<(), CliError> {
    let part = run_dir.join(format!(".{name}.part"));
    fs::write(&part, input::json_of(value))
        .and_then(|()| fs::rename(&part, run_dir.join(name)))
        .map_err(|error| CliError::failed(format!("cannot write {name} in {}: {error}", run_dir.display())))
}

/// Stages the files that the job brings along, runs the command, and returns why it failed, if so.
fn execute(run_dir: &Path, spec: &CommandSpec) -> Result<(), String> {
    stage(run_dir, spec)?;
    let in_directory = |path: &str| run_dir.join(path);
    let open = |error: io::Error| format!("a standard stream cannot be opened: {error}");
    let stdin = match &spec.stdin {
        Some(path) => Stdio::from(File::open(in_directory(path)).map_err(open)?),
        None => Stdio::null(),
    };
    let status = program(run_dir, &spec.program)?
        .current_dir(run_dir)
        .env(script::RUN_DIR, run_dir)
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(stdin)
        .stdout(File::create(in_directory(layout::STDOUT)).map_err(open)?)
        .stderr(File::create(in_directory(layout::STDERR)).map_err(open)?)
        .status()
        .map_err(|error| format!("the command cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(failure(run_dir, status)) }
}

fn stage(run_dir: &Path, spec: &CommandSpec) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    for file in &spec.files {
        let path = run_dir.join(&file.path);
        let FileContent::Bytes(content) = &file.content else {
            if path.exists() {
                continue;
            }
            return Err(format!(
                "its file {} is not in the run directory: the runner puts it there",
                file.path
            ));
        };
        let folder = path.parent().unwrap_or(run_dir);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(file.mode);
        fs::create_dir_all(folder)
            .and_then(|()| options.open(&path))
            .and_then(|mut opened| io::Write::write_all(&mut opened, content))
            .map_err(|error| format!("its file {} cannot be written: {error}", file.path))?;
    }
    Ok(())
}

fn program(run_dir: &Path, program: &Program) -> Result<Command, String> {
    match program {
        Program::Arguments(arguments) => {
            let (first, rest) = arguments.split_first().ok_or("the command is empty")?;
            let mut command = Command::new(first);
            command.args(rest);
            Ok(command)
        }
        Program::Shell(text) => {
            let path = run_dir.join(layout::SHELL_TEXT);
            fs::create_dir_all(run_dir.join(layout::PRIVATE))
                .and_then(|()| fs::write(&path, text))
                .map_err(|error| format!("{} cannot be written: {error}", layout::SHELL_TEXT))?;
            let mut command = Command::new("sh");
            command.arg(path);
            Ok(command)
        }
    }
}

fn failure(run_dir: &Path, status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    let said = fs::read(run_dir.join(layout::STDERR)).unwrap_or_default();
    let said = said.get(said.len().saturating_sub(SAID_BYTES)..).unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    if said.trim().is_empty() { how } else { format!("{how}\n{said}") }
}

/// The declared result files of the job.
struct Files {
    run_dir: PathBuf,
    contents: HashMap<String, Vec<u8>>,
    digests: HashMap<String, Digest>,
}

impl Files {
    /// Reads all that are there; one that is larger than its limit is an error.
    fn read(run_dir: &Path, job: &Document) -> Result<Self, String> {
        let mut files =
            Self { run_dir: run_dir.to_owned(), contents: HashMap::new(), digests: HashMap::new() };
        let limits: HashMap<String, u64> =
            command::result_files(job).into_iter().map(|file| (file.path, file.limit_bytes)).collect();
        for path in command::searched_files(job) {
            if let Some(size_bytes) = files.size_of(&path) {
                let limit = limits.get(&path).copied().unwrap_or_default();
                if size_bytes > limit {
                    return Err(format!(
                        "the file {path} has {size_bytes} bytes, more than the {limit} allowed"
                    ));
                }
                let content =
                    fs::read(run_dir.join(&path)).map_err(|error| format!("the file {path}: {error}"))?;
                files.contents.insert(path, content);
            }
        }
        for path in command::kept_files(job) {
            if files.size_of(&path).is_some() {
                let digest =
                    digest(&run_dir.join(&path)).map_err(|error| format!("the file {path}: {error}"))?;
                files.digests.insert(path, digest);
            }
        }
        Ok(files)
    }

    fn size_of(&self, path: &str) -> Option<u64> {
        fs::metadata(self.run_dir.join(path)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
    }
}

fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash, mut size_bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = io::Read::read(&mut file, &mut block)?;
        let Some(part) = block.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        size_bytes += read as u64;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Digest { sha256, size_bytes })
}

impl ResultFiles for Files {
    fn content(&self, path: &str) -> Option<&[u8]> {
        self.contents.get(path).map(Vec::as_slice)
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        self.digests.get(path).cloned()
    }
}
