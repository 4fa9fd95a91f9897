//! What the threads of a replica did so far, as the kernel's scheduler counts it
//! (Documentation/scheduler/sched-stats.rst).

use std::collections::HashMap;
use std::fs;

/// How long threads ran and how long they could have run, in nanoseconds, from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    seen: HashMap<u32, Times>,
    total: Times,
}

/// In nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) used: u64,
    /// Ready to run, and no processor took it.
    pub(crate) waited: u64,
}

impl Times {
    fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }

    fn add(&mut self, more: Self) {
        self.used += more.used;
        self.waited += more.waited;
    }
}

impl Tasks {
    /// What all threads of a process did so far, without the last moments of those that have ended. `each` is
    /// called with what a thread did since the last look.
    pub(crate) fn look(&mut self, process: u32, mut each: impl FnMut(u32, Times)) -> Times {
        let before = std::mem::take(&mut self.seen);
        let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { return self.total };
        for entry in entries.flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that has ended since.
            let Ok(line) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let Some(now) = parse(&line) else { continue };
            let done = now.since(before.get(&thread).copied().unwrap_or_default());
            each(thread, done);
            self.total.add(done);
            self.seen.insert(thread, now);
        }
        self.total
    }
}

/// How many threads a process has.
pub(crate) fn threads(process: u32) -> u32 {
    fs::read_dir(format!("/proc/{process}/task")).map_or(0, |entries| entries.count() as u32)
}

/// Time on a processor, time ready for one, and how often it got one.
fn parse(line: &str) -> Option<Times> {
    let mut numbers = line.split_whitespace().map(str::parse);
    Some(Times { used: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_thread_that_runs_is_seen_and_one_that_ended_stays_counted() {
        let mut tasks = Tasks::default();
        let own = std::process::id();
        let before = tasks.look(own, |_, _| {}).used;
        std::thread::scope(|scope| {
            let spinning = scope.spawn(|| {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(50) {
                    std::hint::spin_loop();
                }
                let mut tasks = Tasks::default();
                let mut most = 0;
                tasks.look(own, |_, times| most = most.max(times.used));
                most
            });
            let most = spinning.join().unwrap_or(0);
            assert!(most > 1_000_000, "{most}");
        });
        let after = tasks.look(own, |_, _| {}).used;
        assert!(after >= before);
        assert!(tasks.look(own, |_, _| {}).used >= after);
    }

    #[test]
    fn what_is_no_line_of_it_is_nothing() {
        assert_eq!(parse("12 34 5\n"), Some(Times { used: 12, waited: 34 }));
        assert_eq!((parse("12"), parse("a 1 2"), parse("")), (None, None, None));
    }
}
