//! The query of a look: one statement, whose rows are a table's name and a row of it as JSON.
//!
//! One, because a node that asks others for rows makes a connection to each for every query.

use crate::rows::{
    EventRow, ExtentRow, FaultRow, HotRow, JobRow, LinkRow, NodeRow, PageRow, PartRow, RegionRow, Row,
    ThreadRow,
};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What changes from second to second, and costs little: no more rows than nodes, programs and
    /// connections.
    Quick,
    /// Threads, regions and owners of memory, too.
    Whole,
}

/// Pages that are looked at one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// Of this program.
    pub job: u64,
    /// The first.
    pub first: u64,
    /// How many; at most [`PageRange::PAGES_MAX`] are shown.
    pub pages: u64,
}

impl PageRange {
    /// Pages of a range at most.
    pub const PAGES_MAX: u64 = 16;
}

/// What is asked in one look.
#[derive(Clone, Debug)]
pub struct Question {
    /// How much.
    pub depth: Depth,
    /// From which number on the events of each node are new. Without any, the newest of all nodes.
    pub events_from: BTreeMap<String, u64>,
    /// Pages to look at, too.
    pub pages: Option<PageRange>,
}

/// Rows of a table in a look at most; more is left out, and the look says so.
pub(crate) fn rows_max(table: &str) -> usize {
    match table {
        "hot_pages" => 32,
        "jobs" => 256,
        "log" => 500,
        "pages" => 1024,
        _ => 4096,
    }
}

impl Question {
    /// The query. Its columns are a table's name and a row of it.
    #[must_use]
    pub fn sql(&self) -> String {
        let mut parts = vec![
            "SELECT 'at', json_object('at_s', unixepoch('now', 'subsec'))".to_owned(),
            part::<NodeRow>("nodes"),
            part::<JobRow>("jobs ORDER BY wall_s DESC"),
            part::<PartRow>("job_nodes"),
            part::<FaultRow>("faults"),
            part::<LinkRow>("links"),
            part::<HotRow>("hot_pages ORDER BY moves DESC"),
            part::<EventRow>(&self.events()),
        ];
        if self.depth == Depth::Whole {
            parts.push(part::<ThreadRow>("threads"));
            // Who owns an extent says so itself; what others believe may be old.
            parts.push(part::<ExtentRow>("extents WHERE state IN ('native', 'owned')"));
            parts.push(part::<RegionRow>("regions WHERE prot <> ''"));
        }
        if let Some(PageRange { job, first, pages }) = self.pages {
            let end = first.saturating_add(pages.min(PageRange::PAGES_MAX));
            parts.push(part::<PageRow>(&format!(
                "pages WHERE job = {job} AND page >= {first} AND page < {end}"
            )));
        }
        parts.join(" UNION ALL ")
    }

    /// Which events: a node keeps thousands, so each is told which are new.
    fn events(&self) -> String {
        let newest = "ORDER BY at_s DESC";
        if self.events_from.is_empty() {
            return format!("log {newest}");
        }
        let mut from = String::new();
        for (node, number) in &self.events_from {
            let comma = if from.is_empty() { "" } else { ", " };
            let _ = write!(from, "{comma}('{}', {number})", node.replace('\'', "''"));
        }
        // SQLite takes the left side of a CROSS JOIN first, so that each scan has both keys.
        format!(
            "(WITH new(name, first) AS (VALUES {from}) SELECT log.* FROM new CROSS JOIN log \
             ON log.node = new.name AND log.number >= new.first) {newest}"
        )
    }
}

/// Rows of a table, each as a text of JSON.
fn part<T: Row>(from: &str) -> String {
    let mut object = String::new();
    for column in T::COLUMNS {
        let comma = if object.is_empty() { "" } else { ", " };
        // A command has no bound that fits a row.
        let value = match *column {
            "command" => "substr(command, 1, 400)".to_owned(),
            column => format!("\"{column}\""),
        };
        let _ = write!(object, "{comma}'{column}', {value}");
    }
    let table = T::TABLE;
    let most = rows_max(table);
    format!("SELECT '{table}', json_object({object}) FROM (SELECT * FROM {from} LIMIT {most})")
}
