//! A query of a person: over the rows of all nodes, its answer in messages of bounded size.
//!
//! Threads: the query runs in one of its own, which the kernel prefers less than those that serve programs.
//! The caller's starts those that ask other nodes: started by the query's they would be preferred less, too,
//! and a busy machine would take other nodes for silent.

use super::remote::{Fleet, Reading};
use super::spread::Spread;
use super::{Facts, TABLES, job_nodes};
use banyan_tables::{Answer, Budget, Field, Stop, Table};
use banyan_wire::sql::{Cell, QueryMessage};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// How much less the kernel prefers a query (nice(2)).
const NICE: i32 = 10;
/// Rows are sent when they have about this many bytes.
const MESSAGE_BYTES: usize = 32 << 10;
/// A longer row has no message that it fits into.
const ROW_BYTES_MAX: usize = 100 << 10;
/// What a person sees of a column's name, which is the expression unless it was given one.
const NAME_BYTES_MAX: usize = 200;

/// Answers a query, in messages to `send`; it ends early when `wanted` says so.
///
/// # Errors
/// What `send` says, which ends the query.
pub(crate) fn answer(
    facts: &Arc<dyn Facts>,
    sql: &str,
    bounded: bool,
    wanted: impl FnMut() -> bool + Send + 'static,
    send: &mut (dyn FnMut(&QueryMessage) -> io::Result<()> + Send),
) -> io::Result<()> {
    let (starter, starts) = channel();
    std::thread::scope(|scope| {
        let query = std::thread::Builder::new().name("query".into()).spawn_scoped(scope, || {
            // Zero is the calling thread; without this the query is only less polite.
            let _ = rustix::process::setpriority_process(None, NICE);
            run(facts, sql, bounded, starter, wanted, send)
        });
        // Until the query has ended.
        starts.into_iter().for_each(Fleet::start);
        query?.join().unwrap_or_else(|_| Err(io::Error::other("the thread of a query panicked")))
    })
}

fn run(
    facts: &Arc<dyn Facts>,
    sql: &str,
    bounded: bool,
    starter: Sender<Reading>,
    wanted: impl FnMut() -> bool + Send + 'static,
    send: &mut dyn FnMut(&QueryMessage) -> io::Result<()>,
) -> io::Result<()> {
    let others = facts.others();
    let nodes = others.len() as u64 + 1;
    let fleet = Arc::new(Fleet::new(Arc::clone(facts), others, starter));
    let table = |spec| -> Arc<dyn Table> {
        Arc::new(Spread { spec, facts: Arc::clone(facts), fleet: Arc::clone(&fleet), nodes })
    };
    let tables = TABLES.map(table);
    let mut packing = Packing { send, cells: Vec::new(), bytes: 0, is_too_long: false, broken: Ok(()) };
    let budget = bounded.then(Budget::default);
    let result = banyan_tables::query(&tables, &[job_nodes::JOBS], sql, budget, wanted, &mut |answer| {
        packing.take(&answer)
    });
    fleet.end();
    std::mem::replace(&mut packing.broken, Ok(()))?;
    packing.flush()?;
    for warning in fleet.warnings() {
        (packing.send)(&QueryMessage::Warning(warning))?;
    }
    (packing.send)(&match result {
        Ok(()) => QueryMessage::End,
        Err(_) if packing.is_too_long => {
            QueryMessage::Failed(format!("a row of the answer has more than {} KiB", ROW_BYTES_MAX >> 10))
        }
        Err(error) => QueryMessage::Failed(error.to_string()),
    })
}

/// Rows that become messages.
struct Packing<'a> {
    send: &'a mut dyn FnMut(&QueryMessage) -> io::Result<()>,
    cells: Vec<Cell>,
    bytes: usize,
    /// A row was met that cannot be sent.
    is_too_long: bool,
    /// Why no more can be sent.
    broken: io::Result<()>,
}

impl Packing<'_> {
    fn take(&mut self, answer: &Answer<'_>) -> Result<(), Stop> {
        self.try_take(answer).map_err(|error| {
            self.broken = Err(error);
            Stop
        })?;
        if self.is_too_long { Err(Stop) } else { Ok(()) }
    }

    fn try_take(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        let fields = match answer {
            Answer::Columns(names) => {
                let short = |name: &String| name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned();
                return (self.send)(&QueryMessage::Columns(names.iter().map(short).collect()));
            }
            Answer::Row(fields) => fields,
        };
        // So that a row which is large has a message alone.
        let bytes: usize = fields.iter().map(bytes).sum();
        if bytes > ROW_BYTES_MAX {
            self.is_too_long = true;
            return Ok(());
        }
        if self.bytes + bytes > MESSAGE_BYTES {
            self.flush()?;
        }
        self.bytes += bytes;
        self.cells.extend(fields.iter().map(|field| field.clone().into_cell()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.cells.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        (self.send)(&QueryMessage::Rows(std::mem::take(&mut self.cells)))
    }
}

fn bytes(field: &Field<'_>) -> usize {
    match field {
        Field::Text(text) => text.len() + 4,
        _ => 10,
    }
}
