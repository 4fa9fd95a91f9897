//! The part of a node that owns extents: it keeps their directory and decides who may have which page when.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use banyan_wire::coherence::{Holders, Message};
use banyan_wire::ids::{
    Access, Epoch, ExtentNumber, Microseconds, NodeId, NodeSet, PageNumber, Run, Transaction,
};

use super::extent::{Asked, Directory, Entry, Held, Purpose, Transfer};
use super::timer::Timer;
use super::{Conduct, Contents, Machine, Mutation, Outcome, Output, Outputs, Problem, QUEUE_MAX};

/// What can be done about a page that a node asked for.
#[derive(Clone, Copy, PartialEq)]
enum Plan {
    /// It has to wait: for a transfer, or until a time.
    Wait(Option<Microseconds>),
    /// The requester has it.
    Nothing,
    /// Invalidate it at `targets`, then let `source` send it; without a source the requester has the bytes.
    Transfer { source: Option<NodeId>, targets: NodeSet },
}

impl<C: Conduct> Machine<C> {
    pub(super) fn get(&mut self, asked: Asked, epoch: Epoch, outputs: &mut Outputs) -> Outcome {
        if self.retirement.is_dismissed(asked.requester) {
            return Ok(());
        }
        let number = asked.run.first.extent();
        let serves_anyway = self.conduct.makes(Mutation::ServeAfterHandOver);
        let extent = self.extent(number);
        let serves = extent.owned || (serves_anyway && extent.directory.is_some());
        if !serves {
            // With a newer epoch than ours, the requester knows more than we: our directory is still on its
            // way.
            if epoch <= extent.epoch {
                let message = Message::Located { extent: number, epoch: extent.epoch, owner: extent.owner };
                self.post(asked.requester, message, Contents::None, outputs);
            }
            return Ok(());
        }
        let (me, origin, now, policy, turn) = (self.me, self.me, self.now, self.policy, self.turn);
        let extent = self.extent(number);
        let Some(directory) = &mut extent.directory else {
            if asked.requester == me {
                return Err(Problem::Own(format!("asked itself for {:?}, which is all its own", asked.run)));
            }
            let mut directory = Box::new(Directory::new(origin));
            directory.sharing = true;
            directory.queue.push_back(asked);
            extent.directory = Some(directory);
            outputs.push(Output::Share { extent: number });
            return Ok(());
        };
        let same = |transfer: &Transfer| {
            matches!(transfer.purpose, Purpose::Access { requester, request, .. }
                if requester == asked.requester && request == asked.request)
        };
        if directory.transfers.values().any(same) {
            // It is being served; the transfer's own timer sees to lost messages.
            return Ok(());
        }
        let waits = |other: &&mut Asked| other.requester == asked.requester && other.request == asked.request;
        if let Some(waiting) = directory.queue.iter_mut().find(waits) {
            *waiting = asked;
            return Ok(());
        }
        if asked.demand
            && let Some(entry) = directory.entries.get_mut(asked.run.first.index())
        {
            entry.hold.asked(asked.requester, asked.access, asked.ran, &policy);
        }
        let behind = turn.node(now) != Some(asked.requester)
            && directory.queue.iter().any(|other| other.run.first == asked.run.first);
        let closed = directory.sharing || directory.successor.is_some();
        if !closed && !behind && self.start(number, &asked, outputs) {
            return Ok(());
        }
        let extent = self.extent(number);
        let epoch = extent.epoch;
        let Some(directory) = &mut extent.directory else { return Ok(()) };
        if !asked.demand && !closed {
            let message = Message::Decline { run: asked.run, epoch, request: asked.request };
            self.post(asked.requester, message, Contents::None, outputs);
        } else if directory.queue.len() < QUEUE_MAX {
            directory.queue.push_back(asked);
        }
        Ok(())
    }

