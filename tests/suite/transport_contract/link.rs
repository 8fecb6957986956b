//! Promises on the connection over SSH.
