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

pub mod batches;
pub mod claim;
pub mod control;
pub mod differential;
pub mod enqueue;
pub mod events;
pub mod figures;
pub mod finish;
pub mod limits;
pub mod nodes;
pub mod schedules;
pub mod scope;
pub mod sweep;
pub mod tables;
pub mod tables_tx;
pub mod traces;

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
            claim::only_the_project_asked_for_is_served
            claim::queues_take_turns
            claim::a_node_that_did_not_join_gets_nothing
            claim::promote_goes_by_time_then_number_up_to_its_limit
            claim::an_expired_job_is_cancelled_when_it_is_promoted
            claim::an_expired_job_is_cancelled_when_it_is_claimed
            claim::two_handles_never_claim_the_same_job
            limits::a_queue_runs_no_more_than_its_limit
            limits::all_queues_of_a_project_have_a_limit_together
            limits::a_limit_holds_for_handles_that_claim_at_once
            limits::a_full_key_holds_its_jobs_and_no_others
            limits::a_job_may_bring_a_limit_for_its_key
            limits::a_released_job_that_does_not_run_releases_the_next
            limits::a_raised_limit_releases_held_jobs
            limits::a_limit_set_later_counts_what_runs_already
            limits::a_queues_rate_says_when_it_gives_more
            limits::a_rate_counts_starts_and_not_candidates
            limits::a_key_without_a_token_is_put_off
            limits::a_paused_queue_gives_nothing
            limits::a_pause_of_all_queues_holds_them_all
            limits::keys_of_a_fair_queue_take_turns
            limits::a_fair_queue_keeps_the_order_within_a_key
            limits::settings_come_back_as_they_were_set
            limits::changes_of_a_queue_are_told
            finish::a_success_is_kept_with_its_output
            finish::history_shows_every_attempt
            finish::a_failure_waits_and_comes_back
            finish::a_retry_without_a_wait_is_available_at_once
            finish::a_second_finish_is_refused
            finish::a_finish_of_what_does_not_exist_is_stale
            finish::answers_follow_the_input_and_a_call_takes_each_attempt_once
            finish::a_stale_finish_after_a_rescue_changes_nothing
            finish::a_finish_sent_again_leaves_a_later_attempt_of_the_same_node_alone
            finish::attempts_given_back_do_not_count
            finish::partial_and_skipped_are_completed_with_their_reason
            finish::a_cancelled_attempt_ends_the_job
            finish::failures_are_told_and_successes_are_not
            finish::too_much_is_refused
            traces::steps_are_remembered_across_attempts
            traces::a_step_keeps_its_first_result
            traces::steps_and_progress_are_fenced
            traces::steps_have_limits
            traces::log_lines_come_back_in_order
            traces::log_lines_are_written_once_and_not_fenced
            traces::logs_have_limits
            traces::progress_is_the_last_attempts
            batches::a_batch_comes_back_as_it_was_opened
            batches::the_last_end_ends_the_batch_and_starts_its_follow_up
            batches::the_outcome_of_a_batch_follows_its_counts
            batches::an_unsealed_batch_stays_open
            batches::a_sealed_batch_without_jobs_ends_at_once
            batches::jobs_cancelled_while_they_wait_end_a_batch_too
            batches::a_retry_inside_an_ended_batch_opens_it_again
            batches::duplicates_are_not_counted
            batches::what_cannot_be_opened_leaves_nothing_behind
            batches::a_batch_ends_once_however_its_jobs_end
            batches::a_repeated_opening_finds_its_batch
            batches::a_batch_whose_parent_fails_is_given_up_and_ends
            nodes::an_attempt_lives_by_the_node_it_was_handed_to
            nodes::a_node_comes_back_as_it_joined
            nodes::a_heartbeat_sees_what_a_poll_would_look_for
            nodes::held_jobs_are_not_told_as_waiting
            nodes::a_heartbeat_brings_the_marks_to_end
            nodes::a_mark_to_end_survives_a_retry
            nodes::attempts_of_a_dead_node_are_orphans
            nodes::orphans_are_paged
            nodes::a_lost_node_is_told_once_and_not_brought_back
            nodes::a_late_heartbeat_before_anyone_looked_keeps_the_node
            nodes::what_a_leaving_node_still_holds_is_due_at_once
            nodes::reapers_race_and_one_wins
            schedules::a_schedule_comes_back_as_it_was_put
            schedules::putting_the_same_again_changes_nothing
            schedules::a_schedule_is_paused_resumed_and_deleted
            schedules::due_schedules_come_in_order_with_the_next_instant
            schedules::a_due_schedule_shows_its_live_jobs
            schedules::a_fire_writes_everything_it_decided
            schedules::only_the_first_of_two_nodes_fires
            schedules::handles_that_fire_at_once_make_one_job_per_fire
            schedules::a_fire_that_has_its_job_makes_no_other
            schedules::writes_of_one_call_stand_or_fall_alone
            schedules::ledger_rows_in_a_row_are_folded
            schedules::a_fire_may_replace_earlier_jobs
            schedules::a_fixed_delay_counts_from_the_end_of_the_job
            schedules::a_reschedule_is_a_compare_and_swap
            schedules::a_thousand_schedules_fire_in_one_call
            control::a_cancel_ends_what_waits_and_marks_what_runs
            control::a_retry_restores_the_whole_budget
            control::every_final_state_can_be_retried
            control::a_retry_shortens_a_wait
            control::bulk_calls_go_in_steps
            control::a_filter_means_what_it_says
            control::listings_are_paged_by_number
            control::running_jobs_are_listed_longest_first
            control::what_may_be_worth_a_look_is_hinted
            figures::counts_follow_every_change
            figures::rollups_sum_what_attempts_took
            figures::rollups_lose_nothing
            figures::recent_outcomes_are_kept_by_scope
            figures::figures_stay_right_under_concurrent_writers
            events::an_event_comes_back_as_it_was_recorded
            events::a_tailing_reader_misses_nothing
            events::values_are_kept_by_name
            events::a_fresh_store_has_facts_and_no_problem
            sweep::finished_jobs_go_by_age
            sweep::finished_jobs_go_by_count
            sweep::finished_jobs_go_by_size
            sweep::a_sweep_goes_in_bounded_steps
            sweep::a_job_goes_with_all_that_belongs_to_it
            sweep::a_batch_left_open_goes_with_the_job_that_opened_it
            sweep::rollups_fold_into_hours_and_go
            sweep::old_events_and_dead_nodes_go
            scope::another_project_reads_nothing
            scope::another_project_changes_nothing
            scope::names_of_two_projects_do_not_meet
            differential::differential_seeds_1_to_5
            differential::differential_seeds_6_to_10
            differential::differential_seeds_11_to_15
            differential::differential_seeds_16_to_20
        }
    };
    (@each $open:path; $($file:ident :: $case:ident)*) => { $(
        #[test]
        fn $case() {
            $crate::conformance::run(stringify!($case), $open, $crate::conformance::$file::$case);
        }
    )* };
}

/// The same for [`mainspring_core::tables`]: for stores that are databases.
#[macro_export]
macro_rules! tables_conformance {
    ($open:path) => {
        $crate::conformance! { @each $open;
            tables::every_value_comes_back_as_it_was_written
            tables::what_is_computed_has_one_type
            tables::rows_become_structs
            tables::the_common_subset_of_sql_works
            tables::parameters_are_values_and_nothing_else
            tables::a_broken_rule_is_told_with_its_table_and_columns
            tables::a_mistake_in_a_statement_is_told_and_harms_nothing
            tables::tables_have_limits
            tables::the_usual_types_can_be_bound
            tables_tx::a_write_is_all_or_nothing
            tables_tx::an_expectation_that_fails_undoes_the_write
            tables_tx::readers_see_what_is_committed_only
            tables_tx::concurrent_writers_lose_nothing
            tables_tx::a_write_and_its_jobs_are_one_transaction
            tables_tx::an_event_commits_with_what_it_tells_of
            tables_tx::migrations_run_once_and_go_forward
            tables_tx::migrations_that_do_not_fit_are_refused
            tables_tx::migrations_of_processes_that_start_at_once_run_once
        }
    };
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
            if stem == "mod" || stem == "bench" || path.is_dir() {
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