    /// The driver has registered an extent.
    pub(super) fn shared(&mut self, number: ExtentNumber, empty: bool, outputs: &mut Outputs) -> Outcome {
        let give = empty && self.policy.give_empty;
        let me = self.me;
        let extent = self.extent(number);
        let Some(directory) = extent.directory.as_mut().filter(|directory| directory.sharing) else {
            return Err(Problem::Own(format!("{number:?} was said to be shared, unasked")));
        };
        directory.sharing = false;
        let first = directory.queue.iter().find(|asked| asked.demand && asked.requester != me);
        if give
            && directory.discard.is_none()
            && let Some(asker) = directory.successor.or(first.map(|asked| asked.requester))
        {
            // Nothing was ever written here, so that the asker may as well have begun with it.
            directory.origin = asker;
            directory.successor = Some(asker);
            extent.untouched = Held::Absent;
            for page in &mut extent.pages {
                page.held = Held::Absent;
            }
            return self.leave_if_quiet(number, outputs);
        }
        // Local threads that faulted meanwhile have had their pages all along.
        for page in number.run().pages().take(extent.pages.len()) {
            if self.extent(number).page(page).wanted.is_some() {
                self.satisfy(page);
                outputs.push(Output::Wake { run: Run::one(page), access: Access::Write });
            }
        }
        self.finish_acquisitions(outputs);
        self.serve_queue(number, outputs)
    }

    /// Looks at everything that waits at this extent: a discard, a hand-over, requests in the order of their
    /// arrival.
    pub(super) fn serve_queue(&mut self, number: ExtentNumber, outputs: &mut Outputs) -> Outcome {
        self.timers.cancel(Timer::Queue(number));
        self.start_discard(number, outputs);
        let Some(directory) = &mut self.extent(number).directory else { return Ok(()) };
        if directory.sharing {
            return Ok(());
        }
        if directory.successor.is_some() {
            return self.leave_if_quiet(number, outputs);
        }
        let queue = core::mem::take(&mut directory.queue);
        let mut blocked: Vec<PageNumber> = Vec::new();
        for asked in queue {
            let first = asked.run.first;
            let waits = blocked.contains(&first) && self.turn.node(self.now) != Some(asked.requester);
            if waits || !self.start(number, &asked, outputs) {
                blocked.push(first);
                if let Some(directory) = &mut self.extent(number).directory {
                    directory.queue.push_back(asked);
                }
            }
        }
        Ok(())
    }

    /// Starts to serve a request, with as many pages as can be treated alike. False if its first page has to
    /// wait.
    fn start(&mut self, number: ExtentNumber, asked: &Asked, outputs: &mut Outputs) -> bool {
        let (me, now, policy, turn) = (self.me, self.now, self.policy, self.turn);
        let ignore_busy = self.conduct.makes(Mutation::IgnoreBusy);
        let ignore_hold = self.conduct.makes(Mutation::IgnoreHold);
        let trust = self.conduct.makes(Mutation::TrustDirectoryCopy);
        let Some(extent) = self.extents.get_mut(&number) else { return true };
        let epoch = extent.epoch;
        let Some(directory) = &mut extent.directory else { return true };
        let asked = &Asked { access: wiser_access(directory, asked, policy.migrates_after), ..*asked };
        let plan = |page| {
            let entry = directory.entry(page);
            let discards = directory.discard.is_some_and(|(run, _)| run.contains(page));
            if (entry.busy != Transaction(0) && !ignore_busy) || discards {
                return Plan::Wait(None);
            }
            match plan(&entry, asked, trust) {
                plan @ Plan::Transfer { .. } if !ignore_hold => {
                    let free = turn.frees(&entry, asked, now, &policy);
                    if free > now { Plan::Wait(Some(free)) } else { plan }
                }
                plan => plan,
            }
        };
        let first = plan(asked.run.first);
        let (source, targets) = match first {
            Plan::Transfer { source, targets } => (source, targets),
            Plan::Wait(until) => {
                if let Some(until) = until.filter(|_| asked.demand) {
                    let due = self.timers.deadline(Timer::Queue(number)).unwrap_or(until).min(until);
                    self.timers.arm(Timer::Queue(number), due);
                }
                return false;
            }
            Plan::Nothing => {
                let message = Message::Decline { run: asked.run, epoch, request: asked.request };
                self.post(asked.requester, message, Contents::None, outputs);
                return true;
            }
        };
        let alike = |page: &PageNumber| {
            *page == asked.run.first
                || (plan(*page) == first && !directory.queue.iter().any(|other| other.run.first == *page))
        };
        let count = asked.run.pages().take_while(alike).count() as u32;
        let hold = directory.entry(asked.run.first).hold;
        if asked.demand && hold.is_fought_over() {
            self.turn.served(asked.requester, now, hold.length(&policy), &policy);
            if self.conduct.makes(Mutation::EndlessTurn) {
                self.turn.never_ends();
            }
        }
        let run = Run { count, ..asked.run };
        extent.last.0 += 1;
        let transaction = extent.last;
        for page in run.pages() {
            let entry = directory.entry_mut(page);
            if let Holders::Writer(writer) = entry.holders {
                entry.hold.taken(writer);
            }
        }
        if asked.access == Access::Read && source == Some(me) {
            // No node waits for this: see the head of the parent module.
            for page in run.pages() {
                let entry = directory.entry_mut(page);
                let nodes = match entry.holders {
                    Holders::Writer(_) => NodeSet::only(me),
                    Holders::Readers { nodes, .. } => nodes,
                };
                entry.holders = Holders::Readers { nodes: nodes.with(asked.requester), sure: me };
            }
            let order = Message::Forward {
                run,
                access: Access::Read,
                epoch,
                transaction,
                requester: asked.requester,
                request: asked.request,
                confirm: false,
            };
            self.post(me, order, Contents::None, outputs);
            return true;
        }
        for page in run.pages() {
            directory.entry_mut(page).busy = transaction;
        }
        let purpose = Purpose::Access {
            access: asked.access,
            requester: asked.requester,
            request: asked.request,
            source,
        };
        let waiting = if self.conduct.makes(Mutation::SkipInvalidate) { NodeSet::EMPTY } else { targets };
        self.begin(number, transaction, Transfer { run, purpose, waiting }, outputs);
        true
    }

