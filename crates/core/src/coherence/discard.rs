//! Making pages zero everywhere: for munmap and MADV_DONTNEED.
//!
//! Home asks each extent's owner, for one extent one discard at a time, with ascending numbers so that a
//! repetition is known for one. For the owner a discard is a transfer like any other: it waits for those
//! under way and has its own number, so that nothing granted before can come back after it. Then the owner
//! holds every page for writing, as holes.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;

use banyan_wire::coherence::{Holders, Message};
use banyan_wire::ids::{
    Access, EXTENT_PAGES, Epoch, ExtentNumber, NodeId, NodeSet, PageNumber, RequestNumber, Run, Transaction,
};

use super::extent::{Held, Purpose, Transfer};
use super::stretch::Knowledge;
use super::timer::Timer;
use super::{Conduct, Contents, Extents, Machine, Mutation, Outcome, Output, Outputs, Problem, Token};

/// The discards of home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Discards {
    /// How many pieces and sweeps of each are not complete.
    left: BTreeMap<Token, u32>,
    /// The pieces by extent; the first of each is under way. As many as the driver has asked for.
    pieces: BTreeMap<ExtentNumber, VecDeque<Piece>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Piece {
    token: Token,
    run: Run,
    request: RequestNumber,
}

impl<C: Conduct> Machine<C> {
    pub(super) fn discard(&mut self, token: Token, run: Run, outputs: &mut Outputs) {
        let mut left = 0;
        let mut here: Vec<Run> = Vec::new();
        let numbers = Extents {
            first: run.first.extent(),
            count: run.end().0.div_ceil(u64::from(EXTENT_PAGES)) - run.first.extent().0,
        };
        let stretches: Vec<(Extents, Knowledge)> = self.stretches(numbers).collect();
        for (extents, knowledge) in stretches {
            let first = extents.first.first_page().max(run.first);
            let end = ExtentNumber(extents.first.0 + extents.count).first_page().min(run.end());
            let part = Run { first, count: (end.0 - first.0) as u32 };
            if self.is_native(extents.first, knowledge) && !self.discards.pieces.contains_key(&extents.first)
            {
                match here.last_mut() {
                    Some(before) if before.end() == part.first => before.count += part.count,
                    _ => here.push(part),
                }
                continue;
            }
            let Knowledge::Untouched { owner } = knowledge else {
                self.discard_extent(token, part, outputs);
                left += 1;
                continue;
            };
            // Only whole extents can be swept.
            for piece in pieces_of_stretch(part) {
                if piece.count < EXTENT_PAGES {
                    self.discard_extent(token, piece, outputs);
                    left += 1;
                } else {
                    let count = u64::from(piece.count / EXTENT_PAGES);
                    let extents = Extents { first: piece.first.extent(), count };
                    left += self.sweep(token, owner, extents, outputs);
                }
            }
        }
        outputs.extend(here.into_iter().map(|run| Output::Invalidate { run }));
        if left == 0 {
            outputs.push(Output::Discarded { token });
        } else {
            self.discards.left.insert(token, left);
        }
    }

    /// Has pages of one extent discarded by its owner.
    pub(super) fn discard_extent(&mut self, token: Token, run: Run, outputs: &mut Outputs) {
        let number = run.first.extent();
        self.last_request.0 += 1;
        let queue = self.discards.pieces.entry(number).or_default();
        queue.push_back(Piece { token, run, request: self.last_request });
        if queue.len() == 1 {
            self.discard_again(number, outputs);
        }
    }

    /// Sends the first piece of an extent to its owner.
    pub(super) fn discard_again(&mut self, number: ExtentNumber, outputs: &mut Outputs) {
        let Some(piece) = self.discards.pieces.get(&number).and_then(VecDeque::front).copied() else {
            return;
        };
        let extent = self.extent(number);
        let (owner, epoch) = (extent.owner, extent.epoch);
        self.arm(Timer::Discard(number));
        let message = Message::Discard { run: piece.run, epoch, request: piece.request };
        self.post(owner, message, Contents::None, outputs);
    }

    /// At home: an owner says that a piece is done.
    pub(super) fn discarded(&mut self, run: Run, request: RequestNumber, outputs: &mut Outputs) {
        let number = run.first.extent();
        let Some(queue) = self.discards.pieces.get_mut(&number) else { return };
        let Some(piece) = queue.front().copied().filter(|piece| piece.request == request) else { return };
        queue.pop_front();
        if queue.is_empty() {
            self.discards.pieces.remove(&number);
        }
        self.timers.cancel(Timer::Discard(number));
        self.discard_again(number, outputs);
        self.discard_progressed(piece.token, 0, outputs);
    }

    /// One part of a discard is done, and `more` have come instead.
    pub(super) fn discard_progressed(&mut self, token: Token, more: u32, outputs: &mut Outputs) {
        if let Some(left) = self.discards.left.get_mut(&token) {
            *left = *left + more - 1;
            if *left == 0 {
                self.discards.left.remove(&token);
                outputs.push(Output::Discarded { token });
            }
        }
    }

