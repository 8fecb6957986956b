//! The promises of `jobferry::store`, held by every back end.
//!
//! Each case is an async function over a [`Bench`]: fresh, migrated, empty stores. A back end takes part with one
//! line, `contract!(name, path::to::fresh)`, where `fresh` is `async fn() -> Option<Bench>` and answers none where
//! its service is not there (after saying so on one line).

mod actions;
mod admin;
mod claim;
mod files;
mod finish;
mod flows;
mod growth;
mod insert;
mod lease;
mod making;
mod mongodb;
mod moves;
mod odd;
mod outputs;
mod queries;
mod repair;
mod schema;
mod sequences;
mod sqlite;

pub(crate) use self::mongodb::{Dropped, Scratch};

use std::any::Any;

use async_trait::async_trait;
use jobferry::model::ids::JobKey;
use jobferry::store::Stores;

/// Fresh stores, and whatever has to live as long as they do.
pub(crate) struct Bench {
    pub(crate) stores: Stores,
    /// None where nobody but the store can reach the data.
    pub(crate) outside: Option<Box<dyn Outside>>,
    #[expect(dead_code, reason = "kept for its destructor: a temporary directory, a database to drop")]
    pub(crate) kept: Box<dyn Any + Send + Sync>,
}

/// What other programs do to the same data.
#[async_trait]
pub(crate) trait Outside: Send + Sync {
    /// Returns the stores as a second process opens them, not migrated.
    async fn second(&self) -> Stores;
    /// Sets or clears the lock of a job.
    async fn hold(&self, key: &JobKey, holder: Option<&str>);
    /// Writes this number as the version of the schema.
    async fn set_schema_version(&self, version: u32);
}

impl Bench {
    pub(crate) fn outside(&self) -> &dyn Outside {
        self.outside.as_deref().expect("a case that needs a second program runs where there can be one")
    }
}

/// Makes one test of each case that needs only the store.
macro_rules! contract_inside {
    ($name:ident, $fresh:path) => {
        crate::store_contract::tests_of! { $name, $fresh,
            insert: ids_come_in_order, duplicates_leave_nothing, first_states_and_fields, an_empty_flow;
            claim: most_urgent_first, limits_hold, attempts_and_history_count, not_due_is_left_alone,
                two_owners_never_share, flows_become_running, work_is_sorted_and_limited;
            moves: each_change_is_stored, wrong_state_or_attempt_is_lost, a_plain_write_keeps_state_and_history,
                an_illegal_move_writes_nothing, history_has_a_limit, batches_answer_in_order;
            finish: twice_is_once, children_wait_for_all_parents, failed_parents_by_rule, the_largest_index_decides,
                a_batch_ends_many, lost_moves_release_nothing, a_gathering_child, other_flows_children_start;
            growth: a_replacement, a_detour, stops, growing_twice_is_once, a_known_job_is_refused, a_thousand_new_jobs;
            flows: states_are_derived, lists_members_and_parents, filters, sorting;
            repair: half_done_is_finished, nothing_to_do_is_nothing;
            lease: one_owner_at_a_time, runs_out, renews_and_releases;
            queries: each_filter, pages_and_sorts, names_with_wildcards, metadata, counts, load_counts_what_is_asked_for,
                summaries_leave_out_the_large;
            outputs: newest_wins, put_twice_is_once, missing_are_left_out;
            files: bytes_and_paths, large, missing, wrong_hash_is_refused, unreadable_source, put_twice;
            odd: values_survive;
            schema: migrating_again_does_nothing;
            actions: a_failed_job_runs_again, reruns_are_refused_in_words, force_reaches_all_descendants,
                older_indexes_are_not_run_again, a_running_job_leaves_an_order_behind, pausing_and_resuming,
                stopping_frees_those_that_can_do_without, retrying, setting_a_state,
                setting_what_a_job_is_run_with, a_deleted_job_is_missed_by_nobody, a_deleted_job_is_ended,
                flows_are_deleted_whole, the_store_of_a_flow, many_at_once, a_job_and_its_child_in_one_batch;
        }
    };
}

/// Makes one test of each case.
macro_rules! contract {
    ($name:ident, $fresh:path) => {
        mod $name {
            crate::store_contract::contract_inside!(inside, $fresh);
            crate::store_contract::tests_of! { outside, $fresh,
                moves: a_held_job_is_left_alone;
                queries: by_lock;
                schema: newer_is_refused, other_programs_see_it;
                actions: locks_are_honoured_or_broken;
            }
        }
    };
}

macro_rules! tests_of {
    ($name:ident, $fresh:path, $($subject:ident: $($case:ident),+;)+) => {
        mod $name {
            $(mod $subject {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(bench) = $fresh().await {
                        crate::store_contract::$subject::$case(&bench).await;
                    }
                })+
            })+
        }
    };
}

pub(crate) use {contract, contract_inside, tests_of};
