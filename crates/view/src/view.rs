//! What is shown: rows of one look, with what changed since the look before it.
//!
//! Its fields are the API of the page, which docs/reference/page-api.md describes. A figure that needs two
//! looks is null after the first.
#![expect(missing_docs, reason = "docs/reference/page-api.md describes each field")]

use crate::advice::{self, Advice};
use crate::look::{Look, Memory};
use crate::rows::{
    EventRow, FaultRow, HotRow, JobRow, LinkRow, NodeRow, PageRow, PartRow, RegionRow, ThreadRow,
};
use crate::strip::{self, Cell};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Moves of a page in a second from which on nodes are said to fight for it.
pub(crate) const FIGHT_PER_S: f64 = 20.0;
/// Less processor time and waiting than this part of the time is no use of it.
const IDLE_SHARE: f64 = 0.001;

/// Two looks, of which the later one is at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) earlier: &'a Look,
    pub(crate) seconds: f64,
}

/// One moment of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub at_s: f64,
    pub span_s: Option<f64>,
    pub total: Total,
    pub advice: Vec<Advice>,
    pub nodes: Vec<NodeView>,
    pub jobs: Vec<JobView>,
    pub links: Vec<LinkView>,
    pub hot: Vec<HotView>,
    pub events: Vec<EventRow>,
    pub pages: Vec<PageRow>,
    pub missing: Vec<String>,
}

/// All of it together, of the nodes that answer. Nodes with one address share a machine, which counts once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Total {
    pub nodes: u64,
    pub nodes_up: u64,
    pub machines: u64,
    pub cpus: u64,
    pub memory_bytes: u64,
    pub available_bytes: u64,
    pub jobs: u64,
    pub threads: u64,
}

/// A node: its row, and what it does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    #[serde(flatten)]
    pub row: NodeRow,
    pub busy_share: Option<f64>,
    pub daemon_share: Option<f64>,
    pub faults_per_s: Option<f64>,
    pub sent_per_s: Option<f64>,
    pub received_per_s: Option<f64>,
}

/// A program: its row, what it does, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    #[serde(flatten)]
    pub row: JobRow,
    pub cpus_used: Option<f64>,
    pub lost_share: Option<f64>,
    pub lost_share_total: f64,
    pub faults_per_s: Option<f64>,
    pub moves_per_min: Option<f64>,
    pub sent_per_s: Option<f64>,
    pub parts: Vec<PartView>,
    pub faults: Vec<FaultView>,
    pub memory: Vec<Cell>,
    pub thread_list: Vec<ThreadRow>,
}

/// A program on one of its nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartView {
    #[serde(flatten)]
    pub row: PartRow,
    pub threads_here: u64,
    pub cpus_used: Option<f64>,
    pub lost_share: Option<f64>,
}

/// Faults of one cause on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultView {
    #[serde(flatten)]
    pub row: FaultRow,
    pub per_s: Option<f64>,
}

/// What one node sends another, for all programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    pub node: String,
    pub peer: String,
    pub sent_bytes: u64,
    pub sent_per_s: Option<f64>,
    pub rtt_us: Option<u64>,
    pub tls: bool,
}

/// A page that goes from node to node, with what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HotView {
    #[serde(flatten)]
    pub row: HotRow,
    pub moves_per_s: Option<f64>,
    pub fights: bool,
    pub region: Option<String>,
    pub remedy: String,
}

impl View {
    pub(crate) fn new(span: Option<Span<'_>>, look: &Look, memory: &Memory, events: Vec<EventRow>) -> Self {
        let hot = hot(span, look, memory);
        let jobs: Vec<JobView> = look.jobs.iter().map(|row| job(span, look, memory, &hot, row)).collect();
        let nodes: Vec<NodeView> = look.nodes.iter().map(|row| node(span, look, row)).collect();
        let mut view = Self {
            at_s: look.at_s,
            span_s: span.map(|span| round(span.seconds)),
            total: Total::default(),
            advice: Vec::new(),
            nodes,
            jobs,
            links: links(span, look),
            hot,
            events,
            pages: look.pages.clone(),
            missing: look.missing.clone(),
        };
        view.total = view.sum();
        view.advice = advice::about(&view);
        view
    }

    fn sum(&self) -> Total {
        let machines = self.machines();
        let each =
            |of: fn(&NodeRow) -> Option<u64>| machines.iter().filter_map(|nodes| of(&nodes[0].row)).sum();
        Total {
            nodes: self.nodes.len() as u64,
            nodes_up: machines.iter().map(|nodes| nodes.len() as u64).sum(),
            machines: machines.len() as u64,
            cpus: each(|node| node.cpus),
            memory_bytes: each(|node| node.memory_bytes),
            available_bytes: each(|node| node.available_bytes),
            jobs: self.jobs.len() as u64,
            threads: self.jobs.iter().filter_map(|job| job.row.threads).sum(),
        }
    }

