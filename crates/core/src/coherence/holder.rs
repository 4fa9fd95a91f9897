//! The part of a node that has pages and gives them, or their bytes, to others when the owner says so.

use alloc::format;
use alloc::vec::Vec;

use banyan_wire::coherence::Message;
use banyan_wire::ids::{Access, Epoch, ExtentNumber, NodeId, PageNumber, RequestNumber, Run, Transaction};

use super::extent::{Held, Retained, runs};
use super::timer::Timer;
use super::{Conduct, Contents, Machine, Mutation, Outcome, Output, Outputs, Problem};

/// A [`Message::Forward`], which may come from this node as the owner.
pub(super) struct Order {
    pub(super) owner: NodeId,
    pub(super) run: Run,
    pub(super) access: Access,
    pub(super) epoch: Epoch,
    pub(super) transaction: Transaction,
    pub(super) requester: NodeId,
    pub(super) request: RequestNumber,
    pub(super) confirm: bool,
}

impl<C: Conduct> Machine<C> {
    pub(super) fn forward(&mut self, order: &Order, outputs: &mut Outputs) -> Outcome {
        let Order { owner, run, access, epoch, transaction, requester, .. } = *order;
        let number = run.first.extent();
        self.learn(number, epoch, owner, outputs);
        let known = self.extent(number);
        if epoch < known.epoch {
            // A repetition by a former owner, which was replaced only after the transfer was complete.
            return Ok(());
        }
        if known.retained.contains_key(&transaction) {
            self.send_retained(number, transaction, outputs);
            return Ok(());
        }
        if run.pages().any(|page| known.page(page).version > transaction) {
            // Later transfers began, so that this one is complete.
            return Ok(());
        }
        if run.pages().any(|page| known.page(page).version == transaction) {
            // Done before, and the owner does not know how it ended: tell the requester, or the owner, again.
            if access == Access::Read {
                self.send_grant(order, Contents::Replica, outputs);
            } else {
                let done = Message::Done { run, epoch, transaction };
                self.post(owner, done, Contents::None, outputs);
            }
            return Ok(());
        }
        if let Some(page) = run.pages().find(|page| known.page(*page).held == Held::Absent) {
            return Err(Problem::Peer(format!(
                "{owner} ordered {page:?} to be sent to {requester} for {}, but it is not here",
                Self::access_name(access)
            )));
        }
        if requester == self.me {
            return Err(Problem::Peer(format!("{owner} ordered {run:?} to be sent to where it is")));
        }
        self.supply(order, outputs);
        Ok(())
    }

    /// Sends pages to their requester. The order of the outputs matters: a page is protected before it is
    /// read, and kept before it is dropped, and dropped before the grant leaves.
    fn supply(&mut self, order: &Order, outputs: &mut Outputs) {
        let Order { run, access, transaction, .. } = *order;
        let (number, now) = (run.first.extent(), self.now);
        let late_protection = self.conduct.makes(Mutation::CopyBeforeProtect);
        let keep_page = self.conduct.makes(Mutation::KeepGivenPage);
        let late_drop = self.conduct.makes(Mutation::GrantBeforeDrop);
        let forget = self.conduct.makes(Mutation::ForgetRetention);
        let extent = self.extent(number);
        let writable = |page| (extent.page(page).held == Held::Exclusive).then_some(());
        let downgrades: Vec<Run> = runs(run, writable).map(|(run, ())| run).collect();
        for page in run.pages() {
            let state = extent.page_mut(page);
            state.version = transaction;
            if state.held == Held::Exclusive {
                state.lost = now;
            }
            state.held = match access {
                Access::Read => Held::Shared,
                Access::Write if keep_page => state.held,
                Access::Write => Held::Absent,
            };
        }
        let protect = |outputs: &mut Outputs| {
            outputs.extend(downgrades.iter().map(|run| Output::Downgrade { run: *run }));
        };
        if !late_protection {
            protect(outputs);
        }
        match access {
            Access::Read => self.send_grant(order, Contents::Replica, outputs),
            Access::Write => {
                outputs.push(Output::Retain { run, transaction });
                if !forget {
                    self.extent(number).retained.insert(
                        transaction,
                        Retained {
                            run,
                            requester: order.requester,
                            request: order.request,
                            owner: order.owner,
                            epoch: order.epoch,
                        },
                    );
                    // The owner asks again; if it is the holder too, it would only do so twice.
                    if order.owner != self.me {
                        self.arm(Timer::Retained(number, transaction));
                    }
                }
                // Dropped before the grant leaves: the requester may write as soon as it has it, and until
                // the page is gone from here its old bytes can be read.
                if !keep_page && !late_drop {
                    outputs.push(Output::Invalidate { run });
                }
                self.send_grant(order, Contents::Retained, outputs);
                if late_drop {
                    outputs.push(Output::Invalidate { run });
                }
                if forget {
                    outputs.push(Output::Release { run, transaction });
                }
            }
        }
        if late_protection {
            protect(outputs);
        }
    }

