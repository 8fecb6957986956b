//! Where a flow comes from: its file, and the files it names; and whether the file is ours or jobflow's.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bson::Bson;
use sha2::{Digest as _, Sha256};

use crate::cli::error::CliError;
use crate::flowfile::fault::{Fault, Faults, render};
use crate::flowfile::source::Format;
use crate::flowfile::{self, FlowPlan, LocalContent, LocalFile};
use crate::jobflow::flow::is_serialized_flow;
use crate::jobflow::json;
use crate::store::{FileSource, NewFile};

/// How large a text may be. Flow files have a limit of their own below this; serialized flows hold whole structures.
const TEXT_LIMIT_BYTES: u64 = 256 * 1024 * 1024;

/// What stands in a file.
pub(super) enum FlowText {
    FlowFile(Source),
    Serialized(Serialized),
}

/// A `Flow` or `Job` of jobflow, or a list of them.
pub(super) struct Serialized {
    pub(super) value: Bson,
    /// As the user named its file.
    pub(super) shown: String,
}

/// A flow before it is compiled, and its text for messages.
pub(super) struct Source {
    pub(super) plan: FlowPlan,
    text: String,
    /// As the user named it.
    shown: String,
    /// Paths in the flow start here.
    folder: PathBuf,
}

/// The files that a flow names on this machine.
#[derive(Default)]
pub(super) struct Local {
    pub(super) content: HashMap<PathBuf, LocalContent>,
    /// What has to be stored, each content once.
    pub(super) files: Vec<NewFile>,
    seen: HashSet<String>,
}

/// Returns the flow in the file, `-` being stdin, or everything that is wrong with it.
pub(super) fn read(file: &Path, format: Option<Format>) -> Result<FlowText, CliError> {
    let (text, shown, folder) = if file == Path::new("-") {
        (read_text(&mut io::stdin().lock(), "stdin")?, "stdin".to_owned(), PathBuf::from("."))
    } else {
        let shown = file.display().to_string();
        let mut opened = File::open(file).map_err(|error| unreadable(&shown, &error))?;
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        (read_text(&mut opened, &shown)?, shown, folder)
    };
    let format = format.or_else(|| Format::of_path(file)).unwrap_or_else(|| Format::guess(&text));
    if let Some(value) = serialized(&text, format) {
        return Ok(FlowText::Serialized(Serialized { value, shown }));
    }
    let name = file.file_stem().map_or_else(|| "flow".into(), |stem| stem.to_string_lossy());
    let name = if name == "-" { "flow".into() } else { name };
    match flowfile::parse(&text, format, &name) {
        Ok(plan) => Ok(FlowText::FlowFile(Source { plan, text, shown, folder })),
        Err(faults) => Err(faulty(&faults, &shown, &text)),
    }
}

/// Returns the value of the text if it is a serialized flow of jobflow. JSON is read as Python writes it.
fn serialized(text: &str, format: Format) -> Option<Bson> {
    if !text.contains("@class") {
        return None;
    }
    let value = if text.trim_start().starts_with(['{', '[']) {
        json::parse(text.trim_start_matches('\u{feff}').as_bytes()).ok()?
    } else if format == Format::Yaml {
        flowfile::source::read(text, format, &mut Faults::default())?.to_bson()
    } else {
        return None;
    };
    is_serialized_flow(&value).then_some(value)
}

fn read_text(source: &mut dyn Read, shown: &str) -> Result<String, CliError> {
    let mut text = String::new();
    // One more than the limit, so that the reader of the format says that it is too long.
    source
        .take(TEXT_LIMIT_BYTES.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| unreadable(shown, &error))?;
    Ok(text)
}

fn unreadable(shown: &str, error: &io::Error) -> CliError {
    CliError::input(format!("cannot read {shown}: {error}"))
}

fn faulty(faults: &[Fault], shown: &str, text: &str) -> CliError {
    let count = if faults.len() == 1 { "a fault".to_owned() } else { format!("{} faults", faults.len()) };
    let report = render(faults, shown, text);
    CliError::input(format!("{shown} has {count}; nothing was submitted:\n{}", report.trim_end()))
        .hint("`jf submit --format-help` explains the format")
}

impl Source {
    /// Returns the source of a flow that stands in no file.
    pub(super) fn of_command(plan: FlowPlan) -> Self {
        Self { plan, text: String::new(), shown: "the command".into(), folder: PathBuf::from(".") }
    }

    /// Returns the error that shows the faults in the text.
    pub(super) fn faulty(&self, faults: &[Fault]) -> CliError {
        faulty(faults, &self.shown, &self.text)
    }

    /// Returns the files that the flow names, with their hashes; all that cannot be read are told at once.
    pub(super) fn local_content(&self) -> Result<Local, CliError> {
        let mut local = Local::default();
        let mut faults = Vec::new();
        for named in self.plan.local_files() {
            match local.add(&self.folder.join(&named.path)) {
                Ok(content) => {
                    local.content.insert(named.path, content);
                }
                Err(error) => {
                    let message = format!("cannot read {}: {error}", named.path.display());
                    faults.push(Fault::at(named.span, "", message));
                }
            }
        }
        if faults.is_empty() { Ok(local) } else { Err(self.faulty(&faults)) }
    }
}

impl Local {
    fn add(&mut self, path: &Path) -> io::Result<LocalContent> {
        if path.is_dir() {
            let mut files = Vec::new();
            self.add_folder(path, "", &mut files)?;
            return Ok(LocalContent::Folder(files));
        }
        self.add_file(path).map(LocalContent::File)
    }

    fn add_folder(
        &mut self,
        folder: &Path,
        prefix: &str,
        files: &mut Vec<(String, LocalFile)>,
    ) -> io::Result<()> {
        let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::other(format!("{:?} is no text", entry.file_name())));
            };
            let inside = format!("{prefix}{name}");
            // The entry's own type: a link to a folder is not followed, so that no circle is walked.
            if entry.file_type()?.is_dir() {
                self.add_folder(&entry.path(), &format!("{inside}/"), files)?;
            } else {
                files.push((inside, self.add_file(&entry.path())?));
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> io::Result<LocalFile> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut file = File::open(path)?;
        let (sha256, size_bytes) = digest(&mut file)?;
        if self.seen.insert(sha256.clone()) {
            self.files.push(NewFile { sha256: sha256.clone(), source: FileSource::Path(path.to_owned()) });
        }
        Ok(LocalFile { sha256, size_bytes, mode: metadata.permissions().mode() & 0o777 })
    }
}

/// Returns the SHA-256 in hexadecimal and the size, reading in pieces: files may be larger than the memory.
fn digest(file: &mut File) -> io::Result<(String, u64)> {
    let (mut hash, mut size_bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece)?;
        let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        size_bytes += part.len() as u64;
    }
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), size_bytes))
}
