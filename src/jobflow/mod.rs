//! jobflow
