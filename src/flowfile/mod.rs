//! flowfile