    /// The nodes that answer, by the machine on which they are.
    pub(crate) fn machines(&self) -> Vec<Vec<&NodeView>> {
        let mut machines: BTreeMap<&str, Vec<&NodeView>> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.row.state == "up") {
            let address = node.row.address.as_deref().and_then(|address| address.rsplit_once(':'));
            machines.entry(address.map_or(&node.row.node, |(host, _)| host)).or_default().push(node);
        }
        machines.into_values().collect()
    }
}

/// Three digits after the point: more is noise, and has to travel.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// How much a counter grew in a second. None without an earlier value, or if it began anew.
fn rate(span: Option<Span<'_>>, later: f64, earlier: impl Fn(&Look) -> Option<f64>) -> Option<f64> {
    let span = span?;
    let grown = later - earlier(span.earlier)?;
    (grown >= 0.0).then(|| round(grown / span.seconds))
}

/// A sum over some rows of a look. None without any, for then there was nothing that could have grown.
fn sum<T>(rows: &[T], is_meant: impl Fn(&T) -> bool, value: impl Fn(&T) -> f64) -> Option<f64> {
    let mut found = rows.iter().filter(|row| is_meant(row)).map(value).peekable();
    found.peek()?;
    Some(found.sum())
}

/// The same sum in both looks, as a rate. Rows that are new began at nothing.
fn sum_rate<T>(
    span: Option<Span<'_>>,
    look: &Look,
    rows: fn(&Look) -> &[T],
    is_meant: impl Fn(&T) -> bool + Copy,
    value: impl Fn(&T) -> f64 + Copy,
) -> Option<f64> {
    let later = sum(rows(look), is_meant, value).unwrap_or(0.0);
    rate(span, later, |earlier| Some(sum(rows(earlier), is_meant, value).unwrap_or(0.0)))
}

fn link_bytes(link: &LinkRow) -> f64 {
    (link.urgent_bytes + link.bulk_bytes + link.control_bytes) as f64
}

/// Which part of the time in which threads ran or waited for memory they waited for it.
fn lost_share(lost_s: f64, cpu_s: f64, span_s: f64) -> f64 {
    let whole = lost_s + cpu_s;
    if whole < IDLE_SHARE * span_s { 0.0 } else { round(lost_s / whole) }
}

fn node(span: Option<Span<'_>>, look: &Look, row: &NodeRow) -> NodeView {
    let name = row.node.as_str();
    let before = |earlier: &Look| earlier.nodes.iter().find(|node| node.node == name).cloned();
    let grown = |now: Option<f64>, of: fn(&NodeRow) -> Option<f64>| {
        rate(span, now?, |earlier| before(earlier).and_then(|node| of(&node)))
    };
    let cpus = row.cpus.unwrap_or(1).max(1) as f64;
    NodeView {
        busy_share: grown(row.busy_s, |node| node.busy_s).map(|busy| round((busy / cpus).min(1.0))),
        daemon_share: grown(row.daemon_s, |node| node.daemon_s),
        faults_per_s: sum_rate(
            span,
            look,
            |look| &look.faults,
            |fault| fault.node == name,
            |row| row.count as f64,
        ),
        sent_per_s: sum_rate(span, look, |look| &look.links, |link| link.node == name, link_bytes),
        received_per_s: sum_rate(span, look, |look| &look.links, |link| link.peer == name, link_bytes),
        row: row.clone(),
    }
}

