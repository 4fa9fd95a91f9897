//! The table `columns`: what tables there are and what is in them, for who writes a query.

use super::job_nodes::JOBS_COLUMNS;
use super::{Parts, Scope, Source, Spec, TABLES};
use banyan_tables::{Column, Field, Kind};

pub(super) const TABLE: Spec = Spec {
    name: "columns",
    about: "What can be asked for. A row for each column of each table",
    columns: &[
        Column::plain("table_name", Kind::Text, "The table"),
        Column::plain("column_name", Kind::Text, "The column"),
        Column::plain("type", Kind::Text, "INTEGER, REAL or TEXT"),
        Column::plain("key", Kind::Integer, "1 if saying a value of it makes a query cheaper"),
        Column::plain("meaning", Kind::Text, "What it says"),
    ],
    scope: Scope::Here,
    rows: |_| 100,
    scan: |_, _| Parts::boxed(Columns(false)),
};

/// Every table and view with its columns, and what it is about.
pub(super) fn described() -> Vec<(&'static str, &'static str, &'static [Column])> {
    let mut tables: Vec<_> = TABLES.iter().map(|spec| (spec.name, spec.about, spec.columns)).collect();
    tables
        .insert(1, ("jobs", "The programs that run. A row for each, from what its nodes say", JOBS_COLUMNS));
    tables
}

struct Columns(bool);

impl Source for Columns {
    type Row = (&'static str, Column);

    fn more(&mut self, rows: &mut Vec<Self::Row>) -> bool {
        if !std::mem::replace(&mut self.0, true) {
            for (name, _, columns) in described() {
                rows.extend(columns.iter().map(|column| (name, *column)));
            }
        }
        false
    }

    fn field<'a>(&'a self, (table, column): &'a Self::Row, number: usize) -> Field<'a> {
        match number {
            0 => (*table).into(),
            1 => column.name.into(),
            2 => column.kind.name().into(),
            3 => super::flag(column.key),
            4 => column.meaning.into(),
            _ => Field::Null,
        }
    }
}
