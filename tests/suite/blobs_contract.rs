//! The promises of `jobferry::store::Blobs`, held by every back end, and of `load_blobs` over them.
//!
//! A back end takes part with one line, `contract!(name, path::to::fresh)`, where `fresh` is
//! `async fn() -> Option<Bench>` and answers none where its service is not there (after saying so on one line).

mod cases;
mod json_file;
mod loading;
mod mongodb;
mod s3;
mod sqlite;

pub(crate) use self::s3::new_bucket;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use jobferry::store::Blobs;

/// A fresh, empty additional store, and whatever has to live as long as it does.
pub(crate) struct Bench {
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) outside: Box<dyn Outside>,
    pub(crate) limits: Limits,
    #[expect(dead_code, reason = "kept for its destructor: a temporary directory, a database to drop")]
    pub(crate) kept: Box<dyn Any + Send + Sync>,
}

/// Other openings of the same place.
#[async_trait]
pub(crate) trait Outside: Send + Sync {
    /// Returns the store as a second process opens it.
    async fn again(&self) -> Arc<dyn Blobs>;
    /// Returns an additional store of another name at the same place.
    async fn neighbour(&self) -> Arc<dyn Blobs>;
}

/// What a back end cannot keep.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    /// A blob of 20 MB is refused as too large.
    pub(crate) refuses_large: bool,
    /// NaN and infinities become null.
    pub(crate) loses_odd_numbers: bool,
}

/// Makes one test of each case.
macro_rules! contract {
    ($name:ident, $fresh:path) => {
        mod $name {
            crate::blobs_contract::tests_of! { $fresh,
                cases: what_is_put_is_got, missing_are_left_out, put_twice_is_once, the_later_data_holds,
                    removed_by_job, removing_nothing_is_no_error, values_survive, large, many_at_once,
                    other_programs_see_it, names_do_not_mix, the_same_from_two_sides;
                loading: parts_come_into_their_place, wrapped_twice_comes_out_whole, outputs_go_with_their_parts;
            }
        }
    };
}

macro_rules! tests_of {
    ($fresh:path, $($subject:ident: $($case:ident),+;)+) => {
        $(mod $subject {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(bench) = $fresh().await {
                    crate::blobs_contract::$subject::$case(&bench).await;
                }
            })+
        })+
    };
}

pub(crate) use {contract, tests_of};
