//! Writing a new project file.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::error::ConfigError;

/// Writes a new file that its owner alone can read (mode 0600), and its folder (mode 0700) if need be.
///
/// On success the whole text is at `path`, on disk. A file that is there already is [`ConfigError::Exists`], and is
/// left as it is; after any error nothing of the text is left anywhere.
pub fn save_new(path: &Path, text: &str) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(".jobferry-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => ConfigError::Exists { path: path.to_owned() },
        _ => failed(error.error),
    })?;
    // Without it a crash right now may lose the name of the file.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_private_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("projects/demo.yaml");
        save_new(&path, "name: demo\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name: demo\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.yaml");
        save_new(&path, "first").unwrap();
        let error = save_new(&path, "second").unwrap_err();
        assert!(matches!(error, ConfigError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_what_to_type() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = save_new(&file.path().join("folder/demo.yaml"), "text").unwrap_err();
        assert!(error.to_string().contains("cannot write the file"), "{error}");
        assert!(error.hint().unwrap().contains("ls -ld"), "{error}");
    }
}