fn job(span: Option<Span<'_>>, look: &Look, memory: &Memory, hot: &[HotView], row: &JobRow) -> JobView {
    let number = row.job;
    let grown = |now: f64, of: fn(&JobRow) -> f64| {
        rate(span, now, |earlier| earlier.jobs.iter().find(|job| job.job == number).map(of))
    };
    let cpus_used = grown(row.cpu_s, |job| job.cpu_s);
    let lost = grown(row.lost_us as f64, |job| job.lost_us as f64);
    let moves = row.moves.and_then(|moves| grown(moves as f64, |job| job.moves.unwrap_or(0) as f64));
    let seconds = span.map_or(1.0, |span| span.seconds);
    let share = |lost: f64, cpus: f64| lost_share(lost / 1e6 * seconds, cpus * seconds, seconds);
    let threads = || memory.threads.iter().filter(|thread| thread.job == number);
    let part = |part: &PartRow| {
        let same = |other: &&PartRow| other.job == number && other.node == part.node;
        let grown = |now: f64, of: fn(&PartRow) -> f64| {
            rate(span, now, |earlier| earlier.parts.iter().find(same).map(of))
        };
        let cpus_used = grown(part.cpu_s, |part| part.cpu_s);
        let lost = grown(part.lost_us as f64, |part| part.lost_us as f64);
        PartView {
            threads_here: threads().filter(|thread| thread.node == part.node).count() as u64,
            cpus_used,
            lost_share: lost.zip(cpus_used).map(|(lost, cpus)| share(lost, cpus)),
            row: part.clone(),
        }
    };
    let mut parts: Vec<PartView> = look.parts.iter().filter(|part| part.job == number).map(part).collect();
    parts.sort_by_key(|part| part.row.number);
    let fault = |fault: &FaultRow| {
        let same =
            |other: &FaultRow| other.job == number && other.node == fault.node && other.cause == fault.cause;
        FaultView {
            per_s: sum_rate(span, look, |look| &look.faults, same, |row| row.count as f64),
            row: fault.clone(),
        }
    };
    JobView {
        cpus_used,
        lost_share: lost.zip(cpus_used).map(|(lost, cpus)| share(lost, cpus)),
        lost_share_total: lost_share(row.lost_us as f64 / 1e6, row.cpu_s, row.wall_s),
        faults_per_s: sum_rate(
            span,
            look,
            |look| &look.faults,
            |fault| fault.job == number,
            |row| row.count as f64,
        ),
        moves_per_min: moves.map(|moves| round(moves * 60.0)),
        sent_per_s: grown(row.sent_bytes as f64, |job| job.sent_bytes as f64),
        parts,
        faults: look.faults.iter().filter(|fault| fault.job == number).map(fault).collect(),
        memory: strip::cells(number, memory, hot),
        thread_list: threads().cloned().collect(),
        row: row.clone(),
    }
}

/// Connections of all programs between the same two nodes are one link.
fn links(span: Option<Span<'_>>, look: &Look) -> Vec<LinkView> {
    let mut links: Vec<LinkView> = Vec::new();
    for row in &look.links {
        let bytes = link_bytes(row) as u64;
        let known = links.iter_mut().find(|link| link.node == row.node && link.peer == row.peer);
        let Some(link) = known else {
            let same = |other: &LinkRow| other.node == row.node && other.peer == row.peer;
            links.push(LinkView {
                node: row.node.clone(),
                peer: row.peer.clone(),
                sent_bytes: bytes,
                sent_per_s: sum_rate(span, look, |look| &look.links, same, link_bytes),
                rtt_us: row.rtt_us,
                tls: row.tls == 1,
            });
            continue;
        };
        link.sent_bytes += bytes;
        link.tls &= row.tls == 1;
        link.rtt_us = match (link.rtt_us, row.rtt_us) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    links
}

fn hot(span: Option<Span<'_>>, look: &Look, memory: &Memory) -> Vec<HotView> {
    let view = |row: &HotRow| {
        let before = |earlier: &Look| {
            let same = |other: &&HotRow| other.job == row.job && other.page == row.page;
            earlier.hot.iter().find(same).map(|row| row.moves as f64)
        };
        let moves_per_s = rate(span, row.moves as f64, before);
        let fights = moves_per_s.is_some_and(|moves| moves >= FIGHT_PER_S);
        let found = region(memory, row);
        HotView {
            moves_per_s,
            fights,
            region: found.map(region_text),
            remedy: advice::remedy(moves_per_s, found),
            row: row.clone(),
        }
    };
    let mut pages: Vec<HotView> = look.hot.iter().map(view).collect();
    let now = |page: &HotView| page.moves_per_s.unwrap_or(0.0);
    pages.sort_by(|one, other| now(other).total_cmp(&now(one)).then(other.row.moves.cmp(&one.row.moves)));
    pages
}

/// The region of a page. Regions are sorted.
fn region<'a>(memory: &'a Memory, page: &HotRow) -> Option<&'a RegionRow> {
    let after =
        memory.regions.partition_point(|region| (region.job, region.start) <= (page.job, page.address));
    let region = memory.regions.get(after.checked_sub(1)?)?;
    (region.job == page.job && page.address < region.end).then_some(region)
}

/// What a region is, for people.
fn region_text(region: &RegionRow) -> String {
    match &region.file {
        Some(file) => file.rsplit('/').next().unwrap_or(file).to_owned(),
        None => region.kind.clone(),
    }
}
