//! The table `extents`: who owns which part of a program's address space, as each node knows it.

use super::{Facts, PART_ROWS, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::Job;
use crate::pager::Residency;
use banyan_core::coherence::{Standing, Stretch};
use banyan_tables::{Column, Field, Kind, Scan};
use banyan_wire::ids::ExtentNumber;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "extents",
    about: "Who owns which 2 MiB of a program's addresses. A row for neighbours of which a node knows the same",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("node", Kind::Text, "The node that says so"),
        Column::key("first_extent", Kind::Integer, "The first extent, which is its address divided by 2 MiB"),
        Column::plain("address", Kind::Integer, "Its first address"),
        Column::plain("extents", Kind::Integer, "How many there are"),
        Column::plain("owner", Kind::Text, "The node that owns them, as far as this node knows"),
        Column::plain(
            "state",
            Kind::Text,
            "native (owned here, no other node asked), owned (here), known (elsewhere), untouched (elsewhere)",
        ),
        Column::plain("resident_pages", Kind::Integer, "Pages of 4 KiB that have memory on this node"),
        Column::plain(
            "readable_pages",
            Kind::Integer,
            "Of an extent that is owned or known: pages held here",
        ),
        Column::plain("writable_pages", Kind::Integer, "Of these, those that only this node holds"),
    ],
    scope: Scope::EachNode(1),
    rows: |facts| 1024 * facts.jobs().len() as u64,
    scan: |facts, scan| {
        let jobs = jobs(&**facts, &scan, 0).into();
        let (least, greatest) = scan.range(2);
        let greatest = u64::try_from(greatest).ok();
        let next = ExtentNumber(0);
        Parts::boxed(Extents {
            facts: Arc::clone(facts),
            scan,
            jobs,
            next,
            least,
            greatest,
            residency: Residency::default(),
        })
    },
};

struct Extents {
    facts: Arc<dyn Facts>,
    scan: Scan,
    jobs: VecDeque<Arc<Job>>,
    /// Where to go on in the first job. A stretch begins where it begins: there is no jumping to one.
    next: ExtentNumber,
    least: i64,
    /// The last that is wanted; none if none is.
    greatest: Option<u64>,
    residency: Residency,
}

struct Row {
    job: Arc<Job>,
    names: Arc<Vec<String>>,
    stretch: Stretch,
    resident: Option<u64>,
    held: Option<(u64, u64)>,
}

impl Extents {
    fn row(&mut self, job: &Arc<Job>, names: &Arc<Vec<String>>, stretch: Stretch) -> Row {
        let first = stretch.extents.first;
        let mut resident = None;
        if self.scan.uses(7) {
            resident = self.residency.count(job.pager.memory(), first, stretch.extents.count).ok();
        }
        let is_known = matches!(stretch.standing, Standing::Owned | Standing::Known);
        let held = ((self.scan.uses(8) || self.scan.uses(9)) && is_known).then(|| job.pager.held(first));
        Row { job: Arc::clone(job), names: Arc::clone(names), stretch, resident, held }
    }
}

impl Source for Extents {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let (Some(job), Some(greatest)) = (self.jobs.front().cloned(), self.greatest) else { return false };
        let names = Arc::new(names(&*self.facts, &job));
        let found = job.pager.stretches_from(self.next, PART_ROWS);
        let after = found.last().map(|last| ExtentNumber(last.extents.first.0 + last.extents.count));
        for stretch in found {
            let first = stretch.extents.first.0;
            if first as i64 >= self.least && first <= greatest {
                let row = self.row(&job, &names, stretch);
                rows.push(row);
            }
        }
        match after.filter(|after| after.0 <= greatest) {
            Some(after) => self.next = after,
            None => {
                self.jobs.pop_front();
                self.next = ExtentNumber(0);
                self.residency = Residency::default();
            }
        }
        true
    }

    fn field<'a>(&'a self, row: &'a Row, column: usize) -> Field<'a> {
        let Stretch { extents, owner, standing } = row.stretch;
        match column {
            0 => job_id(&row.job),
            1 => super::name(&row.names, row.job.node()),
            2 => Field::count(extents.first.0),
            3 => Field::count(extents.first.first_page().address()),
            4 => Field::count(extents.count),
            5 => super::name(&row.names, owner),
            6 => match standing {
                Standing::Native => "native",
                Standing::Owned => "owned",
                Standing::Known => "known",
                Standing::Untouched => "untouched",
            }
            .into(),
            7 => row.resident.map_or(Field::Null, Field::count),
            8 => row.held.map_or(Field::Null, |(read, _)| Field::count(read)),
            9 => row.held.map_or(Field::Null, |(_, written)| Field::count(written)),
            _ => Field::Null,
        }
    }
}
