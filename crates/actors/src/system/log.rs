//! [`Log`]: the newest lines about failures, exhausted sponsors and lost stores, and what untrusted actors
//! write. Lock: its own.
//!
//! A configuration writes so many lines within a second and no more: the others are counted and dropped, so
//! that it neither pushes out what is said of others nor holds up its host by writing.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::mutation::{Mutation, makes};

/// Lines that are kept.
const LINES_MAX: usize = 1000;
/// Lines of one configuration within a second.
const LINES_OF_ONE: u64 = 128;
const SECOND: u64 = 1_000_000_000;

/// Lines, each with the time at which it was written in nanoseconds.
#[derive(Default)]
pub(crate) struct Log(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    newest: VecDeque<(u64, String)>,
    /// The second that is counted, and lines of each configuration that has written within it.
    second: u64,
    counts: BTreeMap<String, u64>,
}

fn words_for_dropped(name: &str, count: u64) -> String {
    format!("{name}: {} more lines within a second were dropped", count - LINES_OF_ONE)
}

impl Lines {
    fn push(&mut self, now: u64, line: String) {
        #[cfg(feature = "tracing")]
        tracing::info!(target: "banyan_actors", "{line}");
        if self.newest.len() == LINES_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back((now, line));
    }

    /// Whether a configuration may write one more line.
    fn count(&mut self, now: u64, name: &str) -> bool {
        if now / SECOND != self.second {
            self.second = now / SECOND;
            for (name, count) in std::mem::take(&mut self.counts) {
                if count > LINES_OF_ONE {
                    self.push(now, words_for_dropped(&name, count));
                }
            }
        }
        let count = match self.counts.get_mut(name) {
            Some(count) => count,
            None => self.counts.entry(name.to_owned()).or_default(),
        };
        *count += 1;
        *count <= LINES_OF_ONE || makes(Mutation::FloodLog)
    }
}

impl Log {
    pub(crate) fn write(&self, now: u64, line: String) {
        self.0.lock().push(now, line);
    }

    /// Writes a line about a configuration, unless it has written too many. A line that is dropped is not
    /// made.
    pub(crate) fn write_of(&self, now: u64, name: &str, line: impl FnOnce() -> String) {
        if self.0.lock().count(now, name) {
            let line = line();
            self.0.lock().push(now, line);
        }
    }

    /// As text, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.lock();
        let dropped = lines.counts.iter().filter(|(_, count)| **count > LINES_OF_ONE);
        let dropped = dropped.map(|(name, count)| (lines.second * SECOND, words_for_dropped(name, *count)));
        let all = lines.newest.iter().cloned().chain(dropped);
        all.map(|(when, line)| format!("{:.6} {line}", when as f64 / 1e9)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, LINES_OF_ONE, Log, SECOND};

    /// One that floods the log keeps neither others nor its own later lines from it.
    #[test]
    fn a_flood_is_counted_and_dropped() {
        let log = Log::default();
        log.write(0, "before".to_owned());
        log.write_of(0, "quiet", || "quiet line".to_owned());
        for number in 0..10 * LINES_MAX {
            log.write_of(number as u64, "loud", || format!("loud line {number}"));
        }
        log.write_of(1, "quiet", || "quiet line".to_owned());
        let count = |words: &str| log.lines().iter().filter(|line| line.contains(words)).count();
        assert_eq!((count("before"), count("quiet line")), (1, 2));
        assert_eq!(count("loud line") as u64, LINES_OF_ONE);
        assert_eq!(count("loud: 9872 more lines within a second were dropped"), 1);
        // It is said once more when it is over, and then not again.
        log.write_of(3 * SECOND, "loud", || "loud again".to_owned());
        assert_eq!((count("loud again"), count("9872 more lines")), (1, 1));
        assert!(log.lines().last().unwrap().ends_with("loud again"));
    }
}
