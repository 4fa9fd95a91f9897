//! Discarding many extents at once, where no other node has ever asked their owner for them.
//!
//! Of memory that another node's threads have mapped, home often knows nothing, as nearly all of it was
//! never touched or by its owner only. So home names whole stretches to their first owner. The owner makes
//! zero what is its own alone, up to the first extent that is not, and says how far it came; home has that
//! one extent discarded by itself (see `discard`) and goes on behind it. A sweep is one message whatever its
//! length.
//!
//! Sweeps of one owner are sent one after another with ascending numbers, and the owner remembers the answer
//! to the last: a repetition, which may come when the memory is in use again, does nothing.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;

use banyan_wire::coherence::{Message, SWEEP_EXTENTS_MAX};
use banyan_wire::ids::{EXTENT_PAGES, Epoch, ExtentNumber, NodeId, RequestNumber, Run};

use super::timer::Timer;
use super::{Conduct, Contents, Extents, Machine, Mutation, Outcome, Output, Outputs, Problem, Token};

/// Both ends of sweeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sweeps {
    /// At home, by owner; the first of each is under way.
    queues: BTreeMap<NodeId, VecDeque<Sweep>>,
    /// At an owner: the last sweep carried out, and how many extents that were.
    last: (RequestNumber, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sweep {
    token: Token,
    extents: Extents,
    /// Zero until it is sent, for the rest of a sweep is sent before those that have waited longer.
    request: RequestNumber,
}

impl<C: Conduct> Machine<C> {
    /// Has a stretch of untouched extents swept by their first owner. Returns how many sweeps that takes.
    pub(super) fn sweep(
        &mut self,
        token: Token,
        owner: NodeId,
        mut extents: Extents,
        outputs: &mut Outputs,
    ) -> u32 {
        let mut sweeps = 0;
        while extents.count > 0 {
            let piece = Extents { count: extents.count.min(SWEEP_EXTENTS_MAX), ..extents };
            let queue = self.sweeps.queues.entry(owner).or_default();
            queue.push_back(Sweep { token, extents: piece, request: RequestNumber(0) });
            if queue.len() == 1 {
                self.sweep_next(owner, outputs);
            }
            sweeps += 1;
            extents.first.0 += piece.count;
            extents.count -= piece.count;
        }
        sweeps
    }

    /// Sends the first sweep of an owner, with the next number: the owner ignores lower ones.
    fn sweep_next(&mut self, owner: NodeId, outputs: &mut Outputs) {
        let Some(sweep) = self.sweeps.queues.get_mut(&owner).and_then(VecDeque::front_mut) else { return };
        self.last_request.0 += 1;
        sweep.request = self.last_request;
        self.sweep_again(owner, outputs);
    }

    /// Sends the first sweep of an owner, perhaps once more.
    pub(super) fn sweep_again(&mut self, owner: NodeId, outputs: &mut Outputs) {
        let Some(sweep) = self.sweeps.queues.get(&owner).and_then(VecDeque::front).copied() else { return };
        let Extents { first: extent, count: extents } = sweep.extents;
        let (_, epoch) = self.first_owner(extent);
        self.arm(Timer::Sweep(owner));
        let message = Message::Sweep { extent, extents, epoch, request: sweep.request };
        self.post(owner, message, Contents::None, outputs);
    }

    /// At home: an owner says how far it came.
    pub(super) fn swept(
        &mut self,
        from: NodeId,
        swept: u64,
        request: RequestNumber,
        outputs: &mut Outputs,
    ) -> Outcome {
        let any_request = self.conduct.makes(Mutation::BelieveOldSwept);
        let forget_rest = self.conduct.makes(Mutation::ForgetSweepRest);
        let Some(queue) = self.sweeps.queues.get_mut(&from) else { return Ok(()) };
        let under_way = queue.front().copied().filter(|sweep| sweep.request == request || any_request);
        let Some(Sweep { token, extents, .. }) = under_way else { return Ok(()) };
        let Some(rest) = extents.count.checked_sub(swept) else {
            return Err(Problem::Peer(format!("{from} swept {swept} extents, asked for {extents:?}")));
        };
        queue.pop_front();
        let rest = if forget_rest { rest.min(1) } else { rest };
        if rest > 1 {
            let first = ExtentNumber(extents.first.0 + swept + 1);
            let extents = Extents { first, count: rest - 1 };
            queue.push_front(Sweep { token, extents, request: RequestNumber(0) });
        }
        if queue.is_empty() {
            self.sweeps.queues.remove(&from);
        }
        self.timers.cancel(Timer::Sweep(from));
        self.sweep_next(from, outputs);
        if rest > 0 {
            self.discard_extent(token, ExtentNumber(extents.first.0 + swept).run(), outputs);
        }
        // What took the place of the sweep counts in its stead.
        self.discard_progressed(token, rest.min(2) as u32, outputs);
        Ok(())
    }

    /// At home, which has just become the first owner in the place of a node that left: what that one did not
    /// sweep is zero anyway, but for extents that are known.
    pub(super) fn sweep_anew(&mut self, owner: NodeId, outputs: &mut Outputs) {
        self.timers.cancel(Timer::Sweep(owner));
        for Sweep { token, extents, .. } in self.sweeps.queues.remove(&owner).unwrap_or_default() {
            let known = self.extents.range(extents.first..ExtentNumber(extents.first.0 + extents.count));
            let known: Vec<ExtentNumber> = known.map(|(number, _)| *number).collect();
            for number in &known {
                self.discard_extent(token, number.run(), outputs);
            }
            self.discard_progressed(token, known.len() as u32, outputs);
        }
    }

    /// At the first owner: home says that extents become zero.
    pub(super) fn sweep_here(
        &mut self,
        from: NodeId,
        extents: Extents,
        epoch: Epoch,
        request: RequestNumber,
        outputs: &mut Outputs,
    ) -> Outcome {
        if from != self.policy.home {
            return Err(Problem::Peer(format!("{from} is not the home and swept {extents:?}")));
        }
        let (last, _) = self.sweeps.last;
        if request < last {
            return Ok(());
        }
        if request > last || self.conduct.makes(Mutation::RepeatSweep) {
            let shared_too = self.conduct.makes(Mutation::SweepShared);
            let natives = self
                .stretches(extents)
                .take_while(|(extents, knowledge)| shared_too || self.is_native(extents.first, *knowledge));
            let count = natives.map(|(extents, _)| extents.count).sum();
            self.sweeps.last = (request, count);
            let swept = extents.first..ExtentNumber(extents.first.0 + count);
            for (_, extent) in self.extents.range_mut(swept) {
                extent.discarded = request;
            }
            if count > 0 {
                let run = Run { first: extents.first.first_page(), count: count as u32 * EXTENT_PAGES };
                outputs.push(Output::Invalidate { run });
            }
        }
        let (_, swept) = self.sweeps.last;
        self.post(
            from,
            Message::Swept { extent: extents.first, swept, epoch, request },
            Contents::None,
            outputs,
        );
        Ok(())
    }
}
