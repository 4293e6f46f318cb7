//! The conformance suite: what every store must do, one named test per case.
//!
//! A store's `tests/conformance.rs` opens a fresh store and hands it over:
//!
//! ```ignore
//! async fn open() -> Fixture { … }
//! mainspring_testkit::conformance!(open);
//! ```
//!
//! Each case is an `async fn` over a [`Bench`]: a store, a way to open a second handle on the same
//! data, and short verbs. After every case the store must agree with its own recount
//! ([`Reader::audit`]). The last cases are differential: random operations from a seed, applied to
//! [`crate::MemoryStore`] and to the store under test, must give equal answers and equal rows.
//!
//! Cases look at a store from outside, through its traits. What only one store can get wrong (a
//! schema, a lock, a full disk) is tested beside that store.

mod bench;

pub mod claim;
pub mod enqueue;
pub mod finish;

pub use bench::*;

use mainspring_core::store::Store;
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use mainspring_core::reader::Reader;

/// A future that gives another handle on the same data.
pub type Opening = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send>>;

/// A fresh store for one case.
pub struct Fixture {
    /// The store: empty but for project 1.
    pub store: Arc<dyn Store>,
    /// Opens another handle on the same data, as another process would.
    pub again: Box<dyn Fn() -> Opening + Send + Sync>,
    /// Dropped after the case: removes what the store stood on.
    pub guard: Box<dyn Any + Send>,
}

/// The longest a case may take, on a machine that builds at the same time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs one case on a runtime of its own: opens, runs, audits, closes.
pub fn run(name: &str, open: impl AsyncFnOnce() -> Fixture, case: impl AsyncFnOnce(&Bench)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let steps = async {
            let fixture = open().await;
            let bench = Bench::new(fixture);
            case(&bench).await;
            let differences = bench.store.audit().await.expect("an audit");
            assert!(differences.is_empty(), "after {name} figures and rows differ: {differences:#?}");
            bench.store.close().await;
        };
        let in_time = tokio::time::timeout(PATIENCE, steps).await;
        assert!(in_time.is_ok(), "{name} took longer than {PATIENCE:?}");
    });
}

/// Expands to one `#[test]` per case. `$open` is an `async fn() -> Fixture`.
#[macro_export]
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance! { @each $open;
            enqueue::a_job_comes_back_as_it_was_enqueued
            enqueue::instants_are_cut_to_microseconds
            enqueue::due_jobs_are_available_and_later_ones_scheduled
            enqueue::answers_follow_the_input_and_numbers_rise
            enqueue::a_thousand_jobs_fit_into_a_call_and_one_more_is_refused
            enqueue::texts_of_any_script_come_back_unchanged
            enqueue::odd_json_is_kept_verbatim
            enqueue::a_poisoned_payload_is_handed_out_as_it_is
            enqueue::the_largest_payload_fits
            enqueue::one_refused_entry_refuses_the_call
            enqueue::a_held_unique_key_gives_its_holder
            enqueue::a_unique_key_holds_in_the_states_the_newcomer_names
            enqueue::a_unique_key_holds_for_the_holders_period
            enqueue::the_last_job_written_holds_the_key
            enqueue::a_unique_key_counts_within_one_call
            enqueue::two_handles_with_one_unique_key_make_one_job
            enqueue::a_fire_makes_one_job_and_its_backfill_another
            enqueue::a_project_is_made_once
            claim::jobs_are_claimed_in_the_order_they_became_due
            claim::a_level_of_priority_is_worth_a_minute
            claim::a_claim_tells_everything_the_handler_needs
            claim::a_running_job_is_not_claimed_again
            claim::a_claim_takes_no_more_than_its_limit
            claim::kinds_nobody_knows_are_left_alone_and_not_in_the_way
            claim::only_the_queues_asked_for_are_served
            claim::queues_take_turns
            claim::a_node_that_did_not_join_gets_nothing
            claim::promote_goes_by_time_then_number_up_to_its_limit
            claim::an_expired_job_is_cancelled_when_it_is_promoted
            claim::an_expired_job_is_cancelled_when_it_is_claimed
            claim::two_handles_never_claim_the_same_job
            finish::a_success_is_kept_with_its_output
            finish::history_shows_every_attempt
            finish::a_failure_waits_and_comes_back
            finish::a_retry_without_a_wait_is_available_at_once
            finish::a_second_finish_is_refused
            finish::a_finish_of_what_does_not_exist_is_stale
            finish::answers_follow_the_input_and_a_call_takes_each_attempt_once
            finish::a_stale_finish_after_a_rescue_changes_nothing
            finish::attempts_given_back_do_not_count
            finish::partial_and_skipped_are_completed_with_their_reason
            finish::a_cancelled_attempt_ends_the_job
            finish::failures_are_told_and_successes_are_not
            finish::too_much_is_refused
        }
    };
    (@each $open:path; $($file:ident :: $case:ident)*) => { $(
        #[test]
        fn $case() {
            $crate::conformance::run(stringify!($case), $open, $crate::conformance::$file::$case);
        }
    )* };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// A case that is written but not in the list would never run.
    #[test]
    fn every_case_is_in_the_list() {
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        let list = include_str!("mod.rs");
        let listed: BTreeSet<String> = list
            .lines()
            .filter_map(|line| line.trim().split_once("::"))
            .map(|(file, case)| format!("{file}::{case}"))
            .collect();
        let mut found = 0;
        for entry in std::fs::read_dir(here).expect("the folder of cases") {
            let path = entry.expect("a file").path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if stem == "mod" || stem == "bench" {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a text");
            for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let case = line.split('(').next().unwrap_or_default();
                let case = format!("{stem}::{case}");
                assert!(listed.contains(&case), "{case} is not in the list of `conformance!`");
                found += 1;
            }
        }
        assert!(found >= 40, "{found} cases found");
    }
}
