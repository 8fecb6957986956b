//! The daemon's inside: one reconciler per edge of the state machine, and what keeps them safe.
//!
//! # Theory of operation
//!
//! Each edge is a loop ([`reconcile`]) that reads from the store which jobs stand before it, does its step for a
//! batch of them, and stores the moves by compare-and-set. Nothing is handed from one edge to the next but a hint to
//! look ([`act::Wake`]): a lost hint costs time, never a job, because the timer is the floor. What an edge remembers
//! between two activations (its `Memory`) saves work; losing it is always safe. So a restart needs no recovery of
//! its own: the loops find everything in the store.
//!
//! | edge | from → to | file |
//! |---|---|---|
//! | checkout | READY → CHECKED_OUT | [`checkout`] |
//! | stage | CHECKED_OUT → UPLOADED | [`stage`], [`run_directory`] |
//! | submit | UPLOADED → SUBMITTED | [`submit`] |
//! | poll | SUBMITTED → RUNNING → TERMINATED | [`poll`] |
//! | collect | TERMINATED → DOWNLOADED | [`collect`], [`results`] |
//! | cancel | ends the processes of attempts that nobody wants any more | [`cancel`] |
//! | complete | DOWNLOADED → COMPLETED, FAILED, READY | [`complete`], [`verdict`] |
//!
//! Who may write what: only the runner that holds the lease ([`lease`]) moves jobs along these edges, and only by
//! [`crate::store::Queue::claim`], `apply` and `finish`. Users move jobs too, at any time; then the runner's
//! compare-and-set is lost and its effect undone. Host trouble pauses the host ([`breaker`]) and moves no job; job
//! trouble ([`failure`]) moves the job and pauses nobody.
//!
//! Nothing below this module starts a task, opens a socket or reads the time of day by itself: clock, randomness,
//! stores, transports and schedulers come in with [`plan::Plan`] and [`act::Act`]. So the whole runner runs in a
//! simulation (`tests/suite/simulation`). [`daemon`], [`status`], [`logging`] and [`clock`] are the outer skin that
//! a real process adds.

pub mod act;
pub mod breaker;
pub mod cancel;
pub mod checkout;
pub mod clock;
pub mod collect;
pub mod complete;
pub mod connect;
pub mod daemon;
pub mod failure;
pub mod job_stores;
pub mod lease;
pub mod logging;
pub mod parents;
pub mod plan;
pub mod poll;
pub mod process;
mod python_verdict;
pub mod reconcile;
pub mod remote;
pub mod results;
pub mod run_directory;
pub mod stage;
pub mod status;
pub mod submit;
pub mod supervisor;
pub mod verdict;
