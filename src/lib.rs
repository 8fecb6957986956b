//! JobFerry takes jobs through clusters without losing one.
//!
//! # The map
//!
//! Dependencies run one way:
//! `cli → runner → {store, transport, scheduler, worker, config} → {model, jobflow, flowfile}`.
//!
//! | room | what it knows |
//! |---|---|
//! | [`model`] | identities, the state machine ([`model::state`]), jobs, flows, resources; pure |
//! | [`jobflow`] | jobflow's JSON: serialized jobs, references, jobs that are commands; pure |
//! | [`flowfile`] | our own flow files: read, check, expand, compile to model jobs; pure |
//! | [`store`] | where jobs, flows, outputs and files are kept: SQLite, MongoDB |
//! | [`transport`] | how files and commands reach a host: this machine, OpenSSH |
//! | [`scheduler`] | what a batch system is asked and what its words mean: text in, text out |
//! | [`worker`] | what lies in a run directory: scripts, the wrapper, end markers |
//! | [`config`] | project files, layers, secrets |
//! | [`runner`] | one reconciler per edge of the state machine, and what keeps them safe |
//! | [`cli`] | `jf` and `runner` |
//!
//! The three plug points are traits with one contract suite each, in `tests/suite`: [`store::Queue`] (with
//! [`store::Outputs`] and [`store::Files`]), [`transport::Transport`], [`scheduler::Scheduler`].
//!
//! # One job's life
//!
//! 1. `jf submit` reads a flow file ([`flowfile::parse`]), compiles it to jobs, and inserts flow and jobs in one go
//!    ([`store::Queue::insert_flow`]). A job without parents is READY, any other WAITING.
//! 2. [`runner::checkout`] claims it: CHECKED_OUT, and its attempt is one larger. From here on the attempt has a name,
//!    its [`model::ids::Token`].
//! 3. [`runner::stage`] puts the outputs of other jobs in the place of references ([`jobflow::reference::resolve`]),
//!    makes the files of its run directory ([`worker::script`]; the serialized job itself, [`worker::input`], for a job
//!    that is a Python function) and uploads them, many jobs in one round trip: UPLOADED.
//! 4. [`runner::submit`] hands the script to the scheduler, many jobs in one round trip, each exactly once
//!    ([`worker::submission`]): SUBMITTED, with the scheduler's id.
//! 5. On the worker the wrapper takes the start lock, runs the program, and writes the end marker
//!    ([`worker::end_marker`]) last; then an empty file in the spool of ended attempts.
//! 6. [`runner::poll`] lists the spool and asks the scheduler, one question per host: RUNNING, then TERMINATED.
//! 7. [`runner::collect`] fetches the results, compared by size and SHA-256: DOWNLOADED.
//! 8. [`runner::complete`] judges them ([`runner::verdict`]), stores outputs, their parts in additional stores and kept
//!    files, and ends the job: COMPLETED or FAILED. In the same step the flow grows by what a Python job's response
//!    asks for ([`jobflow::response`]), and children whose parents are all done become READY.
//!
//! Users act at any time ([`store::actions`]): they stop jobs, run them again, delete them. Then the moves above are lost to
//! theirs, and [`runner::cancel`] ends the processes.
//!
//! What is stored is always ahead of what is done, or doing it twice is doing it once: so a runner may be killed
//! anywhere, and the next one goes on from the store.

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
