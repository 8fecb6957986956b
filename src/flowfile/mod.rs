#![doc = include_str!("FORMAT.md")]

mod compile;
pub mod decode;
pub mod fault;
mod files;
mod job;
mod order;
mod outputs;
mod plan;
mod quantity;
mod read;
mod resources;
mod schema;
mod scope;
mod shell;
pub mod source;
mod sweep;
mod template;

pub use compile::{Defaults, LocalContent, LocalFile, single_command};
pub use plan::{FlowPlan, JobPlan, LocalPath};
pub use quantity::{duration_seconds, memory_bytes};
pub use read::parse;
pub use schema::schema;

/// The page about the format, as Markdown.
pub const FORMAT_HELP: &str = include_str!("FORMAT.md");

#[cfg(test)]
mod tests;
