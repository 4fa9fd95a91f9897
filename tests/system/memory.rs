//! Memory: mappings, the allocator, large calls on memory that other nodes hold, registers, and what
//! happens to a program that touches what it must not.

use std::time::Duration;

use banyan_tests::compile::Link;
use banyan_tests::launch::{End, How};
use banyan_tests::{Place, Running, check, gate, workspace};

use crate::{c, linked};

const SIGILL: i32 = rustix::process::Signal::ILL.as_raw();
const SIGABRT: i32 = rustix::process::Signal::ABORT.as_raw();
const SIGFPE: i32 = rustix::process::Signal::FPE.as_raw();
const SIGSEGV: i32 = rustix::process::Signal::SEGV.as_raw();

#[test]
fn mappings_holes_and_protections_hold_for_every_thread() {
    check(&c("memory_map", []).on_every_node());
}

#[test]
fn memory_is_read_by_process_as_it_is_by_address() {
    check(&c("process_memory", []).on_every_node());
}

#[test]
fn what_the_kernel_would_hold_of_a_program_is_copied() {
    check(&c("copied_pages", []).on_every_node());
}

#[test]
fn heaps_and_windows_at_fixed_addresses_are_shared_like_any_memory() {
    check(&c("memory_ranges", []).on_every_node());
}

#[test]
fn memory_lies_where_a_program_wishes_or_elsewhere() {
    check(&c("wished_addresses", []).on_every_node());
    // Before other nodes take part, what may be theirs is not.
    check(&c("wished_addresses", []).place(Place::Auto));
}

#[test]
fn remapped_memory_keeps_its_contents() {
    check(&c("memory_remap", []).on_every_node());
}

#[test]
fn the_break_grows_with_zeroes_from_any_thread() {
    check(&c("memory_break", []).on_every_node());
}

#[test]
fn discarded_memory_reads_as_zero_everywhere() {
    check(&c("memory_discard", []).on_every_node());
}

#[test]
fn discarded_copies_show_their_file_again() {
    check(&c("memory_advice", []).on_every_node());
}

#[test]
fn memory_calls_answer_mistakes_and_limits_as_the_kernel_does() {
    check(&c("memory_errors", []).on_every_node());
}

#[test]
fn shared_mappings_of_files_are_the_files() {
    check(&c("shared_files", []).on_every_node());
}

#[test]
fn a_stack_grows_for_any_thread() {
    check(&c("memory_growth", []).on_every_node());
}

#[test]
fn file_mappings_show_the_file_and_keep_private_writes() {
    check(&c("memory_files", []).on_every_node());
}

#[test]
fn a_file_mapping_ends_where_its_file_does() {
    check(&c("file_ends", []).on_every_node());
}

#[test]
fn a_large_file_is_mapped_in_whole_in_windows_and_until_it_is_cut() {
    check(&c("large_files", []).on_every_node());
}

#[test]
fn calls_reach_large_buffers_that_other_threads_hold() {
    check(&c("large_io", []).on_every_node());
}

#[test]
fn calls_use_the_part_of_a_buffer_that_there_is() {
    check(&c("partial_io", []).on_every_node());
}

#[test]
fn blocks_are_freed_by_other_threads() {
    check(&c("malloc_stress", []).on_every_node());
}

#[test]
fn absurd_requests_are_refused() {
    check(&c("no_memory", []).on_every_node());
}

#[test]
fn the_program_may_limit_its_own_address_space() {
    check(&c("no_memory", ["limit"]));
}

#[test]
fn a_program_that_checks_every_access_runs() {
    let case = linked("memory_break", Link::AddressSanitizer, []).says_ok();
    check(&case.variable("ASAN_OPTIONS", "detect_leaks=0").on_every_node());
}

/// Checkers whose runtime no run can serve: they say natively what they find, and the run says so.
#[test]
fn programs_with_checkers_that_no_run_can_serve_run_natively() {
    for (link, finds, name) in [
        (Link::ThreadSanitizer, "race", "ThreadSanitizer"),
        (Link::LeakSanitizer, "leak", "LeakSanitizer"),
        (Link::AddressSanitizer, "leak", "LeakSanitizer"),
    ] {
        for (what, found) in [("nothing", false), (finds, true)] {
            let case = linked("checked", link, [what]);
            let ends = [How::Native, How::Banyan(1), How::Banyan(3)].map(|how| {
                if workspace::native_only() && how != How::Native {
                    return None;
                }
                let _pass = gate::enter();
                let outcome = Running::start(&case, how).unwrap().finish(Duration::from_secs(60)).unwrap();
                let said = String::from_utf8_lossy(&outcome.stderr);
                let ours = said.lines().filter(|line| line.starts_with("banyan: ")).count();
                assert_eq!(ours, usize::from(how != How::Native), "{said}");
                assert_eq!(said.contains(&format!(": {name}: ")), found, "{said}");
                assert_eq!(outcome.end == End::Status(0), !found, "{said}");
                Some((outcome.end, outcome.stdout))
            });
            assert!(ends.iter().flatten().all(|end| Some(end) == ends[0].as_ref()), "{ends:?}");
        }
    }
}

#[test]
fn no_write_is_lost_to_false_sharing() {
    check(&c("sharing", []).on_every_node());
}

#[test]
fn threads_that_write_all_over_the_same_pages_get_on() {
    check(&c("scattered_writes", []).on_every_node());
}

#[test]
fn a_terabyte_is_mapped_and_freed_like_a_page() {
    check(&c("memory_vast", []).on_every_node());
}

#[test]
fn registers_survive_faults_and_calls() {
    check(&c("registers", []).on_every_node());
}

fn crashes(how: &str, signal: i32) {
    for thread in ["main", "thread"] {
        check(&linked("crash", Link::Dynamic, [how, thread]).ends(End::Signal(signal)));
    }
}

#[test]
fn a_null_pointer_is_a_segmentation_fault() {
    crashes("null", SIGSEGV);
}

#[test]
fn a_wild_read_is_a_segmentation_fault() {
    crashes("wild-read", SIGSEGV);
}

#[test]
fn a_wild_write_is_a_segmentation_fault() {
    crashes("wild-write", SIGSEGV);
}

#[test]
fn a_non_canonical_pointer_is_a_segmentation_fault() {
    crashes("non-canonical", SIGSEGV);
}

#[test]
fn writing_read_only_memory_is_a_segmentation_fault() {
    crashes("read-only", SIGSEGV);
}

#[test]
fn touching_unmapped_memory_is_a_segmentation_fault() {
    crashes("unmapped", SIGSEGV);
}

#[test]
fn executing_data_is_a_segmentation_fault() {
    crashes("no-execute", SIGSEGV);
}

#[test]
fn a_bad_pointer_given_to_the_clock_is_a_segmentation_fault() {
    crashes("clock", SIGSEGV);
}

#[test]
fn stack_overflow_is_a_segmentation_fault() {
    crashes("overflow", SIGSEGV);
}

#[test]
fn dividing_by_zero_is_a_floating_point_exception() {
    crashes("divide", SIGFPE);
}

#[test]
fn an_illegal_instruction_is_one() {
    crashes("illegal", SIGILL);
}

#[test]
fn abort_aborts() {
    crashes("abort", SIGABRT);
}
