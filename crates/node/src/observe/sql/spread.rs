//! A table over all nodes: the rows of this one, then those of the others as they come.

use super::remote::{Fleet, Incoming};
use super::{Facts, Scope, Spec, nodes};
use banyan_tables::{Column, Field, Rows, Scan, Table};
use banyan_wire::sql::Cell;
use std::sync::Arc;

/// A table of one query.
pub(super) struct Spread {
    pub(super) spec: &'static Spec,
    pub(super) facts: Arc<dyn Facts>,
    pub(super) fleet: Arc<Fleet>,
    /// How many nodes the rows are of.
    pub(super) nodes: u64,
}

impl Table for Spread {
    fn name(&self) -> &'static str {
        self.spec.name
    }

    fn columns(&self) -> &'static [Column] {
        self.spec.columns
    }

    fn about_rows(&self) -> u64 {
        // The others are like this one, as far as anybody knows.
        (self.spec.rows)(&*self.facts).saturating_mul(self.nodes)
    }

    fn scan(&self, scan: Scan) -> Result<Box<dyn Rows>, String> {
        let only = match self.spec.scope {
            Scope::EachNode(column) => scan.text(column).map(str::to_owned),
            Scope::Anywhere | Scope::Here => None,
        };
        // What needs a column of its own on the way: one that nobody looks at does not travel.
        let mut place = 0;
        let places = (0..self.spec.columns.len()).map(|column| {
            scan.uses(column).then(|| {
                place += 1;
                place - 1
            })
        });
        let places = places.collect();
        let is_here = only.as_deref().is_none_or(|only| only == self.facts.name());
        // The others begin while the rows of this node are read.
        let incoming =
            (self.spec.scope != Scope::Here).then(|| self.fleet.scan(self.spec, &scan, only.as_deref()));
        Ok(Box::new(SpreadRows {
            here: is_here.then(|| (self.spec.scan)(&self.facts, scan)),
            incoming,
            fleet: Arc::clone(&self.fleet),
            adds_silent: self.spec.name == nodes::TABLE.name,
            places,
            width: place,
            cells: Vec::new(),
            rows: 0,
            next: 0,
        }))
    }
}

struct SpreadRows {
    here: Option<Box<dyn Rows>>,
    incoming: Option<Incoming>,
    fleet: Arc<Fleet>,
    /// Nodes that do not answer have a row, too.
    adds_silent: bool,
    /// Where each column is in a row that came from elsewhere.
    places: Vec<Option<usize>>,
    width: usize,
    /// Rows that came from elsewhere, and the one after the present one.
    cells: Vec<Cell>,
    rows: usize,
    next: usize,
}

impl SpreadRows {
    /// The rows of the nodes that do not answer, which is known when all others have.
    fn add_silent(&mut self) {
        for other in self.fleet.silent() {
            let row = nodes::silent(other).into_iter().zip(&self.places);
            self.cells.extend(row.filter(|(_, place)| place.is_some()).map(|(value, _)| value));
            self.rows += 1;
        }
    }
}

impl Rows for SpreadRows {
    fn advance(&mut self) -> Result<bool, String> {
        if let Some(here) = &mut self.here {
            if here.advance()? {
                return Ok(true);
            }
            self.here = None;
        }
        while self.next == self.rows {
            let Some(incoming) = &mut self.incoming else { return Ok(false) };
            (self.next, self.rows) = (0, 0);
            self.cells.clear();
            match incoming.next() {
                Some((rows, cells)) => (self.rows, self.cells) = (rows as usize, cells),
                None => {
                    self.incoming = None;
                    if self.adds_silent {
                        self.add_silent();
                    }
                }
            }
        }
        self.next += 1;
        Ok(true)
    }

    fn field(&self, column: usize) -> Field<'_> {
        if let Some(here) = &self.here {
            return here.field(column);
        }
        let place = self.places.get(column).copied().flatten();
        let cell = place.zip(self.next.checked_sub(1)).map(|(place, row)| row * self.width + place);
        cell.and_then(|cell| self.cells.get(cell)).map_or(Field::Null, Into::into)
    }
}
