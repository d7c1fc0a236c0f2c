//! The list of all cases, as a macro that makes a test of each.

/// Makes one `#[tokio::test]` of each case; takes the name of an async function that answers a fresh
/// [`Fixture`](crate::store::conformance::Fixture), by a path that is valid in the module that calls.
#[macro_export]
macro_rules! store_conformance {
    ($make:ident) => {
        $crate::store_conformance!(@group $make create:
            a_run_is_made_and_starts
            making_a_run_again_says_where_it_stands
            a_run_keeps_what_it_was_made_from
            a_run_can_start_from_a_checkpoint
            a_run_that_was_stopped_before_it_was_made_has_ended
            the_first_early_order_holds_and_force_may_follow
            a_run_that_claims_a_parent_is_refused
            what_nobody_made_is_absent
        );
        $crate::store_conformance!(@group $make threads:
            reject_says_which_run_is_in_flight_and_changes_nothing
            enqueued_runs_start_in_the_order_in_which_they_came
            a_thread_has_room_for_so_many_runs
            interrupt_takes_over_at_once_where_nothing_is_leased
            interrupt_waits_until_the_run_in_flight_has_stopped
            interrupt_ends_the_runs_that_wait
            rollback_takes_back_what_the_run_in_flight_has_done
            rollback_of_the_first_run_leaves_the_thread_without_a_head
            rollback_also_takes_back_a_run_that_is_being_stopped
            a_stopped_run_leaves_its_last_checkpoint_to_its_thread
            a_waiting_run_that_is_stopped_leaves_the_queue_and_no_trace_on_the_thread
            a_run_that_waits_is_not_advanced
        );
        $crate::store_conformance!(@group $make stop:
            a_run_with_nothing_leased_stops_at_once
            a_run_that_waits_for_its_plan_is_not_ready_any_more
            after_the_order_nothing_of_the_run_is_claimed_or_written
            the_last_release_ends_the_run
            a_worker_that_is_not_sure_leaves_the_stop_unconfirmed
            a_lease_that_runs_out_under_an_order_is_unconfirmed
            the_first_order_holds
            force_follows_a_graceful_order_once
            force_is_not_added_to_force_or_to_a_run_that_has_closed
            a_run_that_has_ended_by_itself_is_finished
            the_cause_decides_the_end
            an_interrupted_run_can_be_stopped
            every_order_is_in_the_audit_trail_with_what_came_of_it
            an_order_is_pushed_where_leases_are_open
            what_was_done_in_the_unfinished_step_stays_readable
            queued_tasks_of_a_stopped_run_are_not_handed_out
            many_runs_are_stopped_one_after_the_other
        );
        $crate::store_conformance!(@group $make scope:
            an_order_to_a_queued_task_settles_it_and_the_run_goes_on
            the_last_open_task_that_is_stopped_completes_the_step
            a_leased_task_is_told_its_result_refused_and_its_proof_taken
            a_task_that_is_stopped_and_not_skipped_counts_as_failed
            a_silent_worker_leaves_its_stopped_task_without_proof
            a_stopped_task_is_renewed_until_its_grace_is_over
            force_may_follow_for_a_task_as_well
            a_run_that_stops_takes_its_stopping_tasks_along
            the_child_of_a_stopped_task_is_stopped
            a_child_that_is_at_work_settles_its_stopped_task_when_it_has_ended
            what_waits_for_a_human_or_is_not_there_is_passed_over
            items_of_a_group_take_turns
            the_time_of_an_item_begins_with_its_turn
            enough_successes_stop_the_rest_of_a_group
            too_many_failures_stop_the_rest_of_a_group
            the_last_settle_of_a_step_may_be_the_one_that_decides_its_group
            an_item_that_is_stopped_before_its_turn_gives_no_turn_away
        );
        $crate::store_conformance!(@group $make spend:
            what_attempts_spend_adds_up_whatever_they_come_to
            a_run_that_spends_more_than_its_budget_is_stopped_and_keeps_the_outcome
            siblings_of_one_that_used_up_the_budget_are_stopped
            what_was_spent_before_a_task_is_handed_back_counts
            what_renewals_tell_counts_once_and_stays_when_the_worker_dies
            a_renewal_that_tells_too_much_is_answered_with_the_order
            a_lease_says_whether_its_run_or_one_above_it_limits_the_cost
            what_a_child_spends_counts_for_those_above_it
            child_runs_at_every_depth_count_for_the_root_which_is_stopped_before_there_are_too_many
            a_limit_of_descendants_holds_for_the_child_that_has_it_and_its_parent_goes_on
            a_run_whose_graph_says_nothing_has_room_for_a_thousand_descendants
        );
        $crate::store_conformance!(@group $make ends:
            ends_that_a_plan_brings_are_counted_by_status_and_cause
            runs_that_stop_at_once_are_counted
            the_last_release_of_a_stopped_run_is_counted_once
            a_lease_that_runs_out_under_an_order_is_counted_as_its_runs_end
            a_run_that_its_deadline_stops_is_counted_as_timed_out
            a_run_that_a_failure_beside_it_stops_is_counted_as_failed
            a_run_that_was_stopped_before_it_was_made_is_counted
            runs_that_are_superseded_are_counted_whether_they_waited_or_were_in_flight
            children_are_counted_beside_their_parents
            runs_in_flight_are_not_counted
            a_task_is_counted_as_crashed_whoever_finds_its_last_crash
            a_task_that_no_worker_takes_in_time_is_counted_whoever_finds_it
        );
        $crate::store_conformance!(@group $make children:
            a_child_starts_with_its_parents_step
            a_child_has_no_more_time_than_its_parent
            the_end_of_a_child_settles_its_parents_task
            a_child_that_fails_stops_its_parents_other_tasks
            an_order_reaches_every_depth_and_the_last_release_ends_all
            the_last_release_of_a_parent_ends_nothing_while_a_child_is_open_however_often_it_is_repeated
            doubt_about_a_child_is_doubt_about_its_parent
            idle_children_stop_at_once_with_their_parent
            force_reaches_the_children
            a_child_that_is_stopped_alone_is_a_bad_outcome_of_its_task
            a_child_whose_id_is_taken_fails_its_task
            a_parents_deadline_stops_its_children_as_its_own
            a_child_can_time_out_for_itself
        );
        $crate::store_conformance!(@group $make turns:
            a_child_is_made_when_it_is_its_turn_and_its_time_begins_then
            a_group_of_children_that_is_decided_makes_no_more
            children_that_fail_use_up_what_may_fail_of_their_group
            a_run_that_is_stopped_makes_no_child_that_waits
            a_child_that_waits_can_be_stopped_by_its_task
            an_order_that_comes_before_its_turn_ends_a_child_at_it_and_the_next_follows
            a_child_whose_id_is_taken_at_its_turn_fails_its_task_and_the_next_follows
            a_child_that_waits_and_fails_its_run_at_its_turn_is_followed_by_none
        );
        $crate::store_conformance!(@group $make ready:
            the_run_that_waits_longest_is_taken_first
            an_urgent_run_is_planned_before_those_that_can_wait_until_these_have_waited_for_long
            a_run_that_was_taken_is_hidden_for_a_while
            whoever_has_a_run_may_hide_it_for_longer
            a_plan_that_nobody_finished_counts_as_lost
            a_run_that_is_given_back_has_no_lost_plans
            who_took_a_run_before_its_last_change_hides_it_no_more
            a_run_is_taken_from_its_own_partition_alone
            a_run_with_open_tasks_is_not_ready
            a_ready_run_comes_with_all_that_its_plan_needs
            a_hidden_run_that_is_advanced_can_be_taken_again_at_once
            whoever_waits_for_ready_runs_is_told
            a_run_whose_checkpoint_is_of_a_later_format_holds_up_no_other
        );
        $crate::store_conformance!(@group $make advance:
            a_step_makes_its_tasks
            the_same_plan_twice_is_done_once
            a_plan_for_another_revision_is_too_late
            a_plan_for_no_run_or_one_with_open_tasks_is_a_conflict
            values_are_kept_once_a_version
            a_step_whose_tasks_were_done_before_is_complete_at_once
            a_step_that_waits_for_humans_alone_goes_back_to_the_plan
            a_pause_interrupts_the_run_but_not_its_time
            a_run_ends_well
            a_run_ends_badly
            a_run_that_used_up_a_limit_ends_under_an_order_that_is_closed
            a_step_may_have_ten_thousand_tasks
            a_next_step_takes_the_place_of_the_last
        );
        $crate::store_conformance!(@group $make claim:
            a_lease_comes_with_all_that_its_worker_needs
            a_task_has_no_more_time_than_its_run
            a_task_is_handed_the_channels_that_it_reads
            the_same_claim_twice_is_one_lease
            a_leased_task_is_busy_for_others
            fences_grow_with_every_claim_in_a_run
            a_silent_lease_is_taken_over_and_its_fence_is_dead
            a_lease_that_was_renewed_is_not_taken_over
            the_last_crash_that_is_allowed_ends_the_task
            a_task_that_was_under_way_in_a_crash_is_given_only_to_a_worker_that_runs_it_alone
            a_crash_counts_if_the_attempt_ran_alone_and_its_worker_had_the_lease
            crashes_that_do_not_count_are_bounded
            a_worker_that_turns_out_to_live_takes_its_crash_back
            what_cannot_be_claimed_is_stale
            a_task_of_a_run_that_ended_by_itself_is_stale
            a_claim_that_comes_too_late_settles_the_task
            a_task_of_an_overdue_run_is_left_to_the_order_that_is_due
        );
        $crate::store_conformance!(@group $make lease:
            a_renewed_lease_lives_on
            renewals_are_answered_one_by_one_in_their_order
            under_an_order_a_lease_lives_for_the_grace_alone
            a_lease_past_its_tasks_time_is_lost
            an_outcome_is_kept_and_completes_the_step
            the_same_settle_twice_is_answered_alike
            a_write_with_a_fence_that_is_not_the_holders_is_refused
            a_failed_try_is_repeated_after_its_pause
            a_task_that_is_put_off_comes_back_later_and_was_not_tried
            a_pause_ends_with_the_tasks_time_at_the_latest
            a_failure_stops_its_siblings_and_fails_the_run
            a_failure_without_open_siblings_goes_to_the_plan
            a_failure_that_the_graph_handles_leaves_the_siblings_alone
            a_task_that_is_handed_back_was_not_tried
            without_an_order_a_stopped_attempt_counts_as_handed_back
            a_task_that_is_handed_back_again_and_again_waits_and_a_try_ends_that
            a_stopped_attempt_leaves_its_testimony
            under_an_order_a_task_that_is_handed_back_counts_as_stopped
            counters_follow_a_task_through_its_life
        );
        $crate::store_conformance!(@group $make sweep:
            a_task_that_nobody_sent_is_handed_out_after_two_seconds
            a_task_is_handed_out_again_as_long_as_nobody_claims_it
            a_task_that_was_sent_is_left_in_peace_for_a_while
            only_queued_tasks_are_marked_as_sent
            ahead_hands_out_queued_tasks_alone
            a_lease_that_runs_out_is_a_crash_and_the_task_is_handed_out
            a_task_that_crashes_too_often_is_poison
            a_wait_ends_at_its_time
            a_task_that_no_worker_takes_in_time_is_settled
            each_time_in_the_queue_has_its_own_limit
            a_run_past_its_deadline_is_ordered_to_stop
            a_run_that_waits_on_its_thread_has_no_deadline_yet
            a_sweep_does_so_much_and_says_that_there_is_more
            a_sweep_keeps_to_its_partition
            a_task_is_handed_out_for_its_lane_whatever_it_went_through
        );
        $crate::store_conformance!(@group $make resume:
            answers_settle_their_tasks_and_the_run_goes_on
            the_same_answer_twice_is_taken_once
            a_pause_between_steps_goes_on_without_answers
            questions_are_answered_one_by_one_and_the_run_goes_on_when_none_is_open
            what_does_not_fit_is_refused_and_changes_nothing
            a_run_that_is_not_interrupted_says_where_it_stands
        );
        $crate::store_conformance!(@group $make reads:
            runs_are_listed_newest_first_page_by_page
            a_listing_shows_what_its_filter_admits
            a_cursor_that_is_none_is_refused
            a_checkpoint_of_a_later_format_is_refused_by_its_number
            checkpoints_say_when_they_were_kept
            tasks_are_listed_by_node_then_item
            events_come_in_order_and_only_the_newest_are_kept
            events_of_a_run_that_is_not_there_are_dropped
            the_audit_trail_is_read_newest_first_page_by_page
            workers_are_shown_as_they_last_reported
            a_graph_is_kept_under_its_hash
        );
        $crate::store_conformance!(@group $make sizes:
            a_run_over_a_limit_is_not_made
            a_plan_over_a_limit_changes_nothing
            an_outcome_over_the_limit_leaves_the_lease_as_it_is
            an_order_with_a_novel_as_its_reason_is_refused
            answers_events_and_graphs_have_limits_too
        );
        $crate::store_conformance!(@group $make policies:
            policies_are_set_changed_and_removed_by_name
            changes_of_policies_are_in_the_audit_trail
            there_are_so_many_policies_and_no_more
            a_change_with_a_novel_as_its_reason_is_refused
            each_subject_has_a_window_of_its_own
            what_was_used_leaves_with_the_window_and_room_comes_when_it_was_told
            what_has_happened_is_counted_over_the_limit_too
            a_window_goes_as_the_pure_function_says
        );
        $crate::store_conformance!(@group $make load:
            a_judgement_holds_for_a_while_and_is_its_makers_to_change
            a_run_that_nobody_has_begun_is_shed_and_its_message_is_worth_nothing
            what_a_worker_has_ever_had_is_not_shed
            child_runs_and_their_parents_are_not_shed
        );
        $crate::store_conformance!(@group $make upstreams:
            a_burst_is_admitted_and_then_as_many_as_the_rate_allows
            who_comes_back_when_it_was_told_is_admitted
            a_rate_that_was_raised_holds_at_once
            a_breaker_opens_for_all_when_too_many_calls_have_failed
            one_probe_of_the_whole_fleet_closes_a_breaker_or_keeps_it_open
            a_probe_that_is_lost_gives_way_to_another
            a_breaker_goes_as_the_pure_function_says
            a_reason_that_is_too_long_is_refused
        );
    };
    (@group $make:ident $group:ident: $($case:ident)*) => {
        mod $group {
            $(
                #[tokio::test]
                async fn $case() {
                    let fixture = super::$make().await;
                    $crate::store::conformance::$group::$case(&fixture).await;
                }
            )*
        }
    };
}
