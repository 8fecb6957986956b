//! A job that is a command: what is stored of it, what is staged for it, and what its outputs are.
//!
//! The command is one keyword argument, [`KEYWORD`], of a serialized jobflow `Job` (see [`super::document`]):
//!
//! ```text
//! {"version": 1,
//!  "arguments": ["awk", "-f", "sum.awk"],                      or "shell": {"text": "…", "variables": {"jf_x": value}}
//!  "environment": {"NAME": value},
//!  "stdin": {"text": value} | {"file": "in.txt"} | null,
//!  "files": [{"path": "in.json", "mode": 420, "content": {"text": value} | {"json": value} | {"stored": file}}],
//!  "outputs": {"energy": {"kind": "json", "file": "out.json", "pointer": "/e", "optional": false}, …},
//!  "retries": {"count": 0, "delay_seconds": 0}}
//! ```
//!
//! A value may be, or hold, an `OutputReference`; a text with references in it is `{"$text": [part, reference, …]}`. A
//! `file` is the [`KeptFile`] of another job, or a file of the flow's author in the same form. Outputs and retries
//! never hold references: they are read from the stored job when it has ended.

mod extract;
pub mod stored;

use std::time::Duration;

use bson::{Bson, Document, doc};

pub use extract::{Digest, ExtractError, OutputError, ResultFiles, compile_pattern, extract};

use super::text::{assembled, to_json, to_text};

/// The keyword argument that holds the command.
pub const KEYWORD: &str = "jobferry";

/// The version of the stored form.
pub const VERSION: i32 = 1;

/// File of the run directory with a command's standard output; a result of this name is that.
pub const STDOUT: &str = "stdout";
/// File of the run directory with a command's standard error; a result of this name is that.
pub const STDERR: &str = "stderr";
/// File of the run directory with a standard input that is given as text.
const STDIN: &str = ".jobferry/stdin";

/// Names in a run directory that are the runner's own, those of jobflow-remote included.
const RESERVED: [&str; 9] = [
    ".jobferry",
    "jfremote_in.json",
    "jfremote_out.json",
    "remote_job_data.json",
    "queue.err",
    "queue.out",
    "stderr",
    "stdout",
    "submit.sh",
];

/// How large a result may be that is read into the output document, which MongoDB limits to 16 MB.
pub const DOCUMENT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// How large a file may be that a regular expression searches: it is read into memory as a whole.
pub const SEARCH_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// How large a kept file may be: what goes through one transfer within its time limit on a slow line.
pub const KEPT_LIMIT_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// What a command job does, with every reference replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSpec {
    pub program: Program,
    /// Variables with exactly these values.
    pub environment: Vec<(String, String)>,
    /// File of the run directory that is its standard input.
    pub stdin: Option<String>,
    /// All files to be written before it starts, that of its standard input included.
    pub files: Vec<StagedFile>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A program and its arguments, without a shell in between; never empty.
    Arguments(Vec<String>),
    /// A text for `sh`. It ends at the first command that fails (`set -e`).
    Shell(String),
}

/// A file of the run directory.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedFile {
    /// Relative; stays inside the run directory and is none of the runner's own.
    pub path: String,
    pub content: FileContent,
    /// Permission bits.
    pub mode: u32,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum FileContent {
    Bytes(Vec<u8>),
    /// A file of the store of files.
    Stored {
        /// In lower-case hexadecimal.
        sha256: String,
        size_bytes: u64,
    },
}

/// A file to be fetched from the run directory when the command has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    pub path: String,
    /// A larger file is an error.
    pub limit_bytes: u64,
    pub need: Need,
}

/// What it means that a file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The job fails.
    Required,
    /// The outputs taken from it are null.
    Optional,
}

/// How often a job that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retries {
    pub count: u32,
    /// Before each try.
    pub delay: Duration,
}

/// A whole file that is an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// Without folders.
    pub name: String,
    pub sha256: String,
    pub size_bytes: u64,
}

impl KeptFile {
    /// Returns the output value. It has no `@module`, so that Python's decoders leave it a plain dictionary.
    pub fn to_document(&self) -> Document {
        let size_bytes = i64::try_from(self.size_bytes).unwrap_or(i64::MAX);
        doc! { "@class": "JobferryFile", "name": &self.name, "sha256": &self.sha256, "size_bytes": size_bytes }
    }

    /// Returns the file that the output value stands for.
    pub fn from_bson(value: &Bson) -> Option<Self> {
        let document = value.as_document()?;
        let sha256 = document.get_str("sha256").ok()?;
        let is_hash =
            sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let size_bytes = match document.get("size_bytes")? {
            Bson::Int32(size) => u64::try_from(*size).ok()?,
            Bson::Int64(size) => u64::try_from(*size).ok()?,
            _ => return None,
        };
        let name = document.get_str("name").unwrap_or_default().to_owned();
        is_hash.then(|| Self { name, sha256: sha256.to_owned(), size_bytes })
    }
}

