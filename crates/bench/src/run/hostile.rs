//! Programs that are hard to spread, on three nodes and as `--place auto` has it, against one node: nobody
//! shall be worse off. Each runs for a moment and for long; the worse of the two ratios counts.

use super::one_node::missing;
use super::outcome::{Measured, Outcome};
use super::processes::{self, Launch, On};
use super::scale::{self, PERIOD_MICROSECONDS, QUOTA_MICROSECONDS};
use super::session::Session;
use crate::report::list_of;
use crate::row::{Detail, rounded};
use crate::statistics::median;
use banyan_sys::control_group;
use serde_json::json;
use std::time::Duration;

const NODES: u8 = 3;
const THREADS: &str = "4";
const SOURCE: &str = include_str!("hostile.c");
/// Processor seconds of the short runs and of the long ones, which take five times as long by the quota.
const SHORT_SECONDS: f64 = 0.02;
const LONG_SECONDS: f64 = 2.0;
/// Rounds of a kind by which the others are reckoned.
const PROBE_ROUNDS: u32 = 64;
const DEADLINE: Duration = Duration::from_secs(60);

/// `hostile.KIND`.
pub(crate) fn measure(session: &mut Session, kind: &str) -> anyhow::Result<Outcome> {
    if let Some(skipped) = missing("gcc") {
        return Ok(skipped);
    }
    if let Some(reason) = control_group::missing() {
        return Ok(Outcome::Skipped(reason));
    }
    let program = session.compiled("hostile", SOURCE, "-fopenmp")?;
    let words = |rounds: u32, threads: &str| -> anyhow::Result<Vec<String>> {
        let program = super::one_node::path_text(&program)?;
        Ok([program, kind, &rounds.to_string(), threads].map(str::to_owned).to_vec())
    };
    let probe = processes::run(Launch {
        words: words(PROBE_ROUNDS, "1")?,
        on: On::Nothing,
        processors: None,
        run: session.next_run(),
        place: None,
        deadline: DEADLINE,
    })?;
    let seconds_a_round = probe.program_seconds.max(0.01) / f64::from(PROBE_ROUNDS);
    let mut detail = Detail::new();
    detail.insert(
        "quota".into(),
        json!(format!("{QUOTA_MICROSECONDS} of {PERIOD_MICROSECONDS} us, replicas only")),
    );
    let mut ratios = Vec::new();
    let mut long = 0.0;
    for (name, seconds) in [("short", SHORT_SECONDS), ("long", LONG_SECONDS)] {
        let words = words((seconds / seconds_a_round).round().max(1.0) as u32, THREADS)?;
        let (mut one, mut several, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..session.rounds_of_long() {
            let packed = scale::run(session, &words, On::Nodes(1))?.finished;
            let spread = scale::run(session, &words, On::AsPays(NODES))?.finished;
            anyhow::ensure!(packed.output == spread.output, "the output on {NODES} nodes differs");
            one.push(packed.wall_seconds);
            several.push(spread.wall_seconds);
            moves.push(spread.statistics.map_or(0, |statistics| statistics.migrations));
        }
        long = median(several.iter().copied());
        ratios.push(median(one.iter().copied()) / long);
        let facts = json!({
            "ratio": rounded(ratios[ratios.len() - 1]),
            "one_node_seconds": list_of(&one),
            "seconds": list_of(&several),
            "moves": moves,
        });
        detail.insert(name.into(), facts);
    }
    let ratio = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Outcome::Measured(Measured { value: long, unit: "s", ratio, sound: true, detail }))
}