    /// Notes a transfer and sends its first messages.
    pub(super) fn begin(
        &mut self,
        number: ExtentNumber,
        transaction: Transaction,
        mut transfer: Transfer,
        outputs: &mut Outputs,
    ) {
        self.send_invalidations(number, transaction, &transfer, outputs);
        if self.conduct.makes(Mutation::GrantBeforeAcknowledge) && !transfer.waiting.is_empty() {
            transfer.waiting = NodeSet::EMPTY;
        }
        if transfer.waiting.is_empty() {
            self.send_supply(number, transaction, &transfer, outputs);
        }
        self.arm(Timer::Transfer(number, transaction));
        if let Some(directory) = &mut self.extent(number).directory {
            directory.transfers.insert(transaction, transfer);
        }
    }

    fn send_invalidations(
        &mut self,
        number: ExtentNumber,
        transaction: Transaction,
        transfer: &Transfer,
        outputs: &mut Outputs,
    ) {
        let epoch = self.extent(number).epoch;
        let discard = matches!(transfer.purpose, Purpose::Discard { .. });
        for target in transfer.waiting.iter() {
            let message = Message::Invalidate { run: transfer.run, epoch, transaction, discard };
            self.post(target, message, Contents::None, outputs);
        }
    }

    /// No other node has the pages any more: have them sent, or say that they may be used.
    fn send_supply(
        &mut self,
        number: ExtentNumber,
        transaction: Transaction,
        transfer: &Transfer,
        outputs: &mut Outputs,
    ) {
        let Purpose::Access { access, requester, request, source } = transfer.purpose else { return };
        let (epoch, owner, run) = (self.extent(number).epoch, self.me, transfer.run);
        if let Some(source) = source {
            let message =
                Message::Forward { run, access, epoch, transaction, requester, request, confirm: true };
            self.post(source, message, Contents::None, outputs);
        } else {
            let message = Message::Grant {
                run,
                access,
                epoch,
                transaction,
                owner,
                request,
                contents: false,
                confirm: true,
            };
            self.post(requester, message, Contents::None, outputs);
        }
    }

