//! The table `hot_pages`: the pages of each program that went from node to node most, as their owners count
//! it. Cheap enough to be looked at every second, unlike `pages`.

use super::{Facts, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::Job;
use crate::pager::{HOT_MAX, HotPage};
use banyan_tables::{Column, Field, Kind, Scan};
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "hot_pages",
    about: "The pages that went from node to node most. For each program and node the 32 hottest that it owns; \
            of more than 256 MiB of shared memory each query looks at the next part",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("node", Kind::Text, "The node that owns the page, and counts"),
        Column::plain("page", Kind::Integer, "The page, which is its address divided by 4096"),
        Column::plain("address", Kind::Integer, "Its first address"),
        Column::plain("moves", Kind::Integer, "How often the right to write went to another node"),
        Column::plain("writer", Kind::Text, "The node that may write it; none while it is read"),
    ],
    scope: Scope::EachNode(1),
    rows: |facts| (HOT_MAX * facts.jobs().len()) as u64,
    scan: |facts, scan| Parts::boxed(HotPages { facts: Arc::clone(facts), scan: Some(scan) }),
};

struct HotPages {
    facts: Arc<dyn Facts>,
    /// Taken when the rows are.
    scan: Option<Scan>,
}

struct Row(Arc<Job>, Arc<Vec<String>>, HotPage);

impl Source for HotPages {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let Some(scan) = self.scan.take() else { return false };
        for job in jobs(&*self.facts, &scan, 0) {
            let names = Arc::new(names(&*self.facts, &job));
            let row = |page| Row(Arc::clone(&job), Arc::clone(&names), page);
            rows.extend(job.pager.hot_pages().into_iter().map(row));
        }
        false
    }

    fn field<'a>(&'a self, Row(job, names, hot): &'a Row, column: usize) -> Field<'a> {
        match column {
            0 => job_id(job),
            1 => super::name(names, job.node()),
            2 => Field::count(hot.page.0),
            3 => Field::count(hot.page.address()),
            4 => Field::count(hot.moves.into()),
            5 => hot.writer.map_or(Field::Null, |node| super::name(names, node)),
            _ => Field::Null,
        }
    }
}
