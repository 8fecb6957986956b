//! What lies in a run directory on a worker, and the scripts that go there: text in, text out.
//!
//! | file | written by | content |
//! |---|---|---|
//! | `jfremote_in.json` | staging | [`input`]: the job; also the mark by which a directory is known as ours |
//! | `submit.sh` | staging | [`script`]: directives and the wrapper |
//! | `.jobferry/body` | staging | [`script`]: what the job does |
//! | `.jobferry/submitting`, `submitted` | [`submission`] | intent, and the scheduler's answer |
//! | `.jobferry/start`, `end` | the wrapper | [`end_marker`]: who started it, and how it ended |
//! | `queue.out`, `queue.err` | the scheduler | what the script itself printed |
//! | `stdout`, `stderr` | the job | what a command job printed |
//!
//! A run directory holds all that its job needs; names are in [`layout`].

pub mod end_marker;
pub mod input;
pub mod layout;
pub mod script;
pub mod submission;
