//! Any [`Table`] as a virtual table of SQLite.
//!
//! A plan travels from `best_index` to `filter` as a string: the columns that are used, and for each value
//! that `filter` gets, the column and how it compares. Every constraint is left to SQLite to check again, so
//! a table may give more rows than were asked for. A table that panics is an error of its query: unwinding
//! into SQLite would end the process.
//!
//! The two objects begin with what SQLite knows of them (`repr(C)`, base first), which is all that the two
//! unsafe traits ask for; nothing here is unsafe beside.

use crate::budget::Watch;
use crate::table::{Column, Field, Rows, Scan, Table};
use banyan_wire::sql::{Cell, Comparison, Condition};
use rusqlite::ffi;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};
use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A table of one query.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) table: Arc<dyn Table>,
    /// Its number among the watched ones.
    pub(crate) number: usize,
    pub(crate) watch: Arc<Watch>,
}

/// What SQLite calls for every table.
pub(crate) fn module() -> &'static Module<'static, Live> {
    const { &Module::eponymous_only_module() }
}

/// A table as SQLite has it.
#[repr(C)]
pub(crate) struct Live {
    /// First, as SQLite wants it.
    base: sqlite3_vtab,
    entry: Entry,
}

/// A reader of a table as SQLite has it.
#[repr(C)]
pub(crate) struct Cursor {
    /// First, as SQLite wants it.
    base: sqlite3_vtab_cursor,
    entry: Entry,
    rows: Option<Box<dyn Rows>>,
    number: i64,
}

fn failed(text: String) -> rusqlite::Error {
    rusqlite::Error::ModuleError(text)
}

/// What a table does, with its panics as errors.
fn contained<T>(entry: &Entry, act: impl FnOnce() -> T) -> rusqlite::Result<T> {
    catch_unwind(AssertUnwindSafe(act))
        .map_err(|_| failed(format!("a mistake of Banyan's in table {}", entry.table.name())))
}

fn declaration(columns: &[Column]) -> String {
    let of = |column: &Column| format!("\"{}\" {}", column.name, column.kind.name());
    format!("CREATE TABLE x({})", columns.iter().map(of).collect::<Vec<_>>().join(", "))
}

