//! How much a library prints on standard error: within a second, and in a worker's life.
//!
//! A library that complains of every byte of a large file would fill its program's logs. What is beyond the
//! bounds is left out as if it had been printed, and one line says so. Not for a stream that the program
//! hands over, nor for children of the library.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

/// Most bytes within a second.
const SECOND_BYTES: u64 = 4 << 20;
/// Most bytes of a worker.
const WORKER_BYTES: u64 = 64 << 20;

/// What a worker has printed.
struct Printed {
    /// The second that `in_second` is of.
    second: AtomicU64,
    in_second: AtomicU64,
    in_all: AtomicU64,
    is_told: AtomicBool,
}

static PRINTED: Printed = Printed::new();

/// How a text is handled.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Printed,
    /// Left out, the first of a worker.
    Told,
    LeftOut,
}

impl Printed {
    const fn new() -> Self {
        Self {
            second: AtomicU64::new(0),
            in_second: AtomicU64::new(0),
            in_all: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        }
    }

    /// Threads that begin a second at once may print more in it, but not in all.
    fn add(&self, bytes: u64, second: u64) -> Verdict {
        if self.second.swap(second, Relaxed) != second {
            self.in_second.store(0, Relaxed);
        }
        let fits = |sum: &AtomicU64, most| {
            let add = |before: u64| before.checked_add(bytes).filter(|&after| after <= most);
            sum.fetch_update(Relaxed, Relaxed, add).is_ok()
        };
        if fits(&self.in_second, SECOND_BYTES) && fits(&self.in_all, WORKER_BYTES) {
            Verdict::Printed
        } else if self.is_told.swap(true, Relaxed) {
            Verdict::LeftOut
        } else {
            Verdict::Told
        }
    }
}

/// Whether a text of the library for standard error is to be left out; `print` prints the line that says so.
pub(crate) fn is_left_out(bytes: usize, print: impl FnOnce(&[u8])) -> bool {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    // The first second is not 0, which is before all.
    let second = BEGAN.get_or_init(Instant::now).elapsed().as_secs() + 1;
    match PRINTED.add(bytes as u64, second) {
        Verdict::Printed => return false,
        Verdict::LeftOut => {}
        Verdict::Told => {
            let line = format!(
                "banyan: the library prints too much here: what is beyond {} MiB within a second, or {} MiB in all, is left out\n",
                SECOND_BYTES >> 20,
                WORKER_BYTES >> 20
            );
            print(line.as_bytes());
        }
    }
    true
}
