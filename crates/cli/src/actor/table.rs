//! Tables for people.

use std::fmt::Write;

use banyan_actors::durable::StoreHealth;
use banyan_actors::handle::{ConfigurationStatus, SponsorStatus};

/// The configurations, one a line.
pub(super) fn configurations(list: &[ConfigurationStatus]) -> String {
    let wide = width(list.iter().map(|one| one.name.as_str()));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:>6} {:<wide$} {:>4} {:>6} {:>8} {:>12} {:>8} KEPT",
        "NUMBER", "NAME", "HOST", "WEIGHT", "ACTORS", "EVENTS", "FAILED"
    );
    for one in list {
        let kept = match (one.durable, one.store) {
            (_, StoreHealth::Failed) => {
                "no more: its store could not be written; see the log, and open it again"
            }
            (_, StoreHealth::Faulty) => "not now: its store could not be written, and is tried again",
            (_, StoreHealth::Full) => "waits for room on the disk of its store",
            (true, StoreHealth::Well) => "yes",
            (false, StoreHealth::Well) => "no",
        };
        let _ = writeln!(
            text,
            "{:>6} {:<wide$} {:>4} {:>6} {:>8} {:>12} {:>8} {kept}",
            one.number, one.name, one.host, one.weight, one.actors, one.events, one.failures
        );
    }
    text
}

/// Of a column of names: as wide as the longest, not less than the table of a small program has.
fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).fold(24, usize::max)
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
    let mut lines: Vec<(String, &SponsorStatus)> = Vec::new();
    let mut left: Vec<(usize, &SponsorStatus)> =
        list.iter().filter(|one| one.parent.is_none()).map(|one| (0, one)).collect();
    while let Some((depth, one)) = left.pop() {
        lines.push((format!("{}{}", "  ".repeat(depth), one.name), one));
        // A parent is made before its children, so nothing is its own ancestor.
        left.extend(
            list.iter().rev().filter(|child| child.parent == Some(one.index)).map(|child| (depth + 1, child)),
        );
    }
    let wide = width(lines.iter().map(|(name, _)| name.as_str()));
    let mut text = String::new();
    let quotas = format!("{:>9} {:>9} {:>9}", "BYTES", "CYCLES", "EVENTS");
    let _ = writeln!(text, "{:<wide$} {:<18} {:<29}   {:<29}", "", "", "LEFT", "USED");
    let _ = writeln!(text, "{:<wide$} {:<18} {quotas}   {quotas} {:>7}", "SPONSOR", "STATE", "WAITING");
    for (name, one) in lines {
        let quotas = |amounts: [u64; 3]| {
            let [memory, cycles, events] = amounts.map(amount);
            format!("{memory:>9} {cycles:>9} {events:>9}")
        };
        let (left, used) = (quotas(one.left), quotas(one.consumed));
        let _ = writeln!(text, "{name:<wide$} {:<18} {left}   {used} {:>7}", one.state, one.waiting);
    }
    text
}
