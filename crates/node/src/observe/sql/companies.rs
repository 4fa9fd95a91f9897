//! The table `companies`: the groups of members that agree on what the cluster is, as each node sees them.

use super::{Parts, Scope, Source, Spec};
use banyan_tables::{Column, Field, Kind};

pub(super) const TABLE: Spec = Spec {
    name: "companies",
    about: "Groups of members that agree on what the cluster is. A row for each node and company, as the node sees it",
    columns: &[
        Column::key("node", Kind::Text, "The node that sees it so"),
        Column::key("id", Kind::Integer, "Which; 0 is the root company, which every cluster has"),
        Column::plain("leader", Kind::Text, "The member that leads, if the node knows of one"),
        Column::plain("term", Kind::Integer, "Counts the elections"),
        Column::plain("voters", Kind::Text, "Those whose majority decides, by name"),
        Column::plain("members", Kind::Integer, "Nodes that have a copy of what was decided"),
        Column::plain("log_last", Kind::Integer, "The last entry in the node's log"),
        Column::plain("log_applied", Kind::Integer, "The last entry that the node knows to be decided"),
        Column::plain("snapshot_at", Kind::Integer, "The last entry that the node's snapshot has"),
        Column::plain("trouble", Kind::Text, "Why the node takes no part, if it does not"),
    ],
    scope: Scope::EachNode(0),
    rows: |facts| facts.companies().len() as u64,
    scan: |facts, _| Parts::boxed(Companies { name: facts.name(), rows: facts.companies() }),
};

/// A company.
#[derive(Clone, Debug)]
pub(crate) struct CompanyView {
    pub(crate) id: u8,
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    pub(crate) voters: String,
    pub(crate) members: u64,
    pub(crate) log_last: Option<u64>,
    pub(crate) log_applied: Option<u64>,
    pub(crate) snapshot_at: Option<u64>,
    pub(crate) trouble: Option<String>,
}

struct Companies {
    name: String,
    rows: Vec<CompanyView>,
}

fn text(text: Option<&String>) -> Field<'_> {
    text.map_or(Field::Null, |text| text.as_str().into())
}

impl Source for Companies {
    type Row = CompanyView;

    fn more(&mut self, rows: &mut Vec<CompanyView>) -> bool {
        rows.append(&mut self.rows);
        false
    }

    fn field<'a>(&'a self, company: &'a CompanyView, column: usize) -> Field<'a> {
        let count = |count: Option<u64>| count.map_or(Field::Null, Field::count);
        match column {
            0 => self.name.as_str().into(),
            1 => Field::count(company.id.into()),
            2 => text(company.leader.as_ref()),
            3 => Field::count(company.term),
            4 => company.voters.as_str().into(),
            5 => Field::count(company.members),
            6 => count(company.log_last),
            7 => count(company.log_applied),
            8 => count(company.snapshot_at),
            9 => text(company.trouble.as_ref()),
            _ => Field::Null,
        }
    }
}
