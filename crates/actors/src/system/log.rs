//! [`Log`]: the newest lines about failures, exhausted sponsors and lost stores. Lock: its own.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Lines that are kept.
const LINES_MAX: usize = 1000;

/// Lines, each with the time at which it was written in nanoseconds.
#[derive(Default)]
pub(crate) struct Log(Mutex<VecDeque<(u64, String)>>);

impl Log {
    pub(crate) fn write(&self, now: u64, line: String) {
        let mut lines = self.0.lock();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back((now, line));
    }

    /// As text, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().map(|(when, line)| format!("{:.6} {line}", *when as f64 / 1e9)).collect()
    }
}
