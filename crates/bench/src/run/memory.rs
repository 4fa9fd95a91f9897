//! Memory of another node: the fault for one page, and a stream of them.

use super::outcome::Outcome;
use super::processes::{self, Finished, Launch, Member, On, Place, hold};
use super::session::{Session, only, processors};
use super::tcp::{self, Sides};
use crate::report::list_of;
use crate::row::Detail;
use crate::row::rounded;
use crate::statistics::median;
use anyhow::Context;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const FAULTS: usize = 4096;
const ROUND_TRIPS: usize = 8192;
const STREAM_MEGABYTES: usize = 256;
const DEADLINE: Duration = Duration::from_secs(60);

/// Where the two sides of a measure run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Everything on one processor. A switch to another thread costs little there, so nothing hides what
    /// Banyan itself takes, and results vary least: this judges latencies.
    OneProcessor,
    /// A node on each of two processors, as nodes are machines: this judges streams, where both ends work at
    /// once.
    ProcessorEach,
    /// Wherever the kernel puts it.
    Free,
}

impl Placement {
    fn name(self) -> &'static str {
        match self {
            Self::OneProcessor => "all_on_one_cpu",
            Self::ProcessorEach => "a_node_on_each_cpu",
            Self::Free => "free",
        }
    }

    /// Which processors that means; `None` if this machine has too few.
    fn sides(self) -> Option<Sides> {
        let processors = processors();
        let (first, second) = (only(*processors.first()?), processors.get(1).map(|second| only(*second)));
        Some(match self {
            Self::OneProcessor => Sides { asking: Some(first), answering: Some(first) },
            Self::ProcessorEach => Sides { asking: Some(second?), answering: Some(first) },
            Self::Free => Sides { asking: None, answering: None },
        })
    }
}

/// Runs a program of the bench over two nodes, the second of which executes its second thread.
pub(crate) fn two_nodes(
    session: &mut Session,
    sides: &Sides,
    words: &[&str],
) -> anyhow::Result<BTreeMap<String, f64>> {
    run_on_two(session, sides, words)?.numbers()
}

fn run_on_two(session: &mut Session, sides: &Sides, words: &[&str]) -> anyhow::Result<Finished> {
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
        on: On::Nodes(2),
        processors: None,
        run: session.next_run(),
        place,
        deadline: DEADLINE,
    })
}

/// Both sides of a measure in every placement, round after round. The placement `decisive` counts, or
/// the first there is.
pub(crate) fn compare(
    session: &mut Session,
    unit: &'static str,
    decisive: Placement,
    mut raw: impl FnMut(&mut Session, &Sides) -> anyhow::Result<f64>,
    mut ours: impl FnMut(&mut Session, &Sides) -> anyhow::Result<f64>,
) -> anyhow::Result<Outcome> {
    struct Side {
        placement: Placement,
        sides: Sides,
        raw: Vec<f64>,
        ours: Vec<f64>,
    }
    let all = [Placement::OneProcessor, Placement::ProcessorEach, Placement::Free];
    let mut measured: Vec<Side> = all
        .into_iter()
        .filter_map(|placement| {
            Some(Side { placement, sides: placement.sides()?, raw: Vec::new(), ours: Vec::new() })
        })
        .collect();
    for _ in 0..session.rounds() {
        for side in &mut measured {
            side.raw.push(raw(session, &side.sides)?);
            processes::warm_memory(session.next_run(), 2 * STREAM_MEGABYTES)?;
            side.ours.push(ours(session, &side.sides)?);
        }
    }
    let mut detail = Detail::new();
    for side in &measured {
        let facts = json!({
            "ratio": rounded(median(side.ours.iter().copied()) / median(side.raw.iter().copied())),
            format!("banyan_{unit}"): list_of(&side.ours),
            format!("raw_tcp_{unit}"): list_of(&side.raw),
        });
        detail.insert(side.placement.name().into(), facts);
    }
    let judged = measured.iter().find(|side| side.placement == decisive).or(measured.first());
    let judged = judged.context("no processor to run on")?;
    detail.insert("judged".into(), json!(judged.placement.name()));
    let (raw, ours) = (median(judged.raw.iter().copied()), median(judged.ours.iter().copied()));
    Ok(Outcome::measured(ours, unit, ours / raw, detail))
}

/// `fault.read`.
pub(crate) fn fault_read(session: &mut Session) -> anyhow::Result<Outcome> {
    compare(
        session,
        "us",
        Placement::OneProcessor,
        |session, sides| tcp::round_trip(session, sides, ROUND_TRIPS, 4096),
        |session, sides| {
            let numbers = two_nodes(session, sides, &["fault-read", &FAULTS.to_string()])?;
            numbers.get("p50").copied().context("no median")
        },
    )
}

/// `fault.cpu`. What the daemons of two nodes take for their start is the same with few faults, and is taken
/// off. On one processor a raw round trip takes as long as both its sides together compute.
pub(crate) fn fault_processor_time(session: &mut Session) -> anyhow::Result<Outcome> {
    let sides = Placement::OneProcessor.sides().context("no processor to run on")?;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..session.rounds() {
        raw.push(tcp::round_trip(session, &sides, ROUND_TRIPS, 4096)?);
        let mut seconds = |faults: usize| -> anyhow::Result<f64> {
            let finished = run_on_two(session, &sides, &["fault-read", &faults.to_string()])?;
            Ok(finished.daemon_seconds.iter().sum())
        };
        let (few, many) = (seconds(FAULTS / 16)?, seconds(FAULTS * 4)?);
        ours.push((many - few) * 1e6 / (FAULTS * 4 - FAULTS / 16) as f64);
    }
    let mut detail = Detail::new();
    detail.insert("daemons_us".into(), list_of(&ours));
    detail.insert("raw_tcp_us".into(), list_of(&raw));
    let (ours, raw) = (median(ours), median(raw));
    Ok(Outcome::measured(ours, "us", ours / raw, detail))
}

/// `stream.read`.
pub(crate) fn stream_read(session: &mut Session) -> anyhow::Result<Outcome> {
    let gigabytes = STREAM_MEGABYTES as f64 / 1024.0;
    compare(
        session,
        "GiB/s",
        Placement::ProcessorEach,
        |session, sides| Ok(gigabytes / tcp::stream(session, sides, STREAM_MEGABYTES)?),
        |session, sides| {
            let numbers = two_nodes(session, sides, &["stream-read", &STREAM_MEGABYTES.to_string()])?;
            Ok(gigabytes / numbers.get("seconds").copied().context("no time")?)
        },
    )
}
