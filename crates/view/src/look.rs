//! What one query found: the rows of all tables at about one moment.

use crate::question::{Depth, Question, rows_max};
use crate::rows::{
    EventRow, ExtentRow, FaultRow, HotRow, JobRow, LinkRow, NodeRow, PageRow, PartRow, RegionRow, Row,
    ThreadRow,
};
use serde::de::DeserializeOwned;

/// The rows of a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// When, in seconds since 1970, by the clock of the node that was asked.
    pub(crate) at_s: f64,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) jobs: Vec<JobRow>,
    pub(crate) parts: Vec<PartRow>,
    pub(crate) faults: Vec<FaultRow>,
    pub(crate) links: Vec<LinkRow>,
    pub(crate) hot: Vec<HotRow>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) pages: Vec<PageRow>,
    /// Only of a whole look.
    pub(crate) memory: Option<Memory>,
    /// What is not in it, a line each.
    pub(crate) missing: Vec<String>,
}

/// What is looked at less often.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) threads: Vec<ThreadRow>,
    pub(crate) extents: Vec<ExtentRow>,
    pub(crate) regions: Vec<RegionRow>,
}

#[derive(serde::Deserialize)]
struct At {
    at_s: f64,
}

impl Look {
    /// Without any rows yet, of the answer to a question.
    #[must_use]
    pub fn of(question: &Question) -> Self {
        let memory = (question.depth == Depth::Whole).then(Memory::default);
        Self { memory, ..Self::default() }
    }

    /// Adds a row of the query's answer. One that cannot be read is left out and named: nodes of other builds
    /// are not this one's fault.
    pub fn take(&mut self, table: &str, row: &str) {
        let taken = match table {
            "at" => serde_json::from_str(row).map(|At { at_s }| self.at_s = at_s),
            NodeRow::TABLE => add(&mut self.nodes, row),
            JobRow::TABLE => add(&mut self.jobs, row),
            PartRow::TABLE => add(&mut self.parts, row),
            FaultRow::TABLE => add(&mut self.faults, row),
            LinkRow::TABLE => add(&mut self.links, row),
            HotRow::TABLE => add(&mut self.hot, row),
            EventRow::TABLE => add(&mut self.events, row),
            PageRow::TABLE => add(&mut self.pages, row),
            ThreadRow::TABLE => add(&mut self.memory.get_or_insert_default().threads, row),
            ExtentRow::TABLE => add(&mut self.memory.get_or_insert_default().extents, row),
            RegionRow::TABLE => add(&mut self.memory.get_or_insert_default().regions, row),
            _ => return self.lacks(format!("rows of {table}, which this build does not know")),
        };
        if taken.is_err() {
            self.lacks(format!("a row of {table} that cannot be read"));
        }
    }

    /// Notes what is not in it.
    pub fn lacks(&mut self, what: String) {
        if !self.missing.contains(&what) {
            self.missing.push(what);
        }
    }

    /// Puts rows into the order in which they are shown, and says which tables were longer than what is
    /// taken.
    pub(crate) fn settle(&mut self) {
        let Self { nodes, jobs, parts, faults, links, memory, .. } = self;
        nodes.sort_by(|one, other| natural(&one.node).cmp(&natural(&other.node)));
        nodes.dedup_by(|one, other| one.node == other.node);
        let mut full: Vec<&str> = Vec::new();
        for (table, rows) in [
            (JobRow::TABLE, jobs.len()),
            (PartRow::TABLE, parts.len()),
            (FaultRow::TABLE, faults.len()),
            (LinkRow::TABLE, links.len()),
        ] {
            full.extend((rows >= rows_max(table)).then_some(table));
        }
        if let Some(Memory { threads, extents, regions }) = memory {
            regions.sort_by_key(|region| (region.job, region.start));
            threads.sort_by_key(|thread| (thread.job, thread.thread));
            for (table, rows) in [
                (ThreadRow::TABLE, threads.len()),
                (ExtentRow::TABLE, extents.len()),
                (RegionRow::TABLE, regions.len()),
            ] {
                full.extend((rows >= rows_max(table)).then_some(table));
            }
        }
        let lacks = |table| format!("rows of {table} beyond the first {}", rows_max(table));
        let full: Vec<String> = full.into_iter().map(lacks).collect();
        full.into_iter().for_each(|line| self.lacks(line));
    }
}

fn add<T: DeserializeOwned>(rows: &mut Vec<T>, row: &str) -> serde_json::Result<()> {
    rows.push(serde_json::from_str(row)?);
    Ok(())
}

/// An order in which `node 10` comes after `node 9`.
fn natural(name: &str) -> (&str, u64, &str) {
    let letters = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    (letters, name[letters.len()..].parse().unwrap_or(0), name)
}
