//! What a person should know of a view before all figures, and what to do about it, in words.

use crate::rows::RegionRow;
use crate::view::{JobView, NodeView, View};
use serde::{Deserialize, Serialize};

/// A program that loses a smaller part of its time has nothing to complain of.
const LOST_SHARE_WORTH_TELLING: f64 = 0.25;
/// A program that uses and loses less than this many processors together has nothing to lose.
const CPUS_WORTH_TELLING: f64 = 0.05;
/// More processes want a processor than this many for each there is.
const LOAD_PER_CPU_MAX: f64 = 2.0;
/// Less of a machine's memory is left.
const AVAILABLE_SHARE_MIN: f64 = 0.05;

/// A page that moves less often rests.
const REST_PER_S: f64 = 1.0;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    Good,
    /// Something is slower than it could be.
    Caution,
    /// Something is broken.
    Bad,
}

/// A line for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// How much it matters.
    pub level: Level,
    /// What is the matter, and what to do.
    pub text: String,
}

/// What is to be said of a view, the worst first. At least one line.
pub(crate) fn about(view: &View) -> Vec<Advice> {
    let mut lines = Vec::new();
    for node in view.nodes.iter().filter(|node| node.row.state != "up") {
        let name = &node.row.node;
        let text =
            format!("{name} does not answer: what it would show is missing. `banyan status` says why.");
        lines.push(Advice { level: Level::Bad, text });
    }
    view.machines().iter().for_each(|nodes| about_machine(nodes, &mut lines));
    view.jobs.iter().for_each(|job| about_job(view, job, &mut lines));
    lines.sort_by_key(|line| std::cmp::Reverse(line.level));
    if lines.is_empty() {
        let text = match view.nodes.len() {
            0 => "No node has answered yet.".to_owned(),
            1 => "The node answers, and nothing waits.".to_owned(),
            several => format!("All {several} nodes answer, and nothing waits long for memory."),
        };
        lines.push(Advice { level: Level::Good, text });
    }
    lines
}

fn about_machine(nodes: &[&NodeView], lines: &mut Vec<Advice>) {
    let Some(row) = nodes.first().map(|node| &node.row) else { return };
    let name = match nodes.len() {
        1 => row.node.clone(),
        several => format!("The machine of {} and {} more", row.node, several - 1),
    };
    let mut say = |text| lines.push(Advice { level: Level::Caution, text });
    if let (Some(load), Some(cpus)) = (row.load_1m, row.cpus)
        && load > LOAD_PER_CPU_MAX * cpus as f64
    {
        say(format!("{name} has a load of {load:.1} for {cpus} processors: more machines would help."));
    }
    if let (Some(left), Some(all)) = (row.available_bytes, row.memory_bytes)
        && (left as f64) < AVAILABLE_SHARE_MIN * all as f64
    {
        say(format!("{name} has {} MiB of memory left, of {} MiB.", left >> 20, all >> 20));
    }
}

fn about_job(view: &View, job: &JobView, lines: &mut Vec<Advice>) {
    let (Some(share), Some(cpus)) = (job.lost_share, job.cpus_used) else { return };
    // What is lost, in processors: share = lost / (lost + cpus).
    let whole = if share < 1.0 { cpus / (1.0 - share) } else { 1.0 };
    if share < LOST_SHARE_WORTH_TELLING || whole < CPUS_WORTH_TELLING {
        return;
    }
    let percent = (share * 100.0).round();
    let fights = view.hot.iter().filter(|page| page.row.job == job.row.job && page.fights).count();
    let why = match fights {
        0 => most_faults(job),
        1 => "one page goes to and fro between nodes: see the hot pages".to_owned(),
        several => format!("{several} pages go to and fro between nodes: see the hot pages"),
    };
    let text =
        format!("{} loses {percent} % of its threads' time waiting for memory: {why}.", job.row.program);
    lines.push(Advice { level: Level::Caution, text });
}

/// What a program without contended pages waits for.
fn most_faults(job: &JobView) -> String {
    let of = |cause: &str| -> f64 {
        job.faults.iter().filter(|fault| fault.row.cause == cause).filter_map(|fault| fault.per_s).sum()
    };
    let (reads, writes) = (of("read"), of("write") + of("upgrade"));
    if reads >= writes {
        "it reads much that other nodes have written; it may run better on fewer nodes, or with its threads \
         beside the data"
            .to_owned()
    } else {
        "it writes much that other nodes have used before; it may run better on fewer nodes".to_owned()
    }
}

/// What to do about a page that goes from node to node.
pub(crate) fn remedy(moves_per_s: Option<f64>, region: Option<&RegionRow>) -> String {
    match moves_per_s {
        None => return "It went from node to node; the next look says whether it still does.".to_owned(),
        Some(moves) if moves < REST_PER_S => return "It rests now; nothing to do.".to_owned(),
        Some(_) => {}
    }
    let what = match region.map(|region| region.kind.as_str()) {
        Some("image") => "A global variable or lock of the program lies here.",
        Some("anonymous") => "Data or locks that threads of several nodes write lie here.",
        _ => "Threads of several nodes write here.",
    };
    format!("{what} Keep those threads on one node (banyan job move), or put what each writes 4 KiB apart.")
}
