//! Live structures as tables that SQL can read: SQLite over virtual tables, with a budget for each query.
//!
//! Who has something to show implements [`Table`] and [`Rows`], in safe code, and [`query`] runs a query over
//! some of them. Nothing is copied into a database: a query takes rows from the structures while it runs.
//! Not here: which tables there are, and how a query or its rows travel.
//!
//! Threads: a query runs in the caller's; nothing else is started.
#![deny(unsafe_code)]

mod budget;
mod query;
#[expect(
    unsafe_code,
    reason = "SQLite's interface for virtual tables: objects of which it knows the beginning"
)]
mod sys;
mod table;

pub use budget::{Budget, Overrun};
pub use query::{Answer, QueryError, SQL_BYTES_MAX, Stop, query};
pub use table::{Column, Field, Kind, Rows, Scan, Table};
