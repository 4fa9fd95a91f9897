//! Runs a case natively and under Banyan, and tells every difference.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::case::Case;
use crate::gate;
use crate::launch::{self, How, Outcome, Running, excerpt};
use crate::workspace;

/// Runs the case natively and on each node count. Panics with every difference found.
#[track_caller]
pub fn check(case: &Case) {
    let counts = workspace::node_counts().unwrap_or_else(|error| panic!("{error}"));
    check_on(case, &counts);
}

/// As [`check`], on these node counts.
#[track_caller]
pub fn check_on(case: &Case, counts: &[usize]) {
    let _pass = gate::enter();
    if let Err(error) = differences(case, counts) {
        panic!("{}: {error:#}", case.name);
    }
}

/// Runs the case natively and on each node count, without waiting for a place among the running cases.
pub fn differences(case: &Case, counts: &[usize]) -> Result<()> {
    let native = once(case, How::Native)?;
    verify_native(case, &native)?;
    if workspace::native_only() {
        return Ok(());
    }
    let mut report = String::new();
    for nodes in counts {
        let how = How::Banyan(*nodes);
        let problem = match once(case, how) {
            Ok(outcome) => compare(case, &native, &outcome, *nodes),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(problem) = problem {
            let _ = write!(report, "\n{}: {problem}", how.name());
        }
    }
    if report.is_empty() { Ok(()) } else { bail!("{report}") }
}

/// Runs the case once.
pub fn once(case: &Case, how: How) -> Result<Outcome> {
    let mut running = Running::start(case, how)?;
    if let Some(number) = case.signal_when_ready {
        running.wait_for_output("ready", case.deadline)?;
        launch::signal(&running, number)?;
    }
    running.finish(case.deadline)
}

// A test program that is wrong natively says nothing about Banyan.
fn verify_native(case: &Case, native: &Outcome) -> Result<()> {
    if native.end != case.end {
        bail!(
            "natively it ended by {:?}, not {:?}; stdout {}, stderr {}",
            native.end,
            case.end,
            excerpt(&native.stdout),
            excerpt(&native.stderr)
        );
    }
    if case.says_ok && !native.stdout.ends_with(b"ok\n") {
        bail!("natively it did not say ok: {}", excerpt(&native.stdout));
    }
    Ok(())
}

fn compare(case: &Case, native: &Outcome, outcome: &Outcome, nodes: usize) -> Option<String> {
    let mut problems = Vec::new();
    if outcome.end != native.end {
        problems.push(format!("it ended by {:?}, natively by {:?}", outcome.end, native.end));
    }
    let (wanted, got) = ((case.normalise)(&native.stdout), (case.normalise)(&outcome.stdout));
    problems.extend(first_difference("stdout", &wanted, &got));
    if case.same_stderr {
        problems.extend(first_difference("stderr", &native.stderr, &outcome.stderr));
    }
    for (name, contents) in &native.files {
        match outcome.files.get(name) {
            Some(other) => problems.extend(first_difference(&format!("the file {name}"), contents, other)),
            None => problems.push(format!("the file {name} is missing")),
        }
    }
    for name in outcome.files.keys().filter(|name| !native.files.contains_key(*name)) {
        problems.push(format!("there is a file {name} that a native run does not make"));
    }
    if case.every_node {
        problems.extend(missing_nodes(outcome, nodes));
    }
    if let (Some((_, wanted)), Some(stats)) = (&case.moving, &outcome.stats)
        && nodes > 1
        && stats.migrations < *wanted
    {
        problems.push(format!("its threads moved {} times, not {wanted}", stats.migrations));
    }
    if problems.is_empty() {
        return None;
    }
    if !case.same_stderr || outcome.end != native.end {
        problems.push(format!("its stderr was {}", excerpt(&outcome.stderr)));
    }
    Some(problems.join("; "))
}

fn missing_nodes(outcome: &Outcome, nodes: usize) -> Option<String> {
    let Some(stats) = &outcome.stats else {
        return Some("the last line of stderr is not the statistics".to_owned());
    };
    let idle = stats.nodes.iter().filter(|node| node.threads_run == 0).count();
    if stats.nodes.len() == nodes && idle == 0 {
        return None;
    }
    let each: Vec<String> =
        stats.nodes.iter().map(|node| format!("{}: {}", node.name, node.threads_run)).collect();
    Some(format!("threads did not run on each of {nodes} nodes ({})", each.join(", ")))
}

fn first_difference(what: &str, wanted: &[u8], got: &[u8]) -> Option<String> {
    if wanted == got {
        return None;
    }
    let place = wanted.iter().zip(got).take_while(|(one, other)| one == other).count();
    let around = |bytes: &[u8]| {
        let end = bytes.len().min(place + 120);
        excerpt(&bytes[place.saturating_sub(40).min(end)..end])
    };
    Some(format!(
        "{what} differs at byte {place} of {} (natively {}): {} instead of {}",
        got.len(),
        wanted.len(),
        around(got),
        around(wanted)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        assert_eq!(first_difference("stdout", b"same", b"same"), None);
        let told = first_difference("stdout", b"one two", b"one three").unwrap();
        assert!(told.starts_with("stdout differs at byte 5 of 9 (natively 7)"), "{told}");
        assert!(first_difference("stdout", b"longer", b"long").unwrap().contains("byte 4 of 4"));
    }
}
