//! Giving the directory of an extent to another owner, and taking it.
//!
//! The old owner lets transfers end, starts no new ones, sends the directory at the next epoch, and from then
//! on points every node to the new owner. An extent that was empty when first asked for goes without a
//! directory, and is native at its new owner.

use alloc::boxed::Box;
use alloc::format;

use banyan_wire::coherence::{self as wire, Holders, Message};
use banyan_wire::ids::{Epoch, ExtentNumber, NodeId, Run, Transaction};

use super::extent::{Directory, Entry, Held, Leaving};
use super::hold::Hold;
use super::migration::Migration;
use super::timer::Timer;
use super::{Conduct, Contents, Machine, Mutation, Outcome, Output, Outputs, Problem};

impl<C: Conduct> Machine<C> {
    pub(super) fn hand_over(&mut self, number: ExtentNumber, to: NodeId, outputs: &mut Outputs) -> Outcome {
        let me = self.me;
        let extent = self.extent(number);
        if !extent.owned || to == me {
            return Ok(());
        }
        let Some(directory) = &mut extent.directory else {
            // Its pages are mapped natively here, which must not be so when another node owns them.
            let mut directory = Box::new(Directory::new(me));
            directory.sharing = true;
            directory.successor = Some(to);
            extent.directory = Some(directory);
            outputs.push(Output::Share { extent: number });
            return Ok(());
        };
        if directory.successor.is_none() {
            directory.successor = Some(to);
        }
        if directory.sharing { Ok(()) } else { self.leave_if_quiet(number, outputs) }
    }

    /// Hands the directory to its successor, if there is one and no transfer is under way.
    pub(super) fn leave_if_quiet(&mut self, number: ExtentNumber, outputs: &mut Outputs) -> Outcome {
        let serves_on = self.conduct.makes(Mutation::ServeAfterHandOver);
        let extent = self.extent(number);
        let Some(directory) = &mut extent.directory else { return Ok(()) };
        let quiet = directory.transfers.is_empty() && !directory.sharing && directory.discard.is_none();
        let Some(successor) = directory.successor.filter(|_| quiet) else { return Ok(()) };
        let queue = core::mem::take(&mut directory.queue);
        let page = |entry: &Entry| wire::DirectoryEntry { holders: entry.holders, written: entry.written };
        let handed = wire::Directory {
            last: extent.last,
            discarded: extent.discarded,
            origin: directory.origin,
            pages: directory.entries.iter().map(page).collect(),
        };
        if serves_on {
            directory.successor = None;
        } else {
            extent.directory = None;
        }
        extent.owned = false;
        extent.owner = successor;
        extent.epoch.0 += 1;
        let epoch = extent.epoch;
        extent.leaving = Some(Box::new(Leaving { to: successor, epoch, directory: handed }));
        self.timers.cancel(Timer::Queue(number));
        self.retry_hand_over(number, outputs);
        for asked in queue {
            let message = Message::Located { extent: number, epoch, owner: successor };
            if asked.requester != self.me && asked.requester != successor {
                self.post(asked.requester, message, Contents::None, outputs);
            }
        }
        // What local threads wait for is the new owner's business now.
        self.ask_again(number, outputs);
        self.discard_again(number, outputs);
        let pages = self.extent(number).pages.len() as u32;
        if pages > 0 {
            self.ask_wanted(Run { first: number.first_page(), count: pages }, outputs);
        }
        Ok(())
    }

    pub(super) fn retry_hand_over(&mut self, number: ExtentNumber, outputs: &mut Outputs) {
        if let Some(leaving) = self.extent(number).leaving.as_deref().cloned() {
            let Leaving { to, epoch, directory } = leaving;
            self.arm(Timer::HandOver(number));
            self.post(to, Message::Adopt { extent: number, epoch, directory }, Contents::None, outputs);
        }
    }

    pub(super) fn adopt(
        &mut self,
        from: NodeId,
        number: ExtentNumber,
        epoch: Epoch,
        handed: &wire::Directory,
        outputs: &mut Outputs,
    ) -> Outcome {
        let me = self.me;
        // Clocks of two nodes are never compared, so that every written page is held a little longer.
        let granted = Some(self.now);
        let any_epoch = self.conduct.makes(Mutation::SkipEpochCheck);
        let extent = self.extent(number);
        if epoch > extent.epoch || any_epoch {
            if extent.owned && !any_epoch {
                return Err(Problem::Peer(format!("{from} handed over {number:?}, which it does not own")));
            }
            extent.owned = true;
            extent.owner = me;
            extent.epoch = epoch;
            extent.last = handed.last;
            extent.discarded = handed.discarded;
            // If it was our own hand-over that went round, then it has certainly arrived.
            extent.leaving = None;
            self.timers.cancel(Timer::HandOver(number));
            if handed.origin == me && handed.pages.is_empty() {
                self.become_native(number, outputs);
            } else {
                let mut directory = Box::new(Directory::new(handed.origin));
                let entry = |page: &wire::DirectoryEntry| Entry {
                    holders: page.holders,
                    written: page.written,
                    busy: Transaction(0),
                    granted,
                    moves: 0,
                    migration: Migration::default(),
                    hold: Hold::default(),
                };
                directory.entries.extend(handed.pages.iter().map(entry));
                let extent = self.extent(number);
                for (page, entry) in number.run().pages().zip(&mut directory.entries) {
                    if let Holders::Readers { sure, .. } = &mut entry.holders
                        && extent.page(page).held == Held::Shared
                    {
                        *sure = me;
                    }
                }
                extent.directory = Some(directory);
                self.ask_again(number, outputs);
            }
            self.discard_again(number, outputs);
        }
        self.post(from, Message::Adopted { extent: number, epoch }, Contents::None, outputs);
        Ok(())
    }

    /// No page was ever in a transfer, and every page is this node's own.
    pub(super) fn become_native(&mut self, number: ExtentNumber, outputs: &mut Outputs) {
        self.close_all(number);
        let extent = self.extent(number);
        extent.untouched = Held::Exclusive;
        extent.directory = None;
        extent.pages.clear();
        outputs.push(Output::Native { extent: number });
        for page in number.run().pages() {
            self.satisfy_acquisitions(page, Held::Exclusive);
        }
        self.finish_acquisitions(outputs);
    }

    pub(super) fn adopted(&mut self, number: ExtentNumber, epoch: Epoch) {
        let extent = self.extent(number);
        if extent.leaving.as_ref().is_some_and(|leaving| leaving.epoch <= epoch) {
            extent.leaving = None;
            self.timers.cancel(Timer::HandOver(number));
        }
    }
}
