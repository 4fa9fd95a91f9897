//! What a query may use, and what it has used: processor time and rows taken from tables.
//!
//! A query that asks for too much is ended with the reason: which table it read most, and which constraint
//! would have narrowed that. Not for memory, which SQLite bounds.

use crate::table::{Column, Table};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a query may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of this thread's processor.
    pub processor: Duration,
    /// Taken from tables, those included that a join takes again and again.
    pub rows: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { processor: Duration::from_secs(2), rows: 10_000_000 }
    }
}

/// How a query used more than it may, in words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun(pub(crate) String);

impl fmt::Display for Overrun {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// What a query has taken from one table.
#[derive(Debug, Default)]
struct Taken {
    rows: AtomicU64,
    scans: AtomicU64,
    /// A bit for each key column that some scan was not told.
    missing: AtomicU64,
}

/// Watches one query. All of it is one thread's; atomics only because SQLite's hooks may not borrow.
#[derive(Debug)]
pub(crate) struct Watch {
    budget: Option<Budget>,
    begun: Duration,
    rows: AtomicU64,
    taken: Vec<(&'static str, &'static [Column], Taken)>,
    over: AtomicBool,
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

impl Watch {
    pub(crate) fn new<'a>(budget: Option<Budget>, tables: impl Iterator<Item = &'a dyn Table>) -> Self {
        Self {
            budget,
            begun: processor_time(),
            rows: AtomicU64::new(0),
            taken: tables.map(|table| (table.name(), table.columns(), Taken::default())).collect(),
            over: AtomicBool::new(false),
        }
    }

    /// A scan of a table begins, constrained on the columns with a bit in `told`.
    pub(crate) fn scan(&self, table: usize, told: u64) {
        let (_, columns, taken) = &self.taken[table];
        taken.scans.fetch_add(1, Ordering::Relaxed);
        let keys = columns.iter().enumerate().filter(|(_, column)| column.key);
        let keys: u64 = keys.map(|(number, _)| 1 << number.min(63)).sum();
        taken.missing.fetch_or(keys & !told, Ordering::Relaxed);
    }

    /// A row is taken from a table. False if that is one too many.
    pub(crate) fn row(&self, table: usize) -> bool {
        self.taken[table].2.rows.fetch_add(1, Ordering::Relaxed);
        let rows = self.rows.fetch_add(1, Ordering::Relaxed) + 1;
        let fits = self.budget.is_none_or(|budget| rows <= budget.rows);
        if !fits {
            self.over.store(true, Ordering::Relaxed);
        }
        fits
    }

    /// Whether the processor time is used up.
    pub(crate) fn is_late(&self) -> bool {
        let used = processor_time().saturating_sub(self.begun);
        let late = self.budget.is_some_and(|budget| used > budget.processor);
        if late {
            self.over.store(true, Ordering::Relaxed);
        }
        late
    }

    /// How the budget was overrun, if it was.
    pub(crate) fn overrun(&self) -> Option<Overrun> {
        let budget = self.budget.filter(|_| self.over.load(Ordering::Relaxed))?;
        let rows = self.rows.load(Ordering::Relaxed);
        let spent = if rows > budget.rows {
            format!("it took more than {} rows from tables", budget.rows)
        } else {
            format!("it used {:.1} s of processor time", budget.processor.as_secs_f64())
        };
        let most = self.taken.iter().max_by_key(|(_, _, taken)| taken.rows.load(Ordering::Relaxed));
        let blame = most.filter(|(_, _, taken)| taken.rows.load(Ordering::Relaxed) > 0).map(|most| {
            let (name, columns, taken) = most;
            let (rows, scans) = (taken.rows.load(Ordering::Relaxed), taken.scans.load(Ordering::Relaxed));
            let missing = taken.missing.load(Ordering::Relaxed);
            let is_missing = |&(number, _): &(usize, &Column)| missing >> number.min(63) & 1 == 1;
            let names = columns.iter().enumerate().filter(is_missing).map(|(_, column)| column.name);
            let names: Vec<&str> = names.collect();
            let times = if scans == 1 { "once".into() } else { format!("{scans} times") };
            let advice = match names.as_slice() {
                [] => "; ask for fewer of them".into(),
                [one] => format!("; say which, such as with WHERE {one} = ..."),
                [first, ..] => {
                    format!("; say which, by {}, such as with WHERE {first} = ...", names.join(", "))
                }
            };
            format!("; {rows} rows are of {name}, which was read {times}{advice}")
        });
        let blame = blame.unwrap_or_else(|| "; it computes without taking rows from any table".into());
        Some(Overrun(format!("the query was ended: {spent}{blame}. --no-limit lets it go on")))
    }
}
