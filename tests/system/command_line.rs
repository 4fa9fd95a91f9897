//! The command itself: its statistics, its own errors, and what it adds to a program's output: nothing.

use std::time::Duration;

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::{End, How};
use banyan_tests::{Case, Place, check, compare, gate, workspace};
use serde_json::Value;

use crate::c;

/// Runs `banyan` with these arguments: its status, stdout and stderr.
fn banyan(arguments: &[&str]) -> Option<(Option<i32>, String, String)> {
    if workspace::native_only() {
        return None;
    }
    let _pass = gate::enter();
    // The command is a program like any other here, with a deadline and nothing to be left.
    let case = Case::new(workspace::banyan().unwrap(), arguments.iter().copied()).deadline(30);
    let outcome =
        compare::once(&case, How::Native).unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"));
    let status = match outcome.end {
        End::Status(status) => Some(status),
        End::Signal(_) => None,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut stderr = text(&outcome.stderr);
    if let Some(line) = outcome.stats_line {
        stderr.push_str(&line);
    }
    Some((status, text(&outcome.stdout), stderr))
}

#[test]
fn our_own_errors_are_125() {
    for arguments in [
        &["run"][..],
        &["run", "-n", "0", "--", "true"],
        &["run", "-n", "many", "--", "true"],
        &["run", "--no-such-option", "--", "true"],
        &["run", "--place", "nowhere", "--", "true"],
    ] {
        let Some((status, stdout, stderr)) = banyan(arguments) else { return };
        assert_eq!(status, Some(125), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty() && !stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_names_the_commands() {
    let Some((status, stdout, _)) = banyan(&["--help"]) else { return };
    assert_eq!(status, Some(0));
    for command in ["run", "demo", "doctor", "bench", "node"] {
        assert!(stdout.contains(command), "{command} is missing:\n{stdout}");
    }
}

#[test]
fn the_doctor_looks_at_userfaultfd() {
    let Some((status, stdout, stderr)) = banyan(&["doctor"]) else { return };
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("userfaultfd"), "{stdout}");
}

#[test]
fn the_double_dash_may_be_left_out() {
    let Some((status, stdout, stderr)) = banyan(&["run", "-n", "2", "echo", "-n", "these", "--stats"]) else {
        return;
    };
    assert_eq!((status, stdout.as_str()), (Some(0), "these --stats"), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
}

#[test]
fn a_program_is_found_in_the_path_and_in_the_directory() {
    check(&Case::new("true", ["unused"]));
    check(&Case::new("false", ["unused"]).ends(End::Status(1)));
    let script = "cp /bin/echo ./own-echo && $RUN ./own-echo here && rm own-echo";
    check(&Case::script(script));
}

#[test]
fn statistics_hold_what_is_promised() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let program = compile::c("mutex", Link::Dynamic).unwrap();
    let case = Case::script(&format!(
        "RUN=$(echo $RUN | sed 's/ run / run --stats=json /'); $RUN {}",
        program.display()
    ));
    // The statistics reach us as any other text when they come through a shell: look at each field.
    let outcome = compare::once(&case.deadline(60), How::Banyan(2)).unwrap();
    assert_eq!(outcome.end, End::Status(0));
    let stats = outcome.stats.expect("the last line of stderr is the statistics");
    assert_eq!(stats.nodes.len(), 2);
    assert!(stats.nodes.iter().all(|node| node.threads_run > 0 && !node.name.is_empty()));
    assert!(stats.nodes.iter().all(|node| node.cpu_seconds >= 0.0 && node.memory_bytes > 0));
    assert!(stats.faults.read + stats.faults.write + stats.faults.upgrade > 0);
    assert!(stats.faults.p50_us > 0.0 && stats.faults.p99_us >= stats.faults.p50_us);
    assert!(stats.bytes_moved > 0 && stats.deputy_calls > 0);
    assert!(stats.wall_seconds > 0.0 && stats.wall_seconds <= outcome.took.as_secs_f64() + 1.0);
    assert!(stats.remote_wait_seconds >= 0.0);
}

#[test]
fn statistics_are_one_line_of_json_or_a_text() {
    let Some((status, stdout, stderr)) = banyan(&["run", "-n", "2", "--stats=json", "--", "echo", "hello"])
    else {
        return;
    };
    assert_eq!((status, stdout.as_str()), (Some(0), "hello\n"));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let value: Value = serde_json::from_str(&stderr).expect("one object");
    let fields = [
        "nodes",
        "faults",
        "bytes_moved",
        "migrations",
        "deputy_calls",
        "remote_wait_seconds",
        "wall_seconds",
    ];
    for field in fields {
        assert!(value.get(field).is_some(), "{field} is missing: {stderr}");
    }
    let Some((status, stdout, stderr)) = banyan(&["run", "-n", "2", "--stats", "--", "echo", "hello"]) else {
        return;
    };
    assert_eq!((status, stdout.as_str()), (Some(0), "hello\n"));
    assert!(!stderr.is_empty());
}

#[test]
fn packed_threads_stay_at_home() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let program = compile::c("barrier", Link::Dynamic).unwrap();
    let outcome = compare::once(&Case::new::<&str>(program, []).place(Place::Pack), How::Banyan(2)).unwrap();
    let stats = outcome.stats.expect("statistics");
    assert!(stats.nodes[0].threads_run > stats.nodes[1].threads_run, "{:?}", stats.nodes);
}

#[test]
fn the_kernel_knows_the_programs_parts_and_not_the_stubs() {
    check(&c("kernel_view", ["vector"]).on_every_node());
    check(&c("kernel_view", ["mappings"]).on_every_node());
    check(&c("kernel_view", ["files"]).on_every_node());
}

#[test]
fn listings_under_proc_show_the_programs_descriptors_and_threads_only() {
    check(&c("kernel_view", ["listings"]).on_every_node());
}

#[test]
fn surroundings_are_the_callers() {
    check(&c("surroundings", ["one", "two"]).variable("SHOWN_HERE", "value"));
    let script = "umask 027; ulimit -s 4096; ulimit -n 123; mkdir inner; cd inner; $RUN ";
    let program = compile::c("surroundings", Link::Dynamic).unwrap();
    check(&Case::script(&format!("{script}{}", program.display())));
}

#[test]
fn runs_start_in_a_reasonable_time() {
    // No measure of speed, which benches are for: a start that takes seconds is a fault.
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let outcome = compare::once(&Case::new("true", ["unused"]), How::Banyan(3)).unwrap();
    assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
}

#[test]
fn the_examples_give_the_same_under_banyan() {
    let directory = workspace::built().join("examples");
    let (mandelbrot, wordcount) = (directory.join("mandelbrot"), directory.join("wordcount"));
    assert!(
        mandelbrot.is_file() && wordcount.is_file(),
        "build them: cargo build -p banyan-tests --examples"
    );
    check(&Case::new(mandelbrot, ["400", "6", "picture.pgm"]).on_every_node());
    let text = banyan_tests::input::text(2 << 20, 11);
    check(&Case::new(wordcount, ["text", "6"]).file("text", text).on_every_node());
}