/// How a constraint of SQLite's compares, if a table can make use of it.
fn comparison(operator: &IndexConstraintOp) -> Option<Comparison> {
    match operator {
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ => Some(Comparison::Equal),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT => Some(Comparison::Less),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE => Some(Comparison::LessOrEqual),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT => Some(Comparison::Greater),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

const COMPARISONS: [(Comparison, &str); 5] = [
    (Comparison::Equal, "="),
    (Comparison::Less, "<"),
    (Comparison::LessOrEqual, "<="),
    (Comparison::Greater, ">"),
    (Comparison::GreaterOrEqual, ">="),
];

// SAFETY: the struct is `repr(C)` and begins with a `sqlite3_vtab`.
unsafe impl VTab<'_> for Live {
    type Aux = Entry;
    type Cursor = Cursor;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Entry>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        let entry = aux.ok_or_else(|| failed("a table without its entry".into()))?.clone();
        db.config(VTabConfig::Innocuous)?;
        let declaration = CString::new(declaration(entry.table.columns()))?;
        Ok((Cow::Owned(declaration), Self { base: sqlite3_vtab::default(), entry }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let columns = self.entry.table.columns();
        let mut plan = format!("{:x}", info.col_used());
        // What is known of the rows at best; each key that is said leaves a part of them.
        let mut rows = self.entry.table.about_rows().max(1) as f64;
        let wanted: Vec<(usize, usize, Comparison)> = info
            .constraints()
            .enumerate()
            .filter(|(_, constraint)| constraint.is_usable())
            .filter_map(|(at, constraint)| {
                let column = usize::try_from(constraint.column()).ok()?;
                columns.get(column).filter(|column| column.key)?;
                Some((at, column, comparison(&constraint.operator())?))
            })
            .collect();
        let mut given = 0;
        for (at, column, comparison) in wanted {
            // Text that counts as equal although it differs would be left out.
            if !info.collation(at)?.eq_ignore_ascii_case("BINARY") {
                continue;
            }
            given += 1;
            let mut usage = info.constraint_usage(at);
            usage.set_argv_index(given);
            usage.set_omit(false);
            let sign =
                COMPARISONS.iter().find(|(found, _)| *found == comparison).map_or("", |(_, sign)| sign);
            let _ = write!(plan, " {column}{sign}");
            rows /= if comparison == Comparison::Equal { 16.0 } else { 4.0 };
        }
        // A scan has a price of its own: it may be asked of other nodes.
        info.set_estimated_cost(100.0 + rows.max(1.0));
        info.set_estimated_rows(rows.max(1.0) as i64);
        info.set_idx_str(&plan);
        Ok(true)
    }

    fn open(&mut self) -> rusqlite::Result<Cursor> {
        let entry = self.entry.clone();
        Ok(Cursor { base: sqlite3_vtab_cursor::default(), entry, rows: None, number: 0 })
    }
}

/// Reads a plan of `best_index`; `values` are what it is carried out with.
fn scan(plan: &str, values: &[Cell]) -> Option<Scan> {
    let mut words = plan.split(' ');
    let used = u64::from_str_radix(words.next()?, 16).ok()?;
    let mut conditions = Vec::new();
    for (word, value) in words.zip(values) {
        let end = word.find(|letter: char| !letter.is_ascii_digit())?;
        let (column, sign) = word.split_at(end);
        let (comparison, _) = COMPARISONS.iter().find(|(_, found)| *found == sign)?;
        conditions.push(Condition {
            column: column.parse().ok()?,
            comparison: *comparison,
            value: value.clone(),
        });
    }
    Some(Scan { conditions, used })
}

fn value(found: ValueRef<'_>) -> Cell {
    match found {
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        // No column holds bytes, so none equals them.
        ValueRef::Null | ValueRef::Blob(_) => Cell::Null,
    }
}

// SAFETY: the struct is `repr(C)` and begins with a `sqlite3_vtab_cursor`.
unsafe impl VTabCursor for Cursor {
    fn filter(&mut self, _: c_int, plan: Option<&str>, values: &Filters<'_>) -> rusqlite::Result<()> {
        let values: Vec<Cell> = values.iter().map(value).collect();
        let scan = plan.and_then(|plan| scan(plan, &values));
        let scan = scan.ok_or_else(|| failed("a plan that cannot be read".into()))?;
        let told = scan.conditions.iter().fold(0, |told, one| told | 1_u64 << one.column.min(63));
        self.entry.watch.scan(self.entry.number, told);
        self.number = 0;
        // First the old rows go: they may hold what the new ones need.
        self.rows = None;
        let rows = contained(&self.entry, || self.entry.table.scan(scan))?;
        self.rows = Some(rows.map_err(failed)?);
        self.next()
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        let Some(rows) = &mut self.rows else { return Ok(()) };
        let more = contained(&self.entry, || rows.advance())?.map_err(failed)?;
        if !more {
            self.rows = None;
        } else if !self.entry.watch.row(self.entry.number) {
            return Err(failed("too many rows".into()));
        }
        self.number += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.rows.is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let Some(rows) = &self.rows else { return Ok(()) };
        let field = contained(&self.entry, || rows.field(column.unsigned_abs() as usize))?;
        context.set_result(ToSqlOutput::Borrowed(match &field {
            Field::Null => ValueRef::Null,
            Field::Integer(number) => ValueRef::Integer(*number),
            Field::Real(number) => ValueRef::Real(*number),
            Field::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.number)
    }
}

// What SQLite was built as, and the bindings know it as.
const _: () = assert!(ffi::SQLITE_VERSION_NUMBER >= 3_038_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let values = [Cell::Integer(5), Cell::Text("n".into()), Cell::Real(1.5)];
        let condition =
            |column, comparison, value: &Cell| Condition { column, comparison, value: value.clone() };
        assert_eq!(
            scan("8000000000000003 0= 1<= 12>", &values),
            Some(Scan {
                used: 1 << 63 | 3,
                conditions: vec![
                    condition(0, Comparison::Equal, &values[0]),
                    condition(1, Comparison::LessOrEqual, &values[1]),
                    condition(12, Comparison::Greater, &values[2]),
                ],
            })
        );
        for wrong in ["", "x", "0 =", "0 3", "0 3!"] {
            assert_eq!(scan(wrong, &values), None, "{wrong}");
        }
    }
}
