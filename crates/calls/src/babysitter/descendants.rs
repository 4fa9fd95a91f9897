//! Processes that a worker has started (`system`, `fork`): when a call ends with its worker, so do they.
//!
//! A worker leads a process group, which ends with it. Children of a library's worker may have left the group
//! (`setsid`): the babysitter adopts them when their parents end. Only one worker of a library has run calls
//! at a time, so once that has ended, children that are not ours are what it left. Of functions of a Rust
//! program several workers run, and who left the group is nobody's that we know: it stays. What a library
//! leaves running when its program ends in order stays, too, as it does without us.

use crate::sys::process::{adopt_orphans, signal_children, signal_group};
use std::fs::File;

/// What the babysitter knows of processes that are not its own workers.
#[derive(Default)]
pub(super) struct Descendants {
    /// Our children, for the kernel to list; none where it does not, or the sandbox forbids it.
    children: Option<File>,
    /// Whether a worker has ended whose descendants may still be there.
    is_ending: bool,
}

impl Descendants {
    /// Has orphans of this process's descendants become its children.
    pub(super) fn adopt() -> Self {
        adopt_orphans();
        let process = std::process::id();
        Self { children: File::open(format!("/proc/self/task/{process}/children")).ok(), is_ending: false }
    }

    /// Ends the group of a worker that has ended; what has left it is for [`Self::end_adopted`].
    pub(super) fn end_group(&mut self, worker: u32) {
        signal_group(worker, libc::SIGKILL);
        self.is_ending = true;
    }

    /// Ends the children that are not `ours`. Each may leave children in turn: to be called whenever one has
    /// been collected. Returns whether there were any.
    pub(super) fn end_adopted(&mut self, ours: impl Fn(u32) -> bool) -> bool {
        let Some(children) = self.children.as_ref().filter(|_| self.is_ending) else { return false };
        self.is_ending = signal_children(children, libc::SIGKILL, |child| !ours(child));
        self.is_ending
    }
}
