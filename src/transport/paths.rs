//! Which paths a transport accepts, and the names it makes itself: the one place for every back end.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Occupied, Operation, OperationError, Part, Put};

/// Refuses an operation whose paths may lead out of where they belong, or that contradicts itself.
pub(super) fn check(operation: &Operation) -> Result<(), OperationError> {
    match operation {
        Operation::Put(put) => check_put(put),
        Operation::Fetch(fetch) => {
            check_absolute(&fetch.directory)?;
            let mut whole = BTreeSet::new();
            for file in &fetch.files {
                check_relative(&file.path)?;
                if file.part == Part::Whole && !whole.insert(file.path.as_str()) {
                    return Err(OperationError::refused(format!("{:?} is to be fetched twice", file.path)));
                }
            }
            Ok(())
        }
        Operation::List { directory } => check_absolute(directory),
        Operation::Remove { files } => files.iter().try_for_each(|file| check_absolute(file)),
        Operation::RemoveTree { directory, marker } => {
            check_absolute(directory)?;
            check_relative(marker)
        }
        Operation::Run(command) => check_script(&command.script),
    }
}

/// Refuses what no shell can be given.
pub(super) fn check_script(script: &str) -> Result<(), OperationError> {
    if script.contains('\0') {
        return Err(OperationError::refused("the script contains a NUL byte"));
    }
    Ok(())
}

fn check_put(put: &Put) -> Result<(), OperationError> {
    check_absolute(&put.directory)?;
    let mut paths = BTreeSet::new();
    for file in &put.files {
        check_relative(&file.path)?;
        if !paths.insert(file.path.as_str()) {
            return Err(OperationError::refused(format!("{:?} is to be written twice", file.path)));
        }
    }
    if let Some(file) = put.files.iter().find(|file| ancestors(&file.path).any(|path| paths.contains(path))) {
        return Err(OperationError::refused(format!("{:?} lies below another file", file.path)));
    }
    match &put.occupied {
        Occupied::Replace { marker } => check_relative(marker),
        Occupied::MoveAside { if_exists, to, marker } => {
            check_relative(if_exists)?;
            check_relative(marker)?;
            check_absolute(to)?;
            if parent(to) == parent(&put.directory) && to != &put.directory {
                return Ok(());
            }
            Err(OperationError::refused(format!("{to:?} is not beside {:?}", put.directory)))
        }
    }
}

/// Accepts absolute paths of names alone: no `.`, no `..`, nothing empty, no NUL; the root itself is refused.
fn check_absolute(path: &str) -> Result<(), OperationError> {
    let Some(names) = path.strip_prefix('/') else {
        return Err(OperationError::refused(format!("{path:?} is not an absolute path")));
    };
    check_names(path, names)
}

fn check_relative(path: &str) -> Result<(), OperationError> {
    if path.starts_with('/') {
        return Err(OperationError::refused(format!("{path:?} is not a relative path")));
    }
    check_names(path, path)
}

fn check_names(path: &str, names: &str) -> Result<(), OperationError> {
    let bad = names.split('/').find_map(|name| match name {
        "" => Some("has an empty name in it"),
        "." | ".." => Some("has \".\" or \"..\" in it"),
        _ if name.contains('\0') => Some("has a NUL byte in it"),
        _ => None,
    });
    bad.map_or(Ok(()), |why| Err(OperationError::refused(format!("the path {path:?} {why}"))))
}

/// The paths above `path`, nearest first, without the root and without `path` itself.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path)).filter(|path| !path.is_empty())
}

/// The path above; empty for a name in the root; nothing for a relative path of one name.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// Where a directory is written before it is whole: beside it, always the same name, so that what a killed attempt left
/// is found and replaced by the next.
pub(super) fn staging(directory: &str) -> String {
    beside(directory, ".jobferry-put-")
}

/// Where a directory goes before it is removed: what is half removed no longer bears its name.
pub(super) fn trash(directory: &str) -> String {
    beside(directory, ".jobferry-old-")
}

/// A hash stands for the name: a prefix could make it longer than a file system allows.
fn beside(directory: &str, prefix: &str) -> String {
    let (parent, name) = directory.rsplit_once('/').unwrap_or(("", directory));
    let digest = Sha256::digest(name.as_bytes());
    let mut path = format!("{parent}/{prefix}");
    for byte in digest.iter().take(8) {
        // Writing to a String cannot fail.
        let _infallible = write!(path, "{byte:02x}");
    }
    path
}

/// Returns a digest as `sha256sum` prints it.
pub(super) fn hex(digest: impl AsRef<[u8]>) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest.as_ref() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Content, PutFile};

    #[test]
    fn paths_that_may_lead_out_are_refused() {
        for bad in ["", "/a", "..", "a/..", "a/../b", "a//b", "a/", ".", "./a", "a\0b"] {
            assert!(check_relative(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a", "/", "/..", "/a/../b", "//a", "/a/", "/a/./b", "/a\0"] {
            assert!(check_absolute(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn odd_but_honest_names_are_accepted() {
        for good in ["-rf", "a b", "…", "a\nb", "..a", ".hidden", "a/~", "'\"$`\\", "*"] {
            check_relative(good).unwrap();
            check_absolute(&format!("/{good}")).unwrap();
        }
    }

    fn put(paths: &[&str], occupied: Occupied) -> Operation {
        let files = paths
            .iter()
            .map(|path| PutFile { path: (*path).into(), content: Content::Bytes(Vec::new()), mode: 0o600 })
            .collect();
        Operation::Put(Put { directory: "/w/a".into(), files, occupied })
    }

    #[test]
    fn a_put_must_not_contradict_itself() {
        let replace = || Occupied::Replace { marker: "m".into() };
        check(&put(&["a", "b/c", "b/d"], replace())).unwrap();
        assert!(check(&put(&["a", "a"], replace())).is_err());
        assert!(check(&put(&["a", "a/b/c"], replace())).is_err());
        for to in ["/w/b/c", "/w/a", "/b", "w/b"] {
            let aside = Occupied::MoveAside { if_exists: "e".into(), to: to.into(), marker: "m".into() };
            assert!(check(&put(&["a"], aside)).is_err(), "{to}");
        }
    }

    #[test]
    fn own_names_are_beside_the_directory_and_always_the_same() {
        assert_eq!(staging("/w/35/8c"), staging("/w/35/8c"));
        assert!(staging("/w/35/8c").starts_with("/w/35/.jobferry-put-"));
        assert!(trash("/8c").starts_with("/.jobferry-old-"));
        assert_ne!(staging("/w/35/8c"), staging("/w/35/8d"));
    }
}
