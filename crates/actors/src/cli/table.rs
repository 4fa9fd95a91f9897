//! Tables for people.

use std::fmt::Write;

use crate::handle::{ConfigurationStatus, SponsorStatus};

/// The configurations, one a line.
pub(super) fn configurations(list: &[ConfigurationStatus]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:>6} {:<24} {:>4} {:>6} {:>8} {:>12} {:>8} KEPT",
        "NUMBER", "NAME", "HOST", "WEIGHT", "ACTORS", "EVENTS", "FAILED"
    );
    for one in list {
        let kept = if one.durable { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "{:>6} {:<24} {:>4} {:>6} {:>8} {:>12} {:>8} {kept}",
            one.number, one.name, one.host, one.weight, one.actors, one.events, one.failures
        );
    }
    text
}

/// An amount, short.
fn amount(number: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    if number > u64::MAX / 8 {
        return "ample".to_owned();
    }
    match UNITS.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.1}{name}", number as f64 / *unit as f64),
        None => number.to_string(),
    }
}

/// The budget tree: a sponsor is indented below its parent.
pub(super) fn sponsors(list: &[SponsorStatus]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<30} {:<18} {:>9} {:>9} {:>9}   {:>9} {:>9} {:>9} {:>7}",
        "SPONSOR", "STATE", "BYTES", "CYCLES", "EVENTS", "USED", "USED", "USED", "WAITING"
    );
    let mut left: Vec<(usize, &SponsorStatus)> =
        list.iter().filter(|one| one.parent.is_none()).map(|one| (0, one)).collect();
    while let Some((depth, one)) = left.pop() {
        let [memory, cycles, events] = one.left.map(amount);
        let [memory_used, cycles_used, events_used] = one.consumed.map(amount);
        let _ = writeln!(
            text,
            "{:<30} {:<18} {memory:>9} {cycles:>9} {events:>9}   {memory_used:>9} {cycles_used:>9} {events_used:>9} {:>7}",
            format!("{}{}", "  ".repeat(depth), one.name),
            one.state,
            one.waiting
        );
        // A parent is made before its children, so nothing is its own ancestor.
        left.extend(
            list.iter().rev().filter(|child| child.parent == Some(one.index)).map(|child| (depth + 1, child)),
        );
    }
    text
}
