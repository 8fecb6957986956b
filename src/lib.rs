//! JobFerry takes jobs through clusters without losing one.

pub mod cli;
pub mod config;
pub mod flowfile;
pub mod jobflow;
pub mod model;
pub mod runner;
pub mod scheduler;
pub mod store;
pub mod transport;
pub mod worker;
