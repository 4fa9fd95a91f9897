//! Signals: default actions, Ctrl-C, SIGTERM, SIGPIPE, job control, masks, stacks, and handlers.

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::End;
use banyan_tests::{Case, check, workspace};

use crate::{c, linked};

const SIGHUP: i32 = rustix::process::Signal::HUP.as_raw();
const SIGINT: i32 = rustix::process::Signal::INT.as_raw();
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
const SIGPIPE: i32 = rustix::process::Signal::PIPE.as_raw();
const SIGTERM: i32 = rustix::process::Signal::TERM.as_raw();

fn ends_by(what: &str, signal: i32) {
    check(&linked("signals", Link::Dynamic, [what]).ends(End::Signal(signal)));
}

#[test]
fn a_program_ends_by_its_own_sigterm() {
    ends_by("term", SIGTERM);
    ends_by("term-thread", SIGTERM);
}

#[test]
fn a_program_ends_by_its_own_sigint() {
    ends_by("int-thread", SIGINT);
}

#[test]
fn a_program_ends_by_its_own_sigkill() {
    ends_by("kill-thread", SIGKILL);
}

#[test]
fn a_program_ends_by_its_own_sighup() {
    ends_by("hup", SIGHUP);
}

#[test]
fn a_signal_that_is_ignored_by_default_changes_nothing() {
    check(&c("signals", ["child-ignored"]));
}

#[test]
fn writing_to_a_closed_pipe_is_sigpipe() {
    ends_by("pipe", SIGPIPE);
}

#[test]
fn writing_to_a_closed_pipe_is_an_error_when_sigpipe_is_ignored() {
    check(&c("signals", ["pipe-ignored"]));
}

#[test]
fn handlers_run_on_the_main_thread() {
    check(&c("signals", ["handlers"]));
}

#[test]
fn handlers_run_while_the_clock_is_read() {
    check(&c("signals", ["clock"]));
}

#[test]
fn blocked_signals_wait_and_threads_start_with_all_blocked() {
    check(&c("signals", ["masks"]));
}

// On the main thread, and on another, which has every signal for itself.
const THREADS: [&str; 2] = ["main", "thread"];

#[test]
fn a_mask_that_blocks_everything_stops_no_call() {
    for thread in THREADS {
        for what in ["handlers", "frames", "blocking", "timers"] {
            check(&c("signal_masks", [what, thread]));
        }
    }
}

#[test]
fn calls_that_wait_with_a_mask_let_its_signals_in() {
    for thread in THREADS {
        for what in ["sigsuspend", "ppoll", "pselect", "epoll_pwait"] {
            check(&c("signal_masks", [what, thread]));
        }
    }
}

#[test]
fn the_alternate_stack_is_the_programs() {
    for thread in THREADS {
        check(&c("signal_masks", ["stacks", thread]));
    }
}

fn raised(signal: &str) {
    for thread in THREADS {
        for how in ["handled", "once", "ignored", "blocked", "passed_on"] {
            check(&c("raised_faults", [signal, how, thread]));
        }
        let number = signal.parse().unwrap();
        check(&linked("raised_faults", Link::Dynamic, [signal, "default", thread]).ends(End::Signal(number)));
    }
}

#[test]
fn illegal_instructions_and_traps_that_are_raised_are_signals_like_others() {
    raised("4");
    raised("5");
}

#[test]
fn bus_errors_and_arithmetic_errors_that_are_raised_are_signals_like_others() {
    raised("7");
    raised("8");
}

#[test]
fn segmentation_faults_that_are_raised_are_signals_like_others() {
    raised("11");
}

#[test]
fn bad_system_calls_that_are_raised_are_signals_like_others() {
    raised("31");
}

#[test]
fn what_another_process_sends_with_the_number_of_a_fault_is_a_signal_like_others() {
    let program = compile::c("sent_faults", Link::Dynamic).unwrap();
    for who in ["any", "thread"] {
        let script = format!(
            "mkfifo told; $RUN {} told {who} & exec 3< told; read process <&3; \
             for name in SEGV BUS FPE ILL TRAP SYS; do kill -$name $process; read next <&3; done; \
             wait $!; status=$?; rm told; exit $status",
            program.display()
        );
        check(&Case::script(&script));
    }
}

#[test]
fn faults_are_handled_on_every_node() {
    check(&c("signals_elsewhere", ["faults"]).on_every_node());
}

#[test]
fn a_signal_interrupts_a_thread_that_computes_on_every_node() {
    check(&c("signals_elsewhere", ["running"]).on_every_node());
}

#[test]
fn a_handler_ends_a_call_that_waits_or_has_it_go_on_on_every_node() {
    check(&c("signals_elsewhere", ["waits"]).on_every_node());
}

#[test]
fn threads_are_cancelled_on_every_node() {
    check(&c("signals_elsewhere", ["cancels"]).on_every_node());
}

#[test]
fn a_signal_to_the_process_finds_the_one_thread_that_takes_it() {
    check(&c("signals_elsewhere", ["process"]));
}

#[test]
fn queued_signals_are_handled_once_and_in_order_on_every_node() {
    check(&c("signals_elsewhere", ["queued"]).on_every_node());
}

#[test]
fn a_refused_fork_does_not_become_a_signal_to_every_process() {
    check(&c("kill_after_fork", []).any_stderr());
}

#[test]
fn the_vdso_is_a_whole_one() {
    check(&c("vdso", []));
}

#[test]
fn sigwait_takes_signals() {
    check(&c("signals", ["wait"]));
}

#[test]
fn sigterm_from_outside_ends_the_program() {
    let case = linked("signals", Link::Dynamic, ["outside"]);
    check(&case.signal_when_ready(SIGTERM).ends(End::Signal(SIGTERM)).on_every_node());
}

#[test]
fn sigint_from_outside_ends_the_program() {
    let case = linked("signals", Link::Dynamic, ["outside"]);
    check(&case.signal_when_ready(SIGINT).ends(End::Signal(SIGINT)));
}

#[test]
fn sigkill_from_outside_ends_the_program() {
    let case = linked("signals", Link::Dynamic, ["outside"]);
    check(&case.signal_when_ready(SIGKILL).ends(End::Signal(SIGKILL)));
}

#[test]
fn sigterm_from_outside_is_handled() {
    let case = linked("signals", Link::Dynamic, ["outside-handled"]);
    check(&case.signal_when_ready(SIGTERM).ends(End::Status(3)));
}

// The program as the foreground job of a shell, on a terminal of its own.
fn on_a_terminal(typed: &str, program: &str, argument: &str) -> Case {
    let program = compile::c(program, Link::Dynamic).unwrap();
    let driver = workspace::program_source("terminal.py");
    let script = format!("exec python3 {} {typed} $RUN {} {argument}", driver.display(), program.display());
    Case::script(&script).named(&format!("{typed} typed at {argument}"))
}

#[test]
fn ctrl_c_ends_the_program() {
    check(&on_a_terminal("ctrl-c", "signals", "outside"));
}

#[test]
fn ctrl_c_is_handled() {
    check(&on_a_terminal("ctrl-c", "signals", "outside-handled"));
}

#[test]
fn ctrl_z_stops_the_program_and_it_continues() {
    check(&on_a_terminal("ctrl-z", "signals", "outside"));
}

#[test]
fn the_terminal_is_the_programs() {
    check(&on_a_terminal("none", "surroundings", ""));
}