/// Why a stored command cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the command is stored in version {0}; this program knows version {VERSION}: update it")]
    Version(String),
    #[error("the stored command has no usable `{0}`")]
    Malformed(String),
    #[error("the file `{0}` is to come from another job, but what it refers to is {1}, not a kept file")]
    NotAFile(String, String),
    #[error("the path {path:?} of a file {why}")]
    Path { path: String, why: &'static str },
    #[error("{what} contains a NUL byte, which no program can be given")]
    Nul { what: String },
    #[error("the command is empty")]
    NoCommand,
}

/// Returns why a path of a run directory cannot be used by a job, if so: it leaves the directory, or it is a name
/// that the runner uses itself.
pub fn path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("is empty");
    }
    if path.contains('\0') {
        return Some("contains a NUL byte");
    }
    if path.starts_with('/') {
        return Some("is absolute: it has to be relative to the run directory");
    }
    if path.split('/').any(|part| part == "..") {
        return Some("leads out of the run directory (`..`)");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return Some("has an empty part or a `.`");
    }
    if path.len() > 1024 || path.split('/').any(|part| part.len() > 255) {
        return Some("is too long (255 bytes a name, 1024 in all)");
    }
    let first = path.split('/').next().unwrap_or_default();
    let additional = first.starts_with("additional_store_") && first.ends_with(".json");
    if RESERVED.contains(&first) || additional {
        return Some("is a name that the runner uses itself");
    }
    None
}

/// Returns whether the job is a command; every other job is a Python function.
pub fn is_command(job: &Document) -> bool {
    stored_command(job).is_some()
}

/// Returns the command as it is stored, or nothing when the job is none of ours.
fn stored_command(job: &Document) -> Option<&Document> {
    job.get_document("function_kwargs").ok()?.get_document(KEYWORD).ok()
}

fn checked_version(job: &Document) -> Result<Option<&Document>, SpecError> {
    let Some(stored) = stored_command(job) else { return Ok(None) };
    match stored.get("version") {
        Some(Bson::Int32(VERSION)) => Ok(Some(stored)),
        Some(other) => Err(SpecError::Version(to_text(other))),
        None => Err(SpecError::Malformed("version".to_owned())),
    }
}

impl CommandSpec {
    /// Returns the command of a job whose references are all replaced, or nothing when it is no command job.
    pub fn from_job(job: &Document) -> Result<Option<Self>, SpecError> {
        let Some(stored) = checked_version(job)? else { return Ok(None) };
        let mut files = files(stored)?;
        let stdin = stdin(stored, &mut files)?;
        Ok(Some(Self { program: program(stored)?, environment: environment(stored)?, stdin, files }))
    }
}

fn malformed(key: &str) -> SpecError {
    SpecError::Malformed(key.to_owned())
}

fn without_nul(text: String, what: &str) -> Result<String, SpecError> {
    if text.contains('\0') { Err(SpecError::Nul { what: what.to_owned() }) } else { Ok(text) }
}

fn program(stored: &Document) -> Result<Program, SpecError> {
    if let Ok(shell) = stored.get_document("shell") {
        return shell_text(shell).map(Program::Shell);
    }
    let mut arguments = Vec::new();
    for argument in stored.get_array("arguments").map_err(|_| malformed("arguments"))? {
        // A reference to a list (a whole sweep gathered) becomes one argument for each item.
        match assembled(argument) {
            Bson::Array(items) => arguments.extend(items.iter().map(to_text)),
            one => arguments.push(to_text(&one)),
        }
    }
    if arguments.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    arguments
        .into_iter()
        .map(|argument| without_nul(argument, "an argument"))
        .collect::<Result<_, _>>()
        .map(Program::Arguments)
}

/// Values come into a shell text as variables, set before it: so no value is ever read as shell code.
fn shell_text(shell: &Document) -> Result<String, SpecError> {
    let text = shell.get_str("text").map_err(|_| malformed("shell.text"))?;
    let mut out = String::from("set -e\n");
    for (name, value) in shell.get_document("variables").ok().into_iter().flatten() {
        if !is_variable_name(name) {
            return Err(malformed("shell.variables"));
        }
        let value = without_nul(to_text(&assembled(value)), "a value in the shell text")?;
        out.push_str(name);
        out.push('=');
        out.push_str(&crate::model::quote::quote(&value));
        out.push('\n');
    }
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
    without_nul(out, "the shell text")
}

/// Returns whether `name` can be the name of an environment variable (POSIX, Base Definitions 3.216).
pub fn is_variable_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn environment(stored: &Document) -> Result<Vec<(String, String)>, SpecError> {
    let variables = stored.get_document("environment").ok().into_iter().flatten();
    variables
        .map(|(name, value)| {
            if !is_variable_name(name) {
                return Err(malformed("environment"));
            }
            let value = without_nul(to_text(&assembled(value)), name)?;
            Ok((name.clone(), value))
        })
        .collect()
}

