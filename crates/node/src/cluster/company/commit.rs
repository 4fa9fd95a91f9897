//! The one thread that writes the file of the companies: whatever waits when it begins is one transaction and
//! one sync.
//!
//! Each transaction leaves the file so that opening it after a crash is quick (redb, "quick repair"): without
//! it the whole file would be walked. After a write that has failed nothing more is written, since it is not
//! known what of it is in the file: who has the store opens it anew.

use super::kinds::{Entry, SnapshotMeta};
use super::store::{ENTRIES, FACTS, Fact};
use banyan_core::companies::CompanyId;
use parking_lot::{Condvar, Mutex};
use redb::{Database, ReadableTable};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;

/// One thing that is written.
#[derive(Debug)]
pub(super) enum Write {
    /// Entries, with their indexes.
    Append(CompanyId, Vec<(u64, Vec<u8>)>),
    /// Removes the entries from this one on.
    Truncate(CompanyId, u64),
    /// Removes the entries up to this one.
    Purge(CompanyId, u64),
    /// A snapshot, unless the file has one of a later entry: one that took long to make comes after one that
    /// another member has sent.
    Snapshot(CompanyId, SnapshotMeta, Vec<u8>),
    /// A fact.
    Fact(CompanyId, Fact, Vec<u8>),
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain data can be encoded")
}

impl Write {
    pub(super) fn fact(company: CompanyId, fact: Fact, value: &impl Serialize) -> Self {
        Self::Fact(company, fact, encode(value))
    }

    pub(super) fn append(company: CompanyId, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, encode(&entry)));
        Self::Append(company, entries.collect())
    }
}

/// Hears when it is durable, or why it will not be.
type Done = oneshot::Sender<io::Result<()>>;

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they came.
    writes: Vec<(Vec<Write>, Option<Done>)>,
    /// Somebody waits for one of them.
    urgent: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Committer {
    queue: Arc<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The thread has ended before it has written something.
pub(super) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the company's file is closed")
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(database: Arc<Database>) -> Self {
        let queue = Arc::new(Queue::default());
        let served = Arc::clone(&queue);
        let thread =
            std::thread::Builder::new().name("commit".into()).spawn(move || commit_all(&database, &served));
        if thread.is_err() {
            queue.waiting.lock().ended = true;
        }
        Self { queue, thread: thread.ok() }
    }

    /// Writes. The answer comes when it is durable; what is written at the same time is written together.
    pub(super) fn write(&self, writes: Vec<Write>) -> oneshot::Receiver<io::Result<()>> {
        let (done, answer) = oneshot::channel();
        let mut waiting = self.queue.waiting.lock();
        if waiting.ended {
            let _ = done.send(Err(ended()));
            return answer;
        }
        waiting.writes.push((writes, Some(done)));
        waiting.urgent = true;
        self.queue.changed.notify_one();
        answer
    }

    /// Writes what may be lost, together with what comes next.
    pub(super) fn write_later(&self, write: Write) {
        let mut waiting = self.queue.waiting.lock();
        if !waiting.ended {
            waiting.writes.push((vec![write], None));
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.waiting.lock().ended = true;
        self.queue.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn commit_all(database: &Database, queue: &Queue) {
    let mut failure: Option<(io::ErrorKind, String)> = None;
    loop {
        let taken = {
            let mut waiting = queue.waiting.lock();
            while !waiting.urgent && !waiting.ended {
                queue.changed.wait(&mut waiting);
            }
            if waiting.ended && waiting.writes.is_empty() {
                return;
            }
            waiting.urgent = false;
            std::mem::take(&mut waiting.writes)
        };
        if failure.is_none()
            && let Err(error) = commit(database, taken.iter().flat_map(|(writes, _)| writes))
        {
            failure = Some((error.kind(), error.to_string()));
        }
        for done in taken.into_iter().filter_map(|(_, done)| done) {
            let result = match &failure {
                None => Ok(()),
                Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            };
            // Who has gone does not want to know.
            let _ = done.send(result);
        }
    }
}

fn commit<'a>(database: &Database, writes: impl Iterator<Item = &'a Write>) -> io::Result<()> {
    let transaction = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut facts = transaction.open_table(FACTS)?;
            for write in writes {
                match write {
                    Write::Append(company, new) => {
                        for (index, bytes) in new {
                            entries.insert((company.0, *index), bytes.as_slice())?;
                        }
                    }
                    Write::Truncate(company, first) => {
                        entries.retain_in((company.0, *first)..=(company.0, u64::MAX), |_, _| false)?;
                    }
                    Write::Purge(company, last) => {
                        entries.retain_in((company.0, 0)..=(company.0, *last), |_, _| false)?;
                    }
                    Write::Snapshot(company, meta, bytes) => {
                        let kept = facts.get((company.0, Fact::SnapshotMeta as u8))?;
                        let kept =
                            kept.and_then(|kept| postcard::from_bytes::<SnapshotMeta>(kept.value()).ok());
                        if kept.is_none_or(|kept| kept.last_log_id <= meta.last_log_id) {
                            let meta = encode(meta);
                            facts.insert((company.0, Fact::SnapshotMeta as u8), meta.as_slice())?;
                            facts.insert((company.0, Fact::Snapshot as u8), bytes.as_slice())?;
                        }
                    }
                    Write::Fact(company, fact, bytes) => {
                        facts.insert((company.0, *fact as u8), bytes.as_slice())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    };
    transaction().map_err(|error| match error {
        redb::Error::Io(error) => error,
        other => io::Error::other(other),
    })
}
