//! The table `pages`: every page that a node has or had, and what it may do with it.
//!
//! Memory that no other node has asked for has no entry in the pager: there, a page is listed if it has
//! memory, and this node is its writer. Of an extent with entries, a page is listed if it travelled or has
//! memory. An extent is looked at under the pager's lock, its memory without it: in between it may change.

use super::{Facts, PART_ROWS, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::Job;
use crate::pager::{KnownExtent, Residency};
use banyan_core::coherence::{Held, PageView};
use banyan_tables::{Column, Field, Kind};
use banyan_wire::coherence::Holders;
use banyan_wire::ids::{EXTENT_PAGES, ExtentNumber, NodeId, PAGES_END, PageNumber};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "pages",
    about: "The pages of programs on each node. A row for each page of 4 KiB that a node has or had",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("node", Kind::Text, "The node that says so"),
        Column::key("page", Kind::Integer, "The page, which is its address divided by 4096"),
        Column::plain("address", Kind::Integer, "Its first address"),
        Column::plain("state", Kind::Text, "What this node may do: write (no other holds it), read, none"),
        Column::plain("resident", Kind::Integer, "1 if it has memory on this node"),
        Column::plain("owner", Kind::Text, "The node that owns it, as far as this node knows"),
        Column::plain("writer", Kind::Text, "The node that may write it: the owner knows it, and who it is"),
        Column::plain("readers", Kind::Text, "Nodes that may have a copy, by commas; the owner knows them"),
        Column::plain(
            "moves",
            Kind::Integer,
            "How often the right to write went to another node; the owner knows",
        ),
    ],
    scope: Scope::EachNode(1),
    rows: |facts| {
        let bytes = facts.jobs().into_iter().map(|job| job.pager.memory().bytes().unwrap_or(0));
        bytes.sum::<u64>() / 4096
    },
    scan: |facts, scan| {
        let jobs = jobs(&**facts, &scan, 0).into();
        let (least, greatest) = scan.range(2);
        let clamp = |number: i64| number.clamp(0, PAGES_END as i64).unsigned_abs();
        // The page after the last one that is wanted.
        let (first, end) = (PageNumber(clamp(least)), PageNumber(clamp(greatest.saturating_add(1))));
        let rows = PageRows {
            facts: Arc::clone(facts),
            jobs,
            first,
            end,
            names: Vec::new(),
            residency: Residency::default(),
            at: None,
            own: None,
        };
        Parts::boxed(rows)
    },
};

struct PageRows {
    facts: Arc<dyn Facts>,
    /// Those still to come.
    jobs: VecDeque<Arc<Job>>,
    first: PageNumber,
    end: PageNumber,
    /// The job that is being read, and the names of its nodes. All rows of a part are of one job.
    own: Option<Arc<Job>>,
    names: Vec<String>,
    residency: Residency,
    at: Option<Place>,
}

/// Where to go on.
#[derive(Debug)]
struct Place {
    page: PageNumber,
    /// The next extent with entries, which is not before `page`.
    known: Option<KnownExtent>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    page: PageNumber,
    held: Held,
    resident: bool,
    owner: NodeId,
    directory: Option<(Holders, u32)>,
}

impl PageRows {
    /// The pages of an extent with entries.
    fn known(&mut self, job: &Job, extent: &KnownExtent, from: PageNumber, rows: &mut Vec<Row>) {
        let first = extent.number.first_page();
        let (from, end) = (from.max(first), self.end.min(first.plus(EXTENT_PAGES)));
        let resident = self.residency.of_extent(job.pager.memory(), from, end).unwrap_or_default();
        for &PageView { page, held, travelled, directory } in &extent.pages {
            let resident =
                resident[page.index() / 64] >> (page.index() % 64) & 1 == 1 && held != Held::Absent;
            if (travelled || resident) && from <= page && page < end {
                rows.push(Row { page, held, resident, owner: extent.owner, directory });
            }
        }
    }

    /// The next pages with memory before `end`, which have no entries. Returns where to go on.
    fn native(&mut self, job: &Job, from: PageNumber, end: PageNumber, rows: &mut Vec<Row>) -> PageNumber {
        let mut at = from;
        while at < end && rows.len() < PART_ROWS {
            let next = self.residency.next(job.pager.memory(), at, end);
            let Ok(Some((first, after))) = next else { return end };
            let room = (PART_ROWS - rows.len()) as u64;
            let stop = after.0.min(first.0 + room);
            let row = |page| Row {
                page: PageNumber(page),
                held: Held::Exclusive,
                resident: true,
                owner: job.node(),
                directory: None,
            };
            rows.extend((first.0..stop).map(row));
            at = PageNumber(stop);
        }
        at
    }
}

impl Source for PageRows {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let (Some(job), Some(place)) = (self.own.clone(), self.at.take()) else {
            let Some(job) = self.jobs.pop_front() else { return false };
            self.names = names(&*self.facts, &job);
            self.residency = Residency::default();
            self.at = Some(Place { page: self.first, known: job.pager.next_known(self.first.extent()) });
            self.own = Some(job);
            return true;
        };
        let Place { page, known } = place;
        let known = known.filter(|extent| extent.number.first_page() < self.end);
        let bound = known.as_ref().map_or(self.end, |extent| extent.number.first_page());
        let at = self.native(&job, page, bound, rows);
        self.at = match known {
            _ if at < bound => Some(Place { page: at, known }),
            None => None,
            Some(extent) => {
                self.known(&job, &extent, at.max(page), rows);
                let next = ExtentNumber(extent.number.0 + 1);
                let place = Place { page: next.first_page(), known: job.pager.next_known(next) };
                Some(place).filter(|place| place.page < self.end)
            }
        };
        true
    }

    fn field<'a>(&'a self, row: &'a Row, column: usize) -> Field<'a> {
        let Some(job) = &self.own else { return Field::Null };
        let name = |node| super::name(&self.names, node);
        match column {
            0 => job_id(job),
            1 => name(job.node()),
            2 => Field::count(row.page.0),
            3 => Field::count(row.page.address()),
            4 => match row.held {
                Held::Absent => "none",
                Held::Shared => "read",
                Held::Exclusive => "write",
            }
            .into(),
            5 => super::flag(row.resident),
            6 => name(row.owner),
            7 => match (row.directory, row.held) {
                (Some((Holders::Writer(node), _)), _) => name(node),
                (Some((Holders::Readers { .. }, _)), _) | (None, Held::Absent | Held::Shared) => Field::Null,
                (None, Held::Exclusive) => name(job.node()),
            },
            8 => match row.directory {
                Some((Holders::Readers { nodes, .. }, _)) => {
                    let names = nodes.iter().filter_map(|node| self.names.get(usize::from(node.get())));
                    names.map(String::as_str).collect::<Vec<_>>().join(",").into()
                }
                _ => Field::Null,
            },
            9 => row.directory.map_or(Field::Null, |(_, moves)| Field::count(moves.into())),
            _ => Field::Null,
        }
    }
}
