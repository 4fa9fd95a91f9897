//! The table `threads`: where each thread of a program is. The home of a program knows its threads.

use super::{PART_ROWS, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::{Job, ThreadView};
use banyan_tables::{Column, Field, Kind};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "threads",
    about: "The threads of programs and where they are. A row for each thread that has not ended",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("thread", Kind::Integer, "The thread's id, as the program has it"),
        Column::plain("node", Kind::Text, "The node where it is"),
        Column::plain("number", Kind::Integer, "That node's number in the run"),
        Column::plain("moves", Kind::Integer, "How often it changed its node"),
        Column::plain("going_to", Kind::Text, "The node to which it goes as soon as it runs the program"),
    ],
    scope: Scope::Anywhere,
    rows: |facts| {
        let homes = facts.jobs().into_iter().filter_map(|job| job.home_view());
        homes.map(|home| home.threads).sum()
    },
    scan: |facts, scan| {
        let jobs = jobs(&**facts, &scan, 0).into_iter();
        let jobs = jobs.map(|job| (Arc::new(names(&**facts, &job)), job)).collect();
        let (least, greatest) = scan.range(1);
        let (least, greatest) = (least.clamp(0, u32::MAX.into()), greatest.clamp(-1, u32::MAX.into()));
        Parts::boxed(Threads { jobs, next: least, least, greatest })
    },
};

struct Threads {
    jobs: VecDeque<(Arc<Vec<String>>, Arc<Job>)>,
    /// Ids: where to go on in the first job, where to begin in each, and where to end.
    next: i64,
    least: i64,
    greatest: i64,
}

struct Row(Arc<Vec<String>>, Arc<Job>, ThreadView);

impl Source for Threads {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let Some((names, job)) = self.jobs.front() else { return false };
        let found =
            u32::try_from(self.next).map_or_else(|_| Vec::new(), |next| job.threads_from(next, PART_ROWS));
        let after = found.last().map(|thread| i64::from(thread.id) + 1);
        let wanted = found.into_iter().filter(|thread| i64::from(thread.id) <= self.greatest);
        rows.extend(wanted.map(|thread| Row(Arc::clone(names), Arc::clone(job), thread)));
        match after.filter(|after| *after <= self.greatest) {
            Some(after) => self.next = after,
            None => {
                self.jobs.pop_front();
                self.next = self.least;
            }
        }
        true
    }

    fn field<'a>(&'a self, Row(names, job, thread): &'a Row, column: usize) -> Field<'a> {
        match column {
            0 => job_id(job),
            1 => Field::count(thread.id.into()),
            2 => super::name(names, thread.node),
            3 => Field::count(thread.node.get().into()),
            4 => Field::count(thread.moves),
            5 => thread.going_to.map_or(Field::Null, |node| super::name(names, node)),
            _ => Field::Null,
        }
    }
}
