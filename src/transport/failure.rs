//! What a refusal of an operating system means to a caller: from `errno` here, from the words of `strerror` elsewhere.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::{OperationError, OperationErrorKind, STDOUT_LIMIT_BYTES};

/// The words of glibc, musl and the BSDs for what is the file system's trouble (`LC_ALL=C`; `strerror(3)`).
const STORAGE_WORDS: [&str; 9] = [
    "No space left on device",
    "Disk quota exceeded",
    "Quota exceeded",
    "Read-only file system",
    "Stale file handle",
    "Stale NFS file handle",
    "Input/output error",
    "I/O error",
    "Transport endpoint is not connected",
];

const PERMISSION_WORDS: [&str; 2] = ["Permission denied", "Operation not permitted"];

/// Returns what kind of failure a message of a Unix tool (run under `LC_ALL=C`) reports.
pub(super) fn kind_of_message(message: &str) -> OperationErrorKind {
    if STORAGE_WORDS.iter().any(|words| message.contains(words)) {
        return OperationErrorKind::Storage;
    }
    if PERMISSION_WORDS.iter().any(|words| message.contains(words)) {
        return OperationErrorKind::Permission;
    }
    OperationErrorKind::Other
}

/// Returns whether the message says no more than that there is nothing of this name.
pub(super) fn says_missing(message: &str) -> bool {
    ["No such file or directory", "Not a directory", "Too many levels of symbolic links"]
        .iter()
        .any(|words| message.contains(words))
}

/// Returns what kind of failure an error of this machine is.
pub(super) fn kind_of_error(error: &io::Error) -> OperationErrorKind {
    match Errno::from_io_error(error) {
        Some(
            Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::STALE
            | Errno::IO
            | Errno::NOTCONN
            | Errno::NODEV
            | Errno::NXIO,
        ) => OperationErrorKind::Storage,
        Some(Errno::ACCESS | Errno::PERM) => OperationErrorKind::Permission,
        _ => OperationErrorKind::Other,
    }
}

/// Returns whether the error says no more than that there is nothing of this name.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

impl OperationError {
    /// Returns the failure of one system call on `path`.
    pub(super) fn of(action: &str, path: &Path, error: &io::Error) -> Self {
        Self { kind: kind_of_error(error), message: format!("cannot {action} {}: {error}", path.display()) }
    }

    /// Returns a refusal of ours, made before anything was touched.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self { kind: OperationErrorKind::Refused, message: message.into() }
    }

    /// Returns the refusal of a directory that is not ours, in the same words on every host.
    pub(super) fn unmarked(directory: &str, marker: &str) -> Self {
        Self::refused(format!("{directory} is in use and does not contain {marker}: it is left alone"))
    }

    /// Returns the failure of a script that printed more than is taken.
    pub(super) fn too_much() -> Self {
        let message = format!("the command printed more than {} MiB", STDOUT_LIMIT_BYTES >> 20);
        Self { kind: OperationErrorKind::Other, message }
    }

    /// Returns the failure that a Unix tool told in its own words.
    pub(super) fn told(message: &str) -> Self {
        let message = message.trim();
        let message = if message.is_empty() { "the host gave no reason" } else { message };
        Self { kind: kind_of_message(message), message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sorted_by_their_words() {
        let table = [
            ("tar: a/b: Cannot write: No space left on device", OperationErrorKind::Storage),
            ("mkdir: cannot create directory '/x': Read-only file system", OperationErrorKind::Storage),
            ("rm: cannot remove '/x': Stale file handle", OperationErrorKind::Storage),
            ("mkdir: cannot create directory '/x': Permission denied", OperationErrorKind::Permission),
            ("mv: cannot move 'a': Operation not permitted", OperationErrorKind::Permission),
            ("rm: cannot remove '/x': Is a directory", OperationErrorKind::Other),
        ];
        for (message, kind) in table {
            assert_eq!(kind_of_message(message), kind, "{message}");
        }
    }

    #[test]
    fn errors_are_sorted_by_their_number() {
        let table = [
            (Errno::NOSPC, OperationErrorKind::Storage),
            (Errno::DQUOT, OperationErrorKind::Storage),
            (Errno::ROFS, OperationErrorKind::Storage),
            (Errno::ACCESS, OperationErrorKind::Permission),
            (Errno::ISDIR, OperationErrorKind::Other),
        ];
        for (errno, kind) in table {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(kind_of_error(&error), kind, "{errno:?}");
            assert_eq!(kind_of_message(&error.to_string()), kind, "the two agree: {error}");
        }
    }

    #[test]
    fn only_an_absent_name_is_missing() {
        assert!(says_missing("stat: cannot statx '/x': No such file or directory"));
        assert!(!says_missing("stat: cannot statx '/x': Permission denied"));
        assert!(is_missing(&io::Error::from_raw_os_error(Errno::NOENT.raw_os_error())));
        assert!(!is_missing(&io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error())));
    }
}
