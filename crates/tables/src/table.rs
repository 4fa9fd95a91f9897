//! What a table is: its columns, and how its rows are taken from it.
//!
//! Not for SQLite's side of it (`crate::sys`).

use banyan_wire::sql::{Cell, Comparison, Condition};
use std::borrow::Cow;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of 64 bits with a sign.
    Integer,
    /// Numbers with a fraction.
    Real,
    /// Text.
    Text,
}

impl Kind {
    /// The type's name in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Integer => "INTEGER",
            Self::Real => "REAL",
            Self::Text => "TEXT",
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, which says the unit.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// A scan with a value for it reads fewer rows.
    pub key: bool,
    /// What it means, for people.
    pub meaning: &'static str,
}

impl Column {
    /// A column by which rows are found.
    #[must_use]
    pub const fn key(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self { name, kind, key: true, meaning }
    }

    /// Any other.
    #[must_use]
    pub const fn plain(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self { name, kind, key: false, meaning }
    }
}

/// A value of a row that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Field<'a> {
    /// None.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(Cow<'a, str>),
}

impl Field<'_> {
    /// A count. What is larger than SQL's numbers is the largest of them.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// This value, kept.
    #[must_use]
    pub fn into_cell(self) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(number) => Cell::Integer(number),
            Self::Real(number) => Cell::Real(number),
            Self::Text(text) => Cell::Text(text.into_owned()),
        }
    }
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Field<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a Cell> for Field<'a> {
    fn from(value: &'a Cell) -> Self {
        match value {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(*number),
            Cell::Real(number) => Self::Real(*number),
            Cell::Text(text) => text.as_str().into(),
        }
    }
}

/// What is wanted of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// Rows that do not fulfil one of these are not needed; they are looked at again, so giving them is no
    /// mistake. Leaving out one that fulfils all is.
    pub conditions: Vec<Condition>,
    /// A bit for each column that is looked at; the last bit stands for all columns beyond.
    pub used: u64,
}

impl Scan {
    /// Whether a column is looked at.
    #[must_use]
    pub fn uses(&self, column: usize) -> bool {
        self.used >> column.min(63) & 1 == 1
    }

    /// The text that a column must be, if it must.
    #[must_use]
    pub fn text(&self, column: usize) -> Option<&str> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition { column: found, comparison: Comparison::Equal, value: Cell::Text(text) } => {
                (usize::from(*found) == column).then_some(text.as_str())
            }
            _ => None,
        })
    }

    /// The least and the greatest whole number that a column may be.
    #[must_use]
    pub fn range(&self, column: usize) -> (i64, i64) {
        let (mut least, mut greatest) = (i64::MIN, i64::MAX);
        for condition in self.conditions.iter().filter(|condition| usize::from(condition.column) == column) {
            let Cell::Integer(number) = condition.value else { continue };
            match condition.comparison {
                Comparison::Equal => (least, greatest) = (least.max(number), greatest.min(number)),
                Comparison::Less => greatest = greatest.min(number.saturating_sub(1)),
                Comparison::LessOrEqual => greatest = greatest.min(number),
                Comparison::Greater => least = least.max(number.saturating_add(1)),
                Comparison::GreaterOrEqual => least = least.max(number),
            }
        }
        (least, greatest)
    }
}

/// Something whose rows can be read.
pub trait Table: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its columns.
    fn columns(&self) -> &'static [Column];

    /// About how many rows it has.
    fn about_rows(&self) -> u64;

    /// Begins to read rows.
    ///
    /// # Errors
    /// Why that is not possible, for the person who asks.
    fn scan(&self, scan: Scan) -> Result<Box<dyn Rows>, String>;
}

/// Rows that are read one after another.
pub trait Rows {
    /// Goes to the next row, at first to the first. False if there is none.
    ///
    /// # Errors
    /// Why the rest cannot be read, for the person who asks.
    fn advance(&mut self) -> Result<bool, String>;

    /// A column of this row.
    fn field(&self, column: usize) -> Field<'_>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_another_type_narrow_nothing() {
        let condition = |column, comparison, value| Condition { column, comparison, value };
        let scan = Scan {
            conditions: vec![
                condition(0, Comparison::Equal, Cell::Text("7".into())),
                condition(1, Comparison::Greater, Cell::Integer(4)),
                condition(1, Comparison::LessOrEqual, Cell::Integer(9)),
                condition(1, Comparison::Less, Cell::Real(6.5)),
            ],
            used: 1 << 63 | 1,
        };
        assert_eq!(scan.range(0), (i64::MIN, i64::MAX));
        assert_eq!(scan.text(0), Some("7"));
        assert_eq!(scan.range(1), (5, 9));
        assert_eq!(scan.range(2), (i64::MIN, i64::MAX));
        assert!(scan.uses(0) && !scan.uses(1) && scan.uses(63) && scan.uses(70));
    }
}
