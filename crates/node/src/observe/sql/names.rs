//! The table `names`: where things are that run in the cluster, as this node knows it.

use super::{Parts, Scope, Source, Spec};
use crate::cluster::admin::NameFacts;
use banyan_tables::{Column, Field, Kind};

pub(super) const TABLE: Spec = Spec {
    name: "names",
    about: "Names of what runs in the cluster, which members have registered",
    columns: &[
        Column::key("name", Kind::Text, "The name"),
        Column::plain("value", Kind::Text, "What it stands for"),
        Column::plain("holder", Kind::Text, "The member that has registered it"),
        Column::plain("lease_s", Kind::Integer, "How long it stays after it was registered or renewed"),
    ],
    scope: Scope::Here,
    rows: |facts| facts.registered().len() as u64,
    scan: |facts, _| Parts::boxed(Registered(facts.registered())),
};

struct Registered(Vec<NameFacts>);

impl Source for Registered {
    type Row = NameFacts;

    fn more(&mut self, rows: &mut Vec<NameFacts>) -> bool {
        rows.append(&mut self.0);
        false
    }

    fn field<'a>(&'a self, name: &'a NameFacts, column: usize) -> Field<'a> {
        match column {
            0 => name.name.as_str().into(),
            1 => name.value.as_str().into(),
            2 => name.holder.as_str().into(),
            3 => Field::count(name.lease_seconds.into()),
            _ => Field::Null,
        }
    }
}
