//! What the pager does when a node leaves its job while the others go on: on that node and on the others. The
//! machine knows how (`banyan_core::coherence`, retire); here are the batches and the waits.

use super::{Pager, PagerError};
use banyan_core::coherence::Input;
use banyan_wire::coherence::Message;
use banyan_wire::ids::{Access, EXTENT_BYTES, Epoch, ExtentNumber, NodeId, PAGE_BYTES, Run};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long to wait for what is under way between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long to wait for pages between two looks whether the run goes on.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pages that are taken at a time: a thread that wants one of them waits for all.
const BATCH_PAGES: u32 = 1024;

impl Pager {
    /// This node hands over all that it owns. Blocks until home has it. False if it has not by `deadline`.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn hand_over_all(&self, deadline: Instant) -> Result<bool, PagerError> {
        self.step(self.lock(), Input::Retire, &[])?;
        let failed = |error| PagerError::Fatal(format!("looking for what this node has: {error}"));
        for (start, end) in self.memory.stretches().map_err(failed)? {
            let extents = start / EXTENT_BYTES..end.div_ceil(EXTENT_BYTES);
            for extent in extents.map(ExtentNumber) {
                // Nothing happens with those that are not owned here.
                self.step(self.lock(), Input::HandOver { extent, to: NodeId::HOME }, &[])?;
            }
        }
        self.wait(deadline, || self.lock().machine.has_handed_over())
    }

    /// Number, epoch and owner of the extents that neither this node owns nor home.
    pub(crate) fn owned_by_others(&self) -> Vec<(u64, u64, u8)> {
        let state = self.lock();
        let owned = state.machine.owned_by_others();
        owned.map(|(extent, epoch, owner)| (extent.0, epoch.0, owner.get())).collect()
    }

    /// At home: a node that leaves knows who owns these.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn learn_owners(&self, from: NodeId, owners: &[(u64, u64, u8)]) -> Result<(), PagerError> {
        for &(extent, epoch, owner) in owners {
            let rejected = || PagerError::Rejected { from, reason: format!("node {owner} as an owner") };
            let owner = NodeId::new(owner).ok_or_else(rejected)?;
            let (extent, epoch) = (ExtentNumber(extent), Epoch(epoch));
            let message = Message::Located { extent, epoch, owner };
            self.step(self.lock(), Input::Receive { from, message }, &[])?;
        }
        Ok(())
    }

    /// Serves a node no more, and takes the pages that it has, by what this node knows as an owner. Blocks
    /// until it has none. False if it has some by `deadline`.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn take_all_from(&self, node: NodeId, deadline: Instant) -> Result<bool, PagerError> {
        self.step(self.lock(), Input::Dismiss { node }, &[])?;
        loop {
            let (held, expects) = {
                let state = self.lock();
                (state.machine.held_by(node, BATCH_PAGES), state.machine.expects(node))
            };
            let left = deadline.saturating_duration_since(Instant::now());
            match (held.is_empty(), expects) {
                (true, false) => return Ok(true),
                _ if left.is_zero() || self.has_stopped() => return Ok(false),
                (true, true) => std::thread::sleep(LOOK_AGAIN),
                (false, _) => {
                    let ranges: Vec<(u64, u64)> = held.into_iter().map(bytes).collect();
                    self.acquire(&ranges, Access::Write, left.min(PATIENCE))?;
                }
            }
        }
    }

    /// This node, which has handed over all and whose pages were taken, says nothing more. Blocks until then.
    /// False if it has something by `deadline`.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn fall_silent(&self, deadline: Instant) -> Result<bool, PagerError> {
        loop {
            self.step(self.lock(), Input::Close, &[])?;
            if self.lock().machine.has_closed() {
                return Ok(true);
            }
            if Instant::now() >= deadline || self.has_stopped() {
                return Ok(false);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// A node has left.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn forget(&self, node: NodeId) -> Result<(), PagerError> {
        self.step(self.lock(), Input::Forget { node }, &[])
    }

    fn wait(&self, deadline: Instant, done: impl Fn() -> bool) -> Result<bool, PagerError> {
        while !done() {
            if Instant::now() >= deadline || self.has_stopped() {
                return Ok(false);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(true)
    }

    /// The run has ended here: nothing is waited for.
    fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// First byte and length of a run.
fn bytes(run: Run) -> (u64, u64) {
    (run.first.address(), u64::from(run.count) * PAGE_BYTES)
}
