//! What people see of a running cluster: a look at its tables, and what follows from two looks.
//!
//! `banyan top`, the page that a node serves, its API and its metrics show one [`View`], which is made here
//! and nowhere else. Its source is SQL over live structures: [`Question`] is one query, its rows are a
//! [`Look`], and [`Live`] makes a view of two looks: rates, the share of time that is lost, which pages
//! fight, what to do.
//!
//! Pure: no clock, no I/O, no thread. Not here: how a query is answered (`banyan-node`), and what a view
//! looks like on a screen (`banyan top`) or in a browser (the page).
#![forbid(unsafe_code)]

mod advice;
mod history;
mod live;
mod look;
mod metrics;
mod question;
mod rows;
mod strip;
#[cfg(test)]
mod tests;
mod view;

pub use advice::{Advice, Level};
pub use history::{History, Moment};
pub use live::Live;
pub use look::Look;
pub use metrics::metrics;
pub use question::{Depth, PageRange, Question};
pub use rows::{EventRow, FaultRow, HotRow, JobRow, LinkRow, NodeRow, PageRow, PartRow, ThreadRow};
pub use strip::Cell;
pub use view::{FaultView, HotView, JobView, LinkView, NodeView, PartView, Total, View};
