//! Who else can read a file.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;

/// Returns whether the group or everybody may read the file.
pub(super) fn others_can_read(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o044 != 0
}