    pub(super) fn retry_transfer(
        &mut self,
        number: ExtentNumber,
        transaction: Transaction,
        outputs: &mut Outputs,
    ) {
        let Some(directory) = &self.extent(number).directory else { return };
        let Some(transfer) = directory.transfers.get(&transaction).cloned() else { return };
        self.arm(Timer::Transfer(number, transaction));
        if transfer.waiting.is_empty() {
            self.send_supply(number, transaction, &transfer, outputs);
        } else {
            self.send_invalidations(number, transaction, &transfer, outputs);
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        from: NodeId,
        number: ExtentNumber,
        transaction: Transaction,
        outputs: &mut Outputs,
    ) -> Outcome {
        let Some(directory) = &mut self.extent(number).directory else { return Ok(()) };
        let Some(transfer) = directory.transfers.get_mut(&transaction) else { return Ok(()) };
        if !transfer.waiting.contains(from) {
            return Ok(());
        }
        transfer.waiting = transfer.waiting.without(from);
        if !transfer.waiting.is_empty() {
            return Ok(());
        }
        let transfer = transfer.clone();
        match transfer.purpose {
            Purpose::Access { .. } => {
                self.send_supply(number, transaction, &transfer, outputs);
                Ok(())
            }
            Purpose::Discard { request } => {
                self.finish_discard(number, transaction, transfer.run, request, outputs)
            }
        }
    }

    /// A grant has been carried out: news for the node that gave the bytes away, and for the owner.
    pub(super) fn done(
        &mut self,
        from: NodeId,
        run: Run,
        transaction: Transaction,
        outputs: &mut Outputs,
    ) -> Outcome {
        let number = run.first.extent();
        self.release(from, number, transaction, outputs);
        let (me, now, policy) = (self.me, self.now, self.policy);
        let migrates_after = policy.migrates_after;
        let Some(directory) = &mut self.extent(number).directory else { return Ok(()) };
        let Some(transfer) = directory.transfers.get(&transaction) else { return Ok(()) };
        let Purpose::Access { access, requester, source, .. } = transfer.purpose else {
            return Err(Problem::Peer(format!(
                "{from} says that it was granted {run:?}, which was discarded"
            )));
        };
        if (from != requester && Some(from) != source) || !transfer.waiting.is_empty() {
            return Err(Problem::Peer(format!(
                "{from} says that {transaction:?} of {run:?} is done, which it cannot know"
            )));
        }
        let run = transfer.run;
        directory.transfers.remove(&transaction);
        for page in run.pages() {
            let entry = directory.entry_mut(page);
            entry.busy = Transaction(0);
            let (before, sure) = match entry.holders {
                Holders::Writer(writer) => (NodeSet::only(writer), writer),
                Holders::Readers { nodes, sure } => (nodes, sure),
            };
            if access == Access::Write {
                let moved = before != NodeSet::only(requester);
                let readers = matches!(entry.holders, Holders::Readers { .. }).then_some(before);
                entry.migration.written(migrates_after, requester, readers.unwrap_or(NodeSet::EMPTY));
                entry.moves = entry.moves.saturating_add(u32::from(moved));
                entry.holders = Holders::Writer(requester);
                entry.written = transaction;
                entry.granted = Some(now);
            } else {
                // The owner's own copy serves the next reader with a hop less.
                let sure = if requester == me { me } else { sure };
                entry.holders = Holders::Readers { nodes: before.with(requester), sure };
            }
        }
        self.timers.cancel(Timer::Transfer(number, transaction));
        if self.conduct.makes(Mutation::SkipQueue) {
            return Ok(());
        }
        self.serve_queue(number, outputs)
    }
}

/// The access that is granted: that asked for, or more if the page is one that its readers soon write.
fn wiser_access(directory: &mut Directory, asked: &Asked, migrates_after: u8) -> Access {
    let page = asked.run.first;
    let written_elsewhere =
        matches!(directory.entry(page).holders, Holders::Writer(writer) if writer != asked.requester);
    let one_page_read = asked.access == Access::Read && asked.demand && asked.run.count == 1;
    if one_page_read && written_elsewhere && directory.entry_mut(page).migration.grants_write(migrates_after)
    {
        Access::Write
    } else {
        asked.access
    }
}

/// What this request needs, if nothing is in the way.
fn plan(entry: &Entry, asked: &Asked, trust_directory: bool) -> Plan {
    let requester = asked.requester;
    match (entry.holders, asked.access) {
        (Holders::Writer(writer), _) if writer == requester => Plan::Nothing,
        (Holders::Writer(writer), _) => Plan::Transfer { source: Some(writer), targets: NodeSet::EMPTY },
        (Holders::Readers { sure, .. }, Access::Read) if sure == requester => Plan::Nothing,
        // The requester may be in the directory already: then its grant may have come too late to be used.
        (Holders::Readers { sure, .. }, Access::Read) => {
            Plan::Transfer { source: Some(sure), targets: NodeSet::EMPTY }
        }
        (Holders::Readers { nodes, sure }, Access::Write) => {
            // A copy newer than the last write is certain: nothing can have taken it away since.
            let recent = asked.have > Transaction(0) && asked.have >= entry.written;
            let has_copy = nodes.contains(requester) && (requester == sure || recent || trust_directory);
            let source = if has_copy { None } else { Some(sure) };
            Plan::Transfer { source, targets: nodes.without(requester).without(source.unwrap_or(requester)) }
        }
    }
}
