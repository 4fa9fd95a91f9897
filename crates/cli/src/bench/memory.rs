//! Memory of another node: the fault for one page, and a stream of them.

use super::processes::{self, Launch, Member, Place, hold};
use super::report::{Detail, Outcome, list_of, median, rounded};
use super::session::{Session, only, processors};
use super::tcp::{self, Sides};
use anyhow::Context;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const FAULTS: usize = 4096;
const ROUND_TRIPS: usize = 8192;
const STREAM_MEGABYTES: usize = 256;
const DEADLINE: Duration = Duration::from_secs(60);

/// The placements in which both sides are measured. The first is the one that is judged: on one processor a switch to
/// another thread costs little, so that nothing hides what Banyan itself takes, and results vary least.
pub(crate) fn placements() -> Vec<Sides> {
    let processors = processors();
    let one = processors.first().copied().map(only);
    let mut placements = vec![Sides { name: "all_on_one_cpu", asking: one, answering: one }];
    if let [first, second, ..] = processors.as_slice() {
        let (asking, answering) = (Some(only(*second)), Some(only(*first)));
        placements.push(Sides { name: "a_node_on_each_cpu", asking, answering });
        placements.push(Sides { name: "free", asking: None, answering: None });
    }
    placements
}

/// Runs a program of the bench over two nodes, the second of which executes its second thread.
pub(crate) fn two_nodes(
    session: &mut Session,
    sides: &Sides,
    words: &[&str],
) -> anyhow::Result<BTreeMap<String, f64>> {
    let sets = [sides.answering, sides.asking];
    let mut place_each = |member: &Member| -> anyhow::Result<()> {
        if let Some(Some(processors)) = sets.get(member.node) {
            hold(member.process, processors);
        }
        Ok(())
    };
    let place: Option<Place<'_>> = if sides.asking.is_some() { Some(&mut place_each) } else { None };
    let program = ["/proc/self/exe", "bench-program"].iter().chain(words);
    processes::run(Launch {
        words: program.map(|word| (*word).to_owned()).collect(),
        nodes: Some(2),
        processors: None,
        run: session.next_run(),
        place,
        deadline: DEADLINE,
    })?
    .numbers()
}

/// Both sides of a measure in every placement, round after round.
pub(crate) fn compare(
    session: &mut Session,
    unit: &'static str,
    mut raw: impl FnMut(&mut Session, &Sides) -> anyhow::Result<f64>,
    mut ours: impl FnMut(&mut Session, &Sides) -> anyhow::Result<f64>,
) -> anyhow::Result<Outcome> {
    let placements = placements();
    let mut results: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); placements.len()];
    for _ in 0..session.rounds() {
        for (sides, (raw_values, our_values)) in placements.iter().zip(&mut results) {
            raw_values.push(raw(session, sides)?);
            our_values.push(ours(session, sides)?);
        }
    }
    let mut detail = Detail::new();
    detail.insert("judged".into(), json!(placements[0].name));
    for (sides, (raw_values, our_values)) in placements.iter().zip(&results) {
        let (raw, ours) = (median(raw_values.iter().copied()), median(our_values.iter().copied()));
        let facts = json!({
            "ratio": rounded(ours / raw),
            format!("banyan_{unit}"): list_of(our_values),
            format!("raw_tcp_{unit}"): list_of(raw_values),
        });
        detail.insert(sides.name.into(), facts);
    }
    let (raw_values, our_values) = &results[0];
    let value = median(our_values.iter().copied());
    Ok(Outcome::measured(value, unit, value / median(raw_values.iter().copied()), detail))
}

/// `fault.read`.
pub(crate) fn fault_read(session: &mut Session) -> anyhow::Result<Outcome> {
    compare(
        session,
        "us",
        |session, sides| tcp::round_trip(session, sides, ROUND_TRIPS, 4096),
        |session, sides| {
            let numbers = two_nodes(session, sides, &["fault-read", &FAULTS.to_string()])?;
            numbers.get("p50").copied().context("no median")
        },
    )
}

/// `stream.read`.
pub(crate) fn stream_read(session: &mut Session) -> anyhow::Result<Outcome> {
    let gigabytes = STREAM_MEGABYTES as f64 / 1024.0;
    compare(
        session,
        "GiB/s",
        |session, sides| Ok(gigabytes / tcp::stream(session, sides, STREAM_MEGABYTES)?),
        |session, sides| {
            let numbers = two_nodes(session, sides, &["stream-read", &STREAM_MEGABYTES.to_string()])?;
            Ok(gigabytes / numbers.get("seconds").copied().context("no time")?)
        },
    )
}