fn stdin(stored: &Document, files: &mut Vec<StagedFile>) -> Result<Option<String>, SpecError> {
    let Ok(stdin) = stored.get_document("stdin") else { return Ok(None) };
    if let Ok(path) = stdin.get_str("file") {
        return match path_fault(path) {
            Some(why) => Err(SpecError::Path { path: path.to_owned(), why }),
            None => Ok(Some(path.to_owned())),
        };
    }
    let text = to_text(&assembled(stdin.get("text").ok_or_else(|| malformed("stdin"))?));
    files.push(StagedFile {
        path: STDIN.to_owned(),
        content: FileContent::Bytes(text.into_bytes()),
        mode: 0o600,
    });
    Ok(Some(STDIN.to_owned()))
}

fn files(stored: &Document) -> Result<Vec<StagedFile>, SpecError> {
    let files = stored.get_array("files").ok().into_iter().flatten();
    files.map(|file| staged_file(file.as_document().ok_or_else(|| malformed("files"))?)).collect()
}

fn staged_file(file: &Document) -> Result<StagedFile, SpecError> {
    let path = file.get_str("path").map_err(|_| malformed("files.path"))?.to_owned();
    if let Some(why) = path_fault(&path) {
        return Err(SpecError::Path { path, why });
    }
    let mode = file.get_i32("mode").ok().and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644) & 0o777;
    let content = file.get_document("content").map_err(|_| malformed("files.content"))?;
    let content = match content.iter().next().map(|(kind, value)| (kind.as_str(), value)) {
        Some(("text", value)) => FileContent::Bytes(to_text(&assembled(value)).into_bytes()),
        Some(("json", value)) => FileContent::Bytes(json_bytes(value)),
        Some(("stored", value)) => {
            let kept = KeptFile::from_bson(value)
                .ok_or_else(|| SpecError::NotAFile(path.clone(), super::reference::describe(value)))?;
            FileContent::Stored { sha256: kept.sha256, size_bytes: kept.size_bytes }
        }
        _ => return Err(malformed("files.content")),
    };
    Ok(StagedFile { path, content, mode })
}

/// Indented, because people look into run directories.
fn json_bytes(value: &Bson) -> Vec<u8> {
    format!("{:#}\n", to_json(&assembled(value))).into_bytes()
}

/// Returns the files that hold the job's results, each once; none for a job that is none of ours.
///
/// The standard streams are among them under the names [`STDOUT`] and [`STDERR`].
pub fn result_files(job: &Document) -> Vec<ResultFile> {
    let mut files: Vec<ResultFile> = Vec::new();
    for (_, output) in declared(job) {
        let Ok(path) = output.get_str("file") else { continue };
        let optional = output.get_bool("optional").unwrap_or(false);
        let need = if optional { Need::Optional } else { Need::Required };
        let limit_bytes = limit_of(output);
        match files.iter_mut().find(|file| file.path == path) {
            None => files.push(ResultFile { path: path.to_owned(), limit_bytes, need }),
            Some(file) => {
                file.limit_bytes = file.limit_bytes.max(limit_bytes);
                if need == Need::Required {
                    file.need = need;
                }
            }
        }
    }
    files
}

fn limit_of(output: &Document) -> u64 {
    match output.get_str("kind") {
        Ok("file") => KEPT_LIMIT_BYTES,
        Ok("regex") => SEARCH_LIMIT_BYTES,
        _ => DOCUMENT_LIMIT_BYTES,
    }
}

/// Returns the paths of the result files that are kept whole, each once.
pub fn kept_files(job: &Document) -> Vec<String> {
    paths_of(job, |kind| kind == "file")
}

/// Returns the paths of the result files whose content is looked into, each once. One file may be kept as well.
pub fn searched_files(job: &Document) -> Vec<String> {
    paths_of(job, |kind| kind != "file")
}

fn paths_of(job: &Document, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let kept = |output: &&Document| output.get_str("kind").is_ok_and(&wanted);
    let mut paths: Vec<String> = declared(job)
        .map(|(_, output)| output)
        .filter(kept)
        .filter_map(|output| output.get_str("file").ok().map(str::to_owned))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Returns how often the job is tried again; never for a job that is none of ours.
pub fn retries(job: &Document) -> Retries {
    let Some(retries) = stored_command(job).and_then(|stored| stored.get_document("retries").ok()) else {
        return Retries::default();
    };
    let number = |key| retries.get_i32(key).ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    Retries { count: number("count"), delay: Duration::from_secs(u64::from(number("delay_seconds"))) }
}

/// The declared outputs: name and declaration.
fn declared(job: &Document) -> impl Iterator<Item = (&String, &Document)> {
    let outputs = stored_command(job).and_then(|stored| stored.get_document("outputs").ok());
    outputs.into_iter().flatten().filter_map(|(name, output)| Some((name, output.as_document()?)))
}

#[cfg(test)]
mod tests;
