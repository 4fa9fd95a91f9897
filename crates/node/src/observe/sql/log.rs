//! The table `log`: what happened on each node, the newest of it.

use super::{Facts, PART_ROWS, Parts, Scope, Source, Spec};
use crate::observe::log::{ENTRIES_MAX, Entry};
use banyan_tables::{Column, Field, Kind};
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "log",
    about: "What happened on the nodes, oldest first; each keeps the last 4,096 entries since it started",
    columns: &[
        Column::key("node", Kind::Text, "The node where it was noted"),
        Column::key("number", Kind::Integer, "Counts up on this node"),
        Column::plain(
            "at_s",
            Kind::Real,
            "When, in seconds since 1970; datetime(at_s, 'unixepoch') is the date",
        ),
        Column::plain("kind", Kind::Text, "start, join, leave, begin, end, move, loss"),
        Column::plain("job", Kind::Integer, "The program, if it is about one"),
        Column::plain("text", Kind::Text, "What happened"),
    ],
    scope: Scope::EachNode(0),
    rows: |_| ENTRIES_MAX as u64,
    scan: |facts, scan| {
        let (least, greatest) = scan.range(1);
        let (next, greatest) = (least.max(0).unsigned_abs(), u64::try_from(greatest).ok());
        Parts::boxed(LogRows { name: facts.name(), facts: Arc::clone(facts), next, greatest })
    },
};

struct LogRows {
    facts: Arc<dyn Facts>,
    name: String,
    next: u64,
    /// The last that is wanted; none if none is.
    greatest: Option<u64>,
}

impl Source for LogRows {
    type Row = Entry;

    fn more(&mut self, rows: &mut Vec<Entry>) -> bool {
        let Some(greatest) = self.greatest else { return false };
        let found = self.facts.log().from(self.next, PART_ROWS);
        let Some(last) = found.last() else { return false };
        self.next = last.number + 1;
        rows.extend(found.into_iter().filter(|entry| entry.number <= greatest));
        self.next <= greatest
    }

    fn field<'a>(&'a self, entry: &'a Entry, column: usize) -> Field<'a> {
        match column {
            0 => self.name.as_str().into(),
            1 => Field::count(entry.number),
            2 => Field::Real(entry.at as f64 / 1e6),
            3 => entry.kind.name().into(),
            4 => entry.job.map_or(Field::Null, |job| Field::count(job.0.into())),
            5 => entry.text.as_str().into(),
            _ => Field::Null,
        }
    }
}
