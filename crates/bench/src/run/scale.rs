//! Four small nodes against one: each node is held to a fifth of a processor by a control group, so that four
//! of them fit on a small machine and more nodes really mean more processor time.
//!
//! The replicas are in the groups, the daemons outside: they are measured and shown beside the speed. The
//! period of the quota is short, so that a node that has spent it does not look like a slow network.

use super::input;
use super::one_node::{missing, path_text};
use super::outcome::Outcome;
use super::processes::{self, Finished, Launch, Member, On, Role};
use super::session::Session;
use crate::report::list_of;
use crate::row::Detail;
use crate::row::rounded;
use crate::statistics::median;
use banyan_node::statistics::RunStatistics;
use banyan_sys::control_group::{self, ControlGroup};
use serde_json::json;
use std::time::Duration;

const NODES: u8 = 4;
pub(super) const PERIOD_MICROSECONDS: u64 = 5000;
pub(super) const QUOTA_MICROSECONDS: u64 = 1000;
const DEADLINE: Duration = Duration::from_secs(180);

/// One run on throttled nodes.
pub(super) struct Throttled {
    pub(super) finished: Finished,
    /// Of each node: how long it was stopped because its quota was spent, added up over processors.
    stopped_seconds: Vec<f64>,
}

pub(super) fn run(session: &mut Session, words: &[String], on: On) -> anyhow::Result<Throttled> {
    let nodes = on.nodes();
    let mark = session.next_run();
    let groups: Vec<ControlGroup> = (0..nodes)
        .map(|node| ControlGroup::new(&format!("{mark}-{node}"), QUOTA_MICROSECONDS, PERIOD_MICROSECONDS))
        .collect::<std::io::Result<_>>()?;
    let mut place = |member: &Member| -> anyhow::Result<()> {
        match groups.get(member.node) {
            Some(group) if member.role == Role::Replica && !group.holds(member.process) => {
                Ok(group.add(member.process)?)
            }
            _ => Ok(()),
        }
    };
    let finished = processes::run(Launch {
        words: words.to_vec(),
        on,
        processors: None,
        run: mark,
        place: Some(&mut place),
        deadline: DEADLINE,
    })?;
    let stopped_seconds = groups.iter().map(|group| group.throttled().1).collect();
    Ok(Throttled { finished, stopped_seconds })
}

/// One node against four. Work that comes in `pieces` has its faults counted a piece.
fn compare(
    session: &mut Session,
    command: &str,
    words: &[String],
    pieces: Option<u32>,
) -> anyhow::Result<Outcome> {
    if let Some(reason) = control_group::missing() {
        return Ok(Outcome::Skipped(reason));
    }
    let (mut one, mut four) = (Vec::new(), Vec::new());
    for _ in 0..session.rounds_of_long() {
        one.push(run(session, words, On::Nodes(1))?);
        four.push(run(session, words, On::Nodes(NODES))?);
        anyhow::ensure!(
            one.last().map(|run| &run.finished.output) == four.last().map(|run| &run.finished.output),
            "the output on {NODES} nodes differs from that on one"
        );
    }
    let wall =
        |runs: &[Throttled]| -> Vec<f64> { runs.iter().map(|run| run.finished.wall_seconds).collect() };
    let daemons =
        |runs: &[Throttled]| median(runs.iter().map(|run| run.finished.daemon_seconds.iter().sum()));
    let value = median(wall(&four));
    let mut detail = Detail::new();
    detail.insert("command".into(), json!(command));
    detail.insert(
        "quota".into(),
        json!(format!("{QUOTA_MICROSECONDS} of {PERIOD_MICROSECONDS} us, replicas only")),
    );
    detail.insert("four_nodes_seconds".into(), list_of(&wall(&four)));
    detail.insert("one_node_seconds".into(), list_of(&wall(&one)));
    detail.insert("daemons_cpu_seconds_on_four".into(), json!(rounded(daemons(&four))));
    detail.insert("daemon_cpu_seconds_on_one".into(), json!(rounded(daemons(&one))));
    if let (Some(one), Some(four)) = (one.last(), four.last()) {
        detail.insert("stopped_seconds_of_each_of_four".into(), list_of(&four.stopped_seconds));
        detail.insert("stopped_seconds_of_one".into(), list_of(&one.stopped_seconds));
    }
    if let Some(pieces) = pieces {
        let count = |of: fn(&RunStatistics) -> u64| {
            let counted = four.iter().filter_map(|run| run.finished.statistics.as_ref());
            median(counted.map(|statistics| of(statistics) as f64)) / f64::from(pieces)
        };
        let faults = |run: &RunStatistics| run.faults.read + run.faults.write + run.faults.upgrade;
        detail.insert("faults_a_piece".into(), json!(rounded(count(faults))));
        detail.insert("moves_a_piece".into(), json!(rounded(count(|run| run.migrations))));
    }
    Ok(Outcome::measured(value, "s", median(wall(&one)) / value, detail))
}

/// `scale4.pigz`.
pub(crate) fn pigz(session: &mut Session) -> anyhow::Result<Outcome> {
    if let Some(skipped) = missing("pigz") {
        return Ok(skipped);
    }
    let megabytes = 96;
    // pigz compresses 128 KiB at a time.
    let pieces = megabytes as u32 * 8;
    let input = input::text(session, megabytes)?;
    let words = ["pigz", "-n", "-p", "8", "-k", "-c", path_text(&input)?].map(str::to_owned);
    compare(session, &format!("pigz -n -p 8 -k -c on {megabytes} MiB"), &words, Some(pieces))
}

/// `scale4.mandelbrot`.
pub(crate) fn mandelbrot(session: &mut Session) -> anyhow::Result<Outcome> {
    let words = ["/proc/self/exe", "bench-program", "mandelbrot", "4000", "8"].map(str::to_owned);
    compare(session, "mandelbrot of 4000 x 4000 points, 8 threads", &words, None)
}
