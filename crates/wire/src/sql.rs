//! What carries queries about live structures: rows of a table from one node to another, and the answer to a
//! query from a node to the process that asked.
//!
//! The first travels in frames (`crate::frame`) on a connection of [`Purpose::Tables`], one question and one
//! answer at a time; the second in packets of the node's local socket. Not here: which tables there are.
//!
//! [`Purpose::Tables`]: crate::handshake::Purpose::Tables

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Rows that one message brings at most.
pub const ROWS_MAX: usize = 4096;
/// Conditions that one question has at most.
pub const CONDITIONS_MAX: usize = 64;
/// Columns that an answer has at most.
pub const COLUMNS_MAX: usize = 200;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// None.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
}

/// How a column compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// It is that.
    Equal,
    /// It is less.
    Less,
    /// It is not more.
    LessOrEqual,
    /// It is more.
    Greater,
    /// It is not less.
    GreaterOrEqual,
}

/// What rows must fulfil.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The column's number.
    pub column: u8,
    /// How it compares.
    pub comparison: Comparison,
    /// With what.
    pub value: Cell,
}

/// What one node asks another about its tables, and the answer. Postcard numbers the variants in this order:
/// a new one goes to the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TableMessage {
    /// Begins to read a table. What was read before on this connection is over.
    Scan {
        /// The table's name.
        table: String,
        /// A bit for each column that is wanted.
        used: u64,
        /// Rows that do not fulfil these need not come.
        conditions: Vec<Condition>,
    },
    /// More of the same.
    More,
    /// The answer to both: rows, one after another, of each the columns that are wanted.
    Rows {
        /// How many.
        rows: u32,
        /// Their values.
        cells: Vec<Cell>,
        /// None follow.
        last: bool,
    },
    /// The answer to both: no, and why.
    Refused(String),
}

/// What a process of this machine asks its node, and the parts of the answer. Both are of one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QueryMessage {
    /// Answer a query.
    Ask {
        /// In SQL.
        sql: String,
        /// Within the usual budget.
        bounded: bool,
    },
    /// The names of the answer's columns. First, and once.
    Columns(
        /// From the left.
        Vec<String>,
    ),
    /// Some rows, one after another.
    Rows(
        /// Their values.
        Vec<Cell>,
    ),
    /// Something that the person should know of the answer.
    Warning(
        /// A line.
        String,
    ),
    /// That was the whole answer.
    End,
    /// There is no answer, or no more of it, and why.
    Failed(
        /// A line.
        String,
    ),
}

impl TableMessage {
    /// Whether the numbers in it fit each other. An answer is for `columns` columns.
    #[must_use]
    pub fn is_possible(&self, columns: usize) -> bool {
        match self {
            Self::Scan { conditions, .. } => conditions.len() <= CONDITIONS_MAX,
            Self::Rows { rows, cells, .. } => {
                let rows = *rows as usize;
                rows <= ROWS_MAX && rows.checked_mul(columns) == Some(cells.len())
            }
            Self::More | Self::Refused(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameError, LENGTH_BYTES, decode, encode};
    use alloc::vec;

    /// Every message with the bytes that it has always had. A change here is a new version of the greeting.
    fn golden() -> Vec<(TableMessage, Vec<u8>)> {
        let condition = |comparison, value| Condition { column: 2, comparison, value };
        let scan = TableMessage::Scan {
            table: "pages".into(),
            used: 300,
            conditions: vec![
                condition(Comparison::Equal, Cell::Integer(-1)),
                condition(Comparison::GreaterOrEqual, Cell::Text("n".into())),
            ],
        };
        let cells = vec![Cell::Null, Cell::Real(0.5)];
        vec![
            (scan, [&[0, 5][..], b"pages", &[0xac, 2, 2, 2, 0, 1, 1, 2, 4, 3, 1, b'n']].concat()),
            (TableMessage::More, vec![1]),
            (
                TableMessage::Rows { rows: 1, cells, last: true },
                [&[2, 1, 2, 0, 2][..], &0.5_f64.to_le_bytes(), &[1]].concat(),
            ),
            (TableMessage::Refused("x".into()), vec![3, 1, b'x']),
        ]
    }

    fn queries() -> Vec<(QueryMessage, Vec<u8>)> {
        vec![
            (QueryMessage::Ask { sql: "s".into(), bounded: true }, vec![0, 1, b's', 1]),
            (QueryMessage::Columns(vec!["a".into(), "b".into()]), vec![1, 2, 1, b'a', 1, b'b']),
            (QueryMessage::Rows(vec![Cell::Integer(1)]), vec![2, 1, 1, 2]),
            (QueryMessage::Warning("w".into()), vec![3, 1, b'w']),
            (QueryMessage::End, vec![4]),
            (QueryMessage::Failed("f".into()), vec![5, 1, b'f']),
        ]
    }

    #[test]
    fn every_message_has_the_bytes_of_the_format() {
        for (message, body) in golden() {
            assert_eq!(encode(&message)[LENGTH_BYTES..], body, "{message:?}");
            assert_eq!(decode(&body), Ok(message));
        }
        for (message, body) in queries() {
            assert_eq!(encode(&message)[LENGTH_BYTES..], body, "{message:?}");
            assert_eq!(decode(&body), Ok(message));
        }
    }

    #[test]
    fn damage_is_an_error_or_another_message() {
        let bodies = golden().into_iter().map(|(_, body)| body);
        for body in bodies.chain(queries().into_iter().map(|(_, body)| body)) {
            for cut in 0..body.len() {
                crate::fuzz::sql(&body[..cut]);
            }
            for bit in 0..body.len() * 8 {
                let mut damaged = body.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                crate::fuzz::sql(&damaged);
            }
        }
        assert_eq!(decode::<TableMessage>(&[1, 0]), Err(FrameError::Spelling));
    }

    #[test]
    fn rows_whose_number_is_a_lie_are_not_possible() {
        let rows = |rows, cells| TableMessage::Rows { rows, cells: vec![Cell::Null; cells], last: false };
        assert!(rows(2, 6).is_possible(3) && rows(0, 0).is_possible(3));
        assert!(!rows(2, 5).is_possible(3) && !rows(u32::MAX, 0).is_possible(3));
        // Rows of which no column is wanted are only counted.
        assert!(rows(ROWS_MAX as u32, 0).is_possible(0) && !rows(ROWS_MAX as u32 + 1, 0).is_possible(0));
    }
}
