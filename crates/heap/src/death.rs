//! Ends of this process at named places, for tests: `BANYAN_HEAP_DIE_AT=lock.freed:3` kills it, as `kill -9`
//! does, the third time it is there. In builds with debug assertions only.

/// A place where another process could see a difference.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("BANYAN_HEAP_DIE_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    if let Some((wanted, left)) = plan
        && wanted == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let this = rustix::process::getpid();
        // It does not come back.
        let _killed = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    }
}

/// Nothing, in other builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_: &str) {}
