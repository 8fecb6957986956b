//! Fetched files on their way to their names on this machine.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::OperationError;

/// A file of this machine on its way to its name: it gets it by rename, when it is whole.
#[derive(Debug)]
pub(super) struct Landing {
    target: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Landing {
    /// Opens a temporary file beside `folder`/`path`; it is removed when this is dropped.
    pub(super) fn open(folder: &Path, path: &str) -> Result<Self, OperationError> {
        let target = folder.join(path);
        let parent = target.parent().unwrap_or(folder).to_owned();
        fs::create_dir_all(&parent).map_err(|error| here("make the directory", &parent, &error))?;
        let file = tempfile::Builder::new()
            .prefix(".jobferry-get-")
            .tempfile_in(&parent)
            .map_err(|error| here("write below", &parent, &error))?;
        Ok(Self { target, file })
    }

    /// Appends to the temporary file.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), OperationError> {
        self.file.write_all(bytes).map_err(|error| here("write", &self.target, &error))
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> Result<(), OperationError> {
        let Self { target, file } = self;
        file.persist(&target).map(drop).map_err(|error| here("write", &target, &error.error))
    }
}

/// A failure on this side, said as such: the host has no part in it.
fn here(action: &str, path: &Path, error: &io::Error) -> OperationError {
    let mut failure = OperationError::of(action, path, error);
    failure.message.push_str(" (on this machine)");
    failure
}
