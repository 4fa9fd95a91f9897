//! [`Report`]: prints rows as they come, as a table for people or as one JSON object a line, and knows how it
//! ended.

use crate::row::Row;
use crate::selection::Selection;
use serde_json::Value;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

/// Prints the rows that are selected.
#[derive(Debug)]
pub struct Report {
    format: Format,
    selection: Selection,
    rows: usize,
    missed: Vec<String>,
    failed: Vec<String>,
    skipped: usize,
}

impl Report {
    /// Of nothing yet.
    #[must_use]
    pub fn new(format: Format, selection: Selection) -> Self {
        Self { format, selection, rows: 0, missed: Vec::new(), failed: Vec::new(), skipped: 0 }
    }

    /// Says on what machine this is.
    pub fn begin(&self) {
        if self.format == Format::Table {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            println!("{processors} processors, load average {:.2}", crate::statistics::load());
            println!("{:<7}{:<28} {:>10} {:<15} {:>8}  bar", "", "name", "value", "unit", "ratio");
        }
    }

    /// Says to people what is being measured.
    pub fn announce(&self, name: &str, about: &str) {
        if self.format == Format::Table {
            eprintln!("banyan: measuring {name}: {about}");
        }
    }

    /// Prints a row, if it is selected.
    pub fn add(&mut self, row: &Row) {
        // What could not be had stands for all rows of its bench.
        let stands_for_others = row.value.is_none() && self.selection.wants_of(&row.name);
        if !stands_for_others && !self.selection.wants(&row.name) {
            return;
        }
        self.rows += 1;
        match (row.value, row.ok) {
            (Some(_), Some(false)) => self.missed.push(row.name.clone()),
            (None, Some(false)) => self.failed.push(row.name.clone()),
            (None, _) => self.skipped += 1,
            (Some(_), _) => {}
        }
        match self.format {
            // A row is text and numbers, which JSON always takes.
            Format::Json => println!("{}", serde_json::to_string(row).unwrap_or_default()),
            Format::Table => print(row),
        }
    }

    /// Sums up. Returns the status to exit with: 1 if a bar was missed or a figure could not be had.
    ///
    /// # Errors
    /// If no row was selected.
    pub fn end(&self) -> anyhow::Result<u8> {
        let starts = self.selection.starts();
        anyhow::ensure!(
            self.rows > 0,
            "no measurement begins with {}; `banyan bench --list` names them",
            starts.join(" or ")
        );
        if self.format == Format::Table {
            match self.missed.as_slice() {
                [] => println!("every bar that was measured is reached"),
                missed => println!("missed: {}", missed.join(", ")),
            }
            if self.skipped > 0 {
                println!("{} skipped for want of a program or a permission", self.skipped);
            }
        }
        if !self.failed.is_empty() {
            eprintln!("banyan: could not be measured: {}", self.failed.join(", "));
        }
        Ok(u8::from(!self.missed.is_empty() || !self.failed.is_empty()))
    }
}

fn print(row: &Row) {
    let verdict = match (row.ok, row.value) {
        (Some(true), _) => "ok",
        (Some(false), Some(_)) => "MISSED",
        (Some(false), None) => "FAILED",
        (None, _) => "-",
    };
    let value = row.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!("{verdict:<7}{:<28} {value:>10} {:<15} {ratio:>8}  {}", row.name, row.unit, row.bar);
    if let Some(rival) = &row.rival {
        println!("{:7}ratio to {rival}", "");
    }
    for (name, fact) in &row.detail {
        let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        let name = if name == "note" { String::new() } else { format!("{}: ", name.replace('_', " ")) };
        println!("{:7}{name}{fact}", "");
    }
}

/// A value as it stands in a detail: a list of figures, rounded.
pub(crate) fn list_of(values: &[f64]) -> Value {
    values.iter().map(|value| Value::from(crate::row::rounded(*value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whether_every_bar_is_reached() {
        let ended = |rows: &[Row]| {
            let mut report = Report::new(Format::Json, Selection::default());
            rows.iter().for_each(|row| report.add(row));
            report.end().ok()
        };
        let row = |ok| Row::new("a.b", 1.0, "s").judged("at most 2 s", ok);
        assert_eq!(ended(&[row(true), Row::skipped("c", "no pigz")]), Some(0));
        assert_eq!(ended(&[row(true), row(false)]), Some(1));
        assert_eq!(ended(&[Row::failed("a", "broken")]), Some(1));
        assert_eq!(ended(&[]), None);
    }
}
