//! The pure heart: identities, the state machine, jobs, flows, resources and queries.
//!
//! Nothing here reads a clock, a file or a socket; everything can be tested in microseconds. Times come in as
//! [`Timestamp`], made by whoever holds a [`clock::Clock`].

pub mod clock;
pub mod flow;
pub mod ids;
pub mod job;
pub mod query;
pub mod quote;
pub mod resources;
pub mod state;

/// A moment in UTC with millisecond precision, as the document database stores it.
pub type Timestamp = bson::DateTime;
