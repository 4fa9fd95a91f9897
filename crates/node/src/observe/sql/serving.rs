//! This node's rows for another node, which runs the query: a part for each question.
//!
//! Threads: the one that greeted the connection. It ends when the other node closes it, or asks nothing for
//! a while.

use super::{Facts, TABLES};
use crate::transport::{Connection, read_message};
use banyan_tables::{Rows, Scan};
use banyan_wire::frame;
use banyan_wire::sql::{Cell, ROWS_MAX, TableMessage};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections that are served at a time.
const SERVED_MAX: usize = 128;
/// Who asks nothing for this long has forgotten to close.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A part is sent at this size or after this time: the client must not take this node for dead.
const PART_BYTES: usize = 128 << 10;
const PART_TIME: Duration = Duration::from_millis(100);

/// How many who ask are served at the moment.
#[derive(Debug, Default)]
pub(crate) struct Served(AtomicUsize);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving<'a>(&'a Served);

impl Served {
    /// One more is served, if fewer than `most` are.
    pub(crate) fn begin(&self, most: usize) -> Option<Serving<'_>> {
        let serving = Serving(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < most).then_some(serving)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers another node until it has no more questions, or may ask none any more, which is looked at for
/// each.
///
/// # Errors
/// The connection's.
pub(crate) fn serve(
    facts: &Arc<dyn Facts>,
    served: &Served,
    connection: &Connection,
    may_ask: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut connection = connection;
    connection.set_read_timeout(Some(IDLE_MAX))?;
    let serving = served.begin(SERVED_MAX);
    let mut rows: Option<(Scan, usize, Box<dyn Rows>)> = None;
    loop {
        let message = match read_message::<TableMessage>(&mut connection) {
            Ok(message) => message,
            // The usual end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if !may_ask() {
            return Ok(());
        }
        let answer = if serving.is_none() {
            TableMessage::Refused("it answers too many queries now".into())
        } else {
            begin(facts, message, &mut rows).unwrap_or_else(|| part(&mut rows))
        };
        connection.write_all(&frame::encode(&answer))?;
        connection.flush()?;
    }
}

/// Begins what a message asks for. Gives an answer if there is nothing to read then.
fn begin(
    facts: &Arc<dyn Facts>,
    message: TableMessage,
    rows: &mut Option<(Scan, usize, Box<dyn Rows>)>,
) -> Option<TableMessage> {
    let refused = |reason: &str| Some(TableMessage::Refused(reason.into()));
    if !message.is_possible(0) {
        return refused("a question with too many conditions");
    }
    match message {
        TableMessage::More if rows.is_some() => None,
        TableMessage::More => refused("nothing is being read"),
        TableMessage::Scan { table, used, conditions } => {
            let Some(spec) = TABLES.into_iter().find(|spec| spec.name == table) else {
                return refused("it has no such table; use the same build on all nodes");
            };
            let scan = Scan { conditions, used };
            *rows = Some((scan.clone(), spec.columns.len(), (spec.scan)(facts, scan)));
            None
        }
        TableMessage::Rows { .. } | TableMessage::Refused(_) => refused("that is an answer and no question"),
    }
}

/// The next part of what is being read.
fn part(reading: &mut Option<(Scan, usize, Box<dyn Rows>)>) -> TableMessage {
    let begun = Instant::now();
    let (mut rows, mut bytes, mut cells) = (0, 0, Vec::new());
    let Some((scan, columns, reader)) = reading else {
        return TableMessage::Rows { rows, cells, last: true };
    };
    while (rows as usize) < ROWS_MAX && bytes < PART_BYTES && begun.elapsed() < PART_TIME {
        match reader.advance() {
            Ok(true) => {}
            Ok(false) => {
                *reading = None;
                return TableMessage::Rows { rows, cells, last: true };
            }
            Err(reason) => return TableMessage::Refused(reason),
        }
        rows += 1;
        for column in (0..*columns).filter(|&column| scan.uses(column)) {
            let cell = reader.field(column).into_cell();
            bytes += match &cell {
                Cell::Text(text) => text.len() + 4,
                _ => 8,
            };
            cells.push(cell);
        }
    }
    TableMessage::Rows { rows, cells, last: false }
}
