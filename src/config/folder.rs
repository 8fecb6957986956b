//! The folder of project files: which projects there are, and which one is meant.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::ConfigError;
use super::layers::Override;
use super::permissions::others_can_read;
use super::read::{self, Input, Loaded, Placed};
use super::settings::GeneralSettings;
use crate::flowfile::source::{Format, TEXT_LIMIT_BYTES};

/// Endings of project files. `.yml` is none of them (jobflow-remote 1.0 passes it over).
const ENDINGS: [&str; 3] = ["json", "yaml", "toml"];

/// A project file of the folder.
#[derive(Debug)]
pub struct Found {
    pub file: PathBuf,
    /// The name it gives itself, where that can be read.
    pub name: Option<String>,
    /// The project, or why it cannot be used.
    pub loaded: Result<Loaded, ConfigError>,
}

/// Returns the project files of the folder, in the order of their file names.
///
/// A folder that is not there has none. Values of the environment that are about projects count here, too.
pub fn list(folder: &Path, environment: &Environment) -> Result<Vec<Found>, ConfigError> {
    let failed = |source| ConfigError::Folder { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ENDINGS.contains(&ending) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files.into_iter().map(|file| found(file, folder, environment)).collect())
}

fn found(file: PathBuf, folder: &Path, environment: &Environment) -> Found {
    match open(&file) {
        Ok(opened) => Found {
            name: read::name_of(&opened.text, opened.format),
            loaded: opened.project(&file, folder, environment, &[]),
            file,
        },
        Err(error) => Found { file, name: None, loaded: Err(error) },
    }
}

/// Returns the chosen project: `named`, else the one of the settings, else the only one there is.
///
/// Only files that can be used are counted; the chosen one's faults are the error. Two usable files of the same name
/// are an error whichever project is meant, as in jobflow-remote.
pub fn select(
    named: Option<&str>,
    settings: &GeneralSettings,
    environment: &Environment,
    overrides: &[Override],
) -> Result<Loaded, ConfigError> {
    let folder = &settings.projects_folder;
    let found = list(folder, environment)?;
    let usable = usable(&found)?;
    let file = match named.or(settings.project.as_deref()) {
        Some(name) => match usable.get(name) {
            Some(file) => file.to_path_buf(),
            None => return Err(not_usable(name, folder, found)),
        },
        None => only(&usable, folder, &found)?,
    };
    load(&file, folder, environment, overrides)
}

/// Returns the files of the projects that can be used, by name.
fn usable(found: &[Found]) -> Result<BTreeMap<&str, &Path>, ConfigError> {
    let mut files: BTreeMap<&str, &Path> = BTreeMap::new();
    for Found { file, name, loaded } in found {
        let (Some(name), Ok(_)) = (name, loaded) else { continue };
        if let Some(first) = files.insert(name, file) {
            let files = vec![first.to_owned(), file.clone()];
            return Err(ConfigError::Duplicate { name: name.clone(), files });
        }
    }
    Ok(files)
}

fn only(usable: &BTreeMap<&str, &Path>, folder: &Path, found: &[Found]) -> Result<PathBuf, ConfigError> {
    let mut files = usable.values();
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file.to_path_buf()),
        (Some(_), Some(_)) => {
            let names = usable.keys().map(|name| (*name).to_owned()).collect();
            Err(ConfigError::Undecided { folder: folder.to_owned(), names })
        }
        (None, _) => match found {
            // Its faults say more than that there is none; loading it gives them.
            [one] => Ok(one.file.clone()),
            _ => Err(ConfigError::NoProject { folder: folder.to_owned(), broken: broken(found) }),
        },
    }
}

fn not_usable(name: &str, folder: &Path, found: Vec<Found>) -> ConfigError {
    let known = found.iter().filter(|one| one.loaded.is_ok()).filter_map(|one| one.name.clone()).collect();
    let broken = broken(&found);
    let faulty = found.into_iter().find(|one| one.name.as_deref() == Some(name));
    match faulty.map(|one| one.loaded) {
        Some(Err(error)) => error,
        _ => ConfigError::Unknown { name: name.to_owned(), folder: folder.to_owned(), known, broken },
    }
}

fn broken(found: &[Found]) -> Vec<PathBuf> {
    found.iter().filter(|one| one.loaded.is_err()).map(|one| one.file.clone()).collect()
}

/// Returns the project of one file, with the environment and the options over it.
///
/// A file with a secret in it that others can read is [`ConfigError::Exposed`].
pub fn load(
    file: &Path,
    projects_folder: &Path,
    environment: &Environment,
    overrides: &[Override],
) -> Result<Loaded, ConfigError> {
    open(file)?.project(file, projects_folder, environment, overrides)
}

/// A project file's text, and who may read it.
struct Opened {
    text: String,
    format: Format,
    mode: u32,
    exposed: bool,
}

fn open(path: &Path) -> Result<Opened, ConfigError> {
    let format = Format::of_path(path).ok_or_else(|| ConfigError::Ending { path: path.to_owned() })?;
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut text = String::new();
    let limit = u64::try_from(TEXT_LIMIT_BYTES).unwrap_or(u64::MAX);
    (&mut file).take(limit + 1).read_to_string(&mut text).map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(Opened { text, format, mode, exposed: others_can_read(&metadata) })
}

impl Opened {
    fn project(
        &self,
        file: &Path,
        projects_folder: &Path,
        environment: &Environment,
        overrides: &[Override],
    ) -> Result<Loaded, ConfigError> {
        let input =
            Input { file, text: &self.text, format: self.format, projects_folder, environment, overrides };
        let faulty = |found: Vec<Placed>| ConfigError::faulty("project file", file, &self.text, &found);
        let loaded = read::read(&input).map_err(faulty)?;
        if self.exposed && !loaded.literal_secrets.is_empty() {
            let keys = loaded.literal_secrets;
            return Err(ConfigError::Exposed { path: file.to_owned(), keys, mode: self.mode });
        }
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests;
