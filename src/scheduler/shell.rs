//! No batch system: processes of the host itself.