    fn send_grant(&mut self, order: &Order, contents: Contents, outputs: &mut Outputs) {
        let message = Message::Grant {
            run: order.run,
            access: order.access,
            epoch: order.epoch,
            transaction: order.transaction,
            owner: order.owner,
            request: order.request,
            contents: true,
            confirm: order.confirm,
        };
        self.post(order.requester, message, contents, outputs);
    }

    fn send_retained(&mut self, number: ExtentNumber, transaction: Transaction, outputs: &mut Outputs) {
        let Some(kept) = self.extent(number).retained.get(&transaction).cloned() else { return };
        let message = Message::Grant {
            run: kept.run,
            access: Access::Write,
            epoch: kept.epoch,
            transaction,
            owner: kept.owner,
            request: kept.request,
            contents: true,
            confirm: true,
        };
        self.post(kept.requester, message, Contents::Retained, outputs);
    }

    pub(super) fn retry_retained(
        &mut self,
        number: ExtentNumber,
        transaction: Transaction,
        outputs: &mut Outputs,
    ) {
        if self.extent(number).retained.contains_key(&transaction) {
            self.arm(Timer::Retained(number, transaction));
            self.send_retained(number, transaction, outputs);
        }
    }

    /// What was given away has arrived.
    pub(super) fn release(
        &mut self,
        from: NodeId,
        number: ExtentNumber,
        transaction: Transaction,
        outputs: &mut Outputs,
    ) {
        let extent = self.extent(number);
        if extent.retained.get(&transaction).is_some_and(|kept| kept.requester == from)
            && let Some(kept) = extent.retained.remove(&transaction)
        {
            self.timers.cancel(Timer::Retained(number, transaction));
            outputs.push(Output::Release { run: kept.run, transaction });
        }
    }

    pub(super) fn invalidate(
        &mut self,
        from: NodeId,
        run: Run,
        epoch: Epoch,
        transaction: Transaction,
        discard: bool,
        outputs: &mut Outputs,
    ) -> Outcome {
        let number = run.first.extent();
        self.learn(number, epoch, from, outputs);
        let extent = self.extent(number);
        if epoch < extent.epoch {
            // A repetition by an owner who was replaced since.
            return Ok(());
        }
        let is_new = |page: PageNumber| extent.page(page).version < transaction;
        let written = |page: &PageNumber| extent.page(*page).held == Held::Exclusive;
        if !discard && let Some(page) = run.pages().filter(|page| is_new(*page)).find(written) {
            return Err(Problem::Peer(format!("{from} invalidated {page:?}, which is written here")));
        }
        let dropped = |page| (is_new(page) && extent.page(page).held != Held::Absent).then_some(());
        let dropped: Vec<Run> = runs(run, dropped).map(|(run, ())| run).collect();
        for page in run.pages() {
            let state = extent.page_mut(page);
            if state.version < transaction {
                state.version = transaction;
                state.held = Held::Absent;
            }
        }
        outputs.extend(dropped.into_iter().map(|run| Output::Invalidate { run }));
        let acknowledge = Message::Acknowledge { run, epoch, transaction };
        self.post(from, acknowledge, Contents::None, outputs);
        Ok(())
    }
}
