//! Making pages zero everywhere: for munmap and MADV_DONTNEED.
//!
//! Home asks each extent's owner, for one extent one discard at a time, with ascending numbers so that a
//! repetition is known for one. For the owner a discard is a transfer like any other: it waits for those
//! under way and has its own number, so that nothing granted before can come back after it. Then the owner
//! holds every page for writing, as holes.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;

use banyan_wire::coherence::{Holders, Message};
use banyan_wire::ids::{
    Access, Epoch, ExtentNumber, Microseconds, NodeId, NodeSet, RequestNumber, Run, Transaction,
};

use super::extent::{Held, Purpose, Transfer};
use super::timer::Timer;
use super::{Conduct, Contents, Machine, Mutation, Outcome, Output, Outputs, Problem, Token};

/// The discards of home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Discards {
    /// How many pieces of each are not complete.
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
        let mut here: Option<Run> = None;
        for piece in run.by_extent() {
            let number = piece.first.extent();
            let native = match self.extents.get(&number) {
                Some(extent) => extent.is_native(),
                None => self.first_owner(number).0 == self.me,
            };
            if native && !self.discards.pieces.contains_key(&number) {
                here = match here {
                    Some(before) if before.end() == piece.first => {
                        Some(Run { count: before.count + piece.count, ..before })
                    }
                    before => {
                        outputs.extend(before.map(|run| Output::Invalidate { run }));
                        Some(piece)
                    }
                };
                continue;
            }
            left += 1;
            self.last_request.0 += 1;
            let piece = Piece { token, run: piece, request: self.last_request };
            let queue = self.discards.pieces.entry(number).or_default();
            queue.push_back(piece);
            if queue.len() == 1 {
                self.discard_again(number, outputs);
            }
        }
        outputs.extend(here.map(|run| Output::Invalidate { run }));
        if left == 0 {
            outputs.push(Output::Discarded { token });
        } else {
            self.discards.left.insert(token, left);
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

    pub(super) fn retry_discard(&mut self, number: ExtentNumber, outputs: &mut Outputs) {
        self.discard_again(number, outputs);
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
        if let Some(left) = self.discards.left.get_mut(&piece.token) {
            *left -= 1;
            if *left == 0 {
                self.discards.left.remove(&piece.token);
                outputs.push(Output::Discarded { token: piece.token });
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
                entry.held_until = Microseconds(0);
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
