//! What happened on this node, the newest of it: jobs that began and ended, threads that moved, nodes that
//! were lost, machines that joined and left.
//!
//! A ring in memory for who looks at the node. Not for lines to a person (`crate::report`).
//!
//! Lock order: taken alone, or last.

use banyan_wire::ids::JobId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::SystemTime;

/// Entries that are kept.
pub(crate) const ENTRIES_MAX: usize = 4096;
/// Bytes of an entry's text that are kept.
const TEXT_MAX: usize = 500;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This node has started.
    Start,
    /// A machine has joined the cluster.
    Join,
    /// A machine has left the cluster, or was taken out.
    Leave,
    /// A job has begun here, or this node takes part in one.
    Begin,
    /// A job has ended here.
    End,
    /// A thread has changed its node.
    Move,
    /// A node of a job was lost.
    Loss,
}

impl Kind {
    /// Its name in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Begin => "begin",
            Self::End => "end",
            Self::Move => "move",
            Self::Loss => "loss",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Counts up from 0 over the life of the node.
    pub(crate) number: u64,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    pub(crate) job: Option<JobId>,
    pub(crate) text: String,
}

/// The ring.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    next: u64,
}

impl Log {
    /// Notes something.
    pub(crate) fn note(&self, kind: Kind, job: Option<JobId>, text: impl Into<String>) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        let mut ring = self.0.lock();
        let number = ring.next;
        ring.next += 1;
        if ring.entries.len() == ENTRIES_MAX {
            ring.entries.pop_front();
        }
        ring.entries.push_back(Entry { number, at: since.as_micros() as u64, kind, job, text });
    }

    /// The entries from a number on, `most` at most.
    pub(crate) fn from(&self, number: u64, most: usize) -> Vec<Entry> {
        let ring = self.0.lock();
        let first = ring.entries.partition_point(|entry| entry.number < number);
        ring.entries.range(first..).take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_kept_in_order() {
        let log = Log::default();
        for number in 0..ENTRIES_MAX + 10 {
            log.note(Kind::Move, Some(JobId(1)), format!("{number} {}", "\u{e9}".repeat(TEXT_MAX)));
        }
        let all = log.from(0, usize::MAX);
        assert_eq!(all.len(), ENTRIES_MAX);
        assert_eq!((all[0].number, all[ENTRIES_MAX - 1].number), (10, ENTRIES_MAX as u64 + 9));
        assert!(all.iter().all(|entry| entry.text.len() <= TEXT_MAX && entry.text.contains('\u{e9}')));
        assert_eq!(log.from(ENTRIES_MAX as u64 + 8, 1)[0].number, ENTRIES_MAX as u64 + 8);
        assert!(log.from(ENTRIES_MAX as u64 + 10, 5).is_empty());
    }
}
