//! SQLite: one file, no server, the default.
