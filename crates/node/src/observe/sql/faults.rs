//! The table `faults`: how often threads waited for pages on each node, why, and for how long.

use super::{Facts, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::Job;
use crate::observe::statistics::FaultCause;
use banyan_tables::{Column, Field, Kind, Scan};
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "faults",
    about: "Page faults that went to other nodes. A row for each program, node and cause",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("node", Kind::Text, "The node whose threads waited"),
        Column::plain(
            "cause",
            Kind::Text,
            "read, write, or upgrade: writing a page that was here for reading",
        ),
        Column::plain("count", Kind::Integer, "How many there were, as --stats counts them"),
        Column::plain("p50_us", Kind::Real, "Half of them took no longer"),
        Column::plain("p99_us", Kind::Real, "99 of 100 took no longer"),
    ],
    scope: Scope::EachNode(1),
    rows: |facts| 3 * facts.jobs().len() as u64,
    scan: |facts, scan| Parts::boxed(Faults { facts: Arc::clone(facts), scan: Some(scan) }),
};

struct Faults {
    facts: Arc<dyn Facts>,
    /// Taken when the rows are.
    scan: Option<Scan>,
}

struct Row(Arc<Job>, Arc<Vec<String>>, FaultCause, Option<(f64, f64)>);

impl Source for Faults {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let Some(scan) = self.scan.take() else { return false };
        for job in jobs(&*self.facts, &scan, 0) {
            let names = Arc::new(names(&*self.facts, &job));
            rows.extend(FaultCause::ALL.map(|cause| {
                Row(Arc::clone(&job), Arc::clone(&names), cause, job.pager.counters.quantiles(cause))
            }));
        }
        false
    }

    fn field<'a>(&'a self, Row(job, names, cause, quantiles): &'a Row, column: usize) -> Field<'a> {
        match column {
            0 => job_id(job),
            1 => super::name(names, job.node()),
            2 => cause.name().into(),
            3 => Field::count(job.pager.counters.faults(*cause)),
            4 => quantiles.map_or(Field::Null, |(half, _)| Field::Real(half)),
            5 => quantiles.map_or(Field::Null, |(_, most)| Field::Real(most)),
            _ => Field::Null,
        }
    }
}
