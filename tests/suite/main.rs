//! The integration suite: one module per subject, one binary.