    /// At the owner: home says that pages become zero.
    pub(super) fn discard_here(
        &mut self,
        from: NodeId,
        run: Run,
        epoch: Epoch,
        request: RequestNumber,
        outputs: &mut Outputs,
    ) -> Outcome {
        if from != self.policy.home {
            return Err(Problem::Peer(format!("{from} is not the home and discarded {run:?}")));
        }
        let number = run.first.extent();
        let repeat = self.conduct.makes(Mutation::RepeatDiscard);
        let extent = self.extent(number);
        if !extent.owned {
            if epoch <= extent.epoch {
                let message = Message::Located { extent: number, epoch: extent.epoch, owner: extent.owner };
                self.post(from, message, Contents::None, outputs);
            }
            return Ok(());
        }
        let epoch = extent.epoch;
        if request <= extent.discarded && !repeat {
            self.post(from, Message::Discarded { run, epoch, request }, Contents::None, outputs);
            return Ok(());
        }
        let Some(directory) = &mut extent.directory else {
            extent.discarded = request;
            outputs.push(Output::Invalidate { run });
            self.post(from, Message::Discarded { run, epoch, request }, Contents::None, outputs);
            return Ok(());
        };
        let same = |transfer: &Transfer| transfer.purpose == Purpose::Discard { request };
        if directory.discard.is_none() && !directory.transfers.values().any(same) {
            directory.discard = Some((run, request));
            self.start_discard(number, outputs);
        }
        Ok(())
    }

    /// Starts the discard that waits, once no transfer of its pages is under way.
    pub(super) fn start_discard(&mut self, number: ExtentNumber, outputs: &mut Outputs) {
        let me = self.me;
        let only_here = self.conduct.makes(Mutation::DiscardOnlyHere);
        let extent = self.extent(number);
        let Some(directory) = &mut extent.directory else { return };
        let Some((run, request)) = directory.discard else { return };
        let busy = run.pages().any(|page| directory.entry(page).busy != Transaction(0));
        if busy || directory.sharing {
            return;
        }
        directory.discard = None;
        extent.last.0 += 1;
        let transaction = extent.last;
        let mut holders = NodeSet::EMPTY;
        for page in run.pages() {
            let entry = directory.entry_mut(page);
            entry.busy = transaction;
            holders.0 |= match entry.holders {
                Holders::Writer(writer) => NodeSet::only(writer).0,
                Holders::Readers { nodes, .. } => nodes.0,
            };
        }
        let waiting = if only_here { NodeSet::only(me) } else { holders };
        let purpose = Purpose::Discard { request };
        self.begin(number, transaction, Transfer { run, purpose, waiting }, outputs);
    }

    /// Every node has forgotten the pages.
    pub(super) fn finish_discard(
        &mut self,
        number: ExtentNumber,
        transaction: Transaction,
        run: Run,
        request: RequestNumber,
        outputs: &mut Outputs,
    ) -> Outcome {
        let (me, home) = (self.me, self.policy.home);
        let extent = self.extent(number);
        let epoch = extent.epoch;
        extent.discarded = extent.discarded.max(request);
        if let Some(directory) = &mut extent.directory {
            directory.transfers.remove(&transaction);
            for page in run.pages() {
                let entry = directory.entry_mut(page);
                entry.busy = Transaction(0);
                entry.holders = Holders::Writer(me);
                entry.written = transaction;
                entry.granted = None;
            }
        }
        self.timers.cancel(Timer::Transfer(number, transaction));
        for page in run.pages() {
            let state = self.extent(number).page_mut(page);
            state.held = Held::Exclusive;
            state.version = transaction;
            let wanted = state.wanted.is_some();
            self.satisfy(page);
            if wanted {
                outputs.push(Output::Wake { run: Run::one(page), access: Access::Write });
            }
        }
        self.finish_acquisitions(outputs);
        self.post(home, Message::Discarded { run, epoch, request }, Contents::None, outputs);
        self.serve_queue(number, outputs)
    }
}

/// Cuts a run into the part of an extent that it begins with, whole extents, and the part that it ends with.
fn pieces_of_stretch(run: Run) -> impl Iterator<Item = Run> {
    let extent = u64::from(EXTENT_PAGES);
    let whole = run.first.0.next_multiple_of(extent).min(run.end().0);
    let tail = (run.end().0 / extent * extent).max(whole);
    let bounds = [run.first.0, whole, tail, run.end().0];
    let pieces: [Run; 3] = core::array::from_fn(|at| Run {
        first: PageNumber(bounds[at]),
        count: (bounds[at + 1] - bounds[at]) as u32,
    });
    pieces.into_iter().filter(|piece| piece.count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_cut_at_its_first_and_last_extent() {
        let cut = |first, count| {
            let run = Run { first: PageNumber(first), count };
            pieces_of_stretch(run).map(|piece| (piece.first.0, piece.count)).collect::<Vec<_>>()
        };
        assert_eq!(cut(510, 3), [(510, 2), (512, 1)]);
        assert_eq!(cut(510, 1), [(510, 1)]);
        assert_eq!(cut(512, 1024), [(512, 1024)]);
        assert_eq!(cut(511, 1030), [(511, 1), (512, 1024), (1536, 5)]);
        assert_eq!(cut(513, 100), [(513, 100)]);
    }
}
