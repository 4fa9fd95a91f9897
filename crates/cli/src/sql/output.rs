//! Rows as a table for people, as JSON and as comma-separated values.
//!
//! The widths of a table's columns are those of its first rows: an answer may be endless, and is printed as
//! it comes.

use crate::terminal;
use banyan_node::Cell;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Rows from which the widths of columns are taken.
const MEASURED_ROWS: usize = 500;
/// Wider values push their line to the right.
const WIDTH_MAX: usize = 60;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Json,
    Csv,
}

/// Prints an answer as it comes.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    names: Vec<String>,
    /// Rows that wait for the widths of their columns.
    waiting: Vec<Cell>,
    widths: Option<Vec<usize>>,
}

impl Printer {
    pub(super) fn new(form: Form) -> Self {
        Self { form, names: Vec::new(), waiting: Vec::new(), widths: None }
    }

    /// The names of the columns; before any row.
    pub(super) fn columns(&mut self, names: Vec<String>) {
        if self.form == Form::Csv {
            let line: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            terminal::print(&format!("{}\n", line.join(",")));
        }
        self.names = names;
    }

    /// Some rows. False if nobody reads them any more.
    pub(super) fn rows(&mut self, cells: Vec<Cell>) -> bool {
        let width = self.names.len().max(1);
        match self.form {
            Form::Table if self.widths.is_none() => {
                self.waiting.extend(cells);
                self.waiting.len() / width < MEASURED_ROWS || self.begin_table()
            }
            Form::Table => self.print_table(&cells),
            Form::Json => print(&cells.chunks(width).map(|row| json(&self.names, row)).collect::<String>()),
            Form::Csv => print(&cells.chunks(width).map(csv).collect::<String>()),
        }
    }

    /// Prints what waits.
    pub(super) fn flush(&mut self) {
        if self.form == Form::Table && self.widths.is_none() && !self.names.is_empty() {
            self.begin_table();
        }
    }

    fn begin_table(&mut self) -> bool {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.chars().count()).collect();
        let waiting = std::mem::take(&mut self.waiting);
        for row in waiting.chunks(widths.len().max(1)) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text(cell).chars().count().min(WIDTH_MAX));
            }
        }
        let head: Vec<String> = self.names.iter().map(|name| name.to_uppercase()).collect();
        let numeric = |column: usize| {
            let mut values =
                waiting.iter().skip(column).step_by(widths.len()).filter(|cell| **cell != Cell::Null);
            values.next().is_some_and(|cell| matches!(cell, Cell::Integer(_) | Cell::Real(_)))
        };
        let head: Vec<(String, bool)> =
            head.into_iter().enumerate().map(|(column, name)| (name, numeric(column))).collect();
        let line = line(head.iter().map(|(name, right)| (name.as_str().into(), *right)), &widths);
        self.widths = Some(widths);
        print(&line) && self.print_table(&waiting)
    }

    fn print_table(&self, cells: &[Cell]) -> bool {
        let Some(widths) = &self.widths else { return true };
        let mut lines = String::new();
        for row in cells.chunks(widths.len().max(1)) {
            let fields =
                row.iter().map(|cell| (text(cell), matches!(cell, Cell::Integer(_) | Cell::Real(_))));
            lines.push_str(&line(fields, widths));
        }
        print(&lines)
    }
}

/// Prints, and says whether anybody reads.
fn print(text: &str) -> bool {
    io::stdout().write_all(text.as_bytes()).is_ok()
}

/// A line of a table: numbers to the right.
fn line<'a>(fields: impl Iterator<Item = (std::borrow::Cow<'a, str>, bool)>, widths: &[usize]) -> String {
    let mut line = String::new();
    for ((field, right), &width) in fields.zip(widths) {
        let _ = if right { write!(line, "{field:>width$}  ") } else { write!(line, "{field:width$}  ") };
    }
    format!("{}\n", line.trim_end())
}

/// A value for people. What could move the cursor is shown and not done.
fn text(cell: &Cell) -> std::borrow::Cow<'_, str> {
    match cell {
        Cell::Null => "".into(),
        Cell::Integer(number) => number.to_string().into(),
        Cell::Real(number) => format!("{number:.3}").into(),
        Cell::Text(text) if text.chars().any(char::is_control) => {
            text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
        }
        Cell::Text(text) => text.as_str().into(),
    }
}

/// A row as an object, on a line. Of columns with the same name, all are there.
fn json(names: &[String], row: &[Cell]) -> String {
    let mut line = String::from("{");
    for (name, cell) in names.iter().zip(row) {
        if line.len() > 1 {
            line.push(',');
        }
        let value = match cell {
            Cell::Null => serde_json::Value::Null,
            Cell::Integer(number) => (*number).into(),
            // One that is not finite is null.
            Cell::Real(number) => (*number).into(),
            Cell::Text(text) => text.as_str().into(),
        };
        let _ = write!(line, "{}:{value}", serde_json::Value::from(name.as_str()));
    }
    line.push_str("}\n");
    line
}

/// A row with commas (RFC 4180). Nothing is an empty field.
fn csv(row: &[Cell]) -> String {
    let fields: Vec<String> = row
        .iter()
        .map(|cell| match cell {
            Cell::Null => String::new(),
            Cell::Integer(number) => number.to_string(),
            Cell::Real(number) => number.to_string(),
            Cell::Text(text) => quoted(text),
        })
        .collect();
    format!("{}\n", fields.join(","))
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_keeps_what_is_in_a_value() {
        let row = [Cell::Null, Cell::Integer(-7), Cell::Real(0.5), Cell::Text("a \"b\", c".into())];
        let names: Vec<String> = ["n", "i", "r", "t\""].map(str::to_owned).to_vec();
        assert_eq!(json(&names, &row), "{\"n\":null,\"i\":-7,\"r\":0.5,\"t\\\"\":\"a \\\"b\\\", c\"}\n");
        assert_eq!(csv(&row), ",-7,0.5,\"a \"\"b\"\", c\"\n");
        assert_eq!(csv(&[Cell::Text(String::new())]), "\"\"\n");
        assert_eq!(json(&names, &[Cell::Real(f64::NAN)]), "{\"n\":null}\n");
    }

    #[test]
    fn a_table_has_its_numbers_to_the_right() {
        let fields = [("x".into(), false), ("12".into(), true), ("".into(), false)];
        assert_eq!(line(fields.into_iter(), &[3, 4, 2]), "x      12\n");
        assert_eq!(text(&Cell::Text("a\u{1b}[2Jb".into())), "a\u{fffd}[2Jb");
    }
}
