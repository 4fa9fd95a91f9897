//! The part of a node that gets pages for its own threads.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use banyan_wire::coherence::Message;
use banyan_wire::ids::{
    Access, Epoch, ExtentNumber, Microseconds, NodeId, PageNumber, RequestNumber, Run, Transaction,
};

use super::extent::{Held, runs};
use super::timer::Timer;
use super::{
    ACQUIRE_PAGES_MAX, Conduct, Contents, Machine, Mutation, Outcome, Output, Outputs, Problem, ThreadNumber,
    Token,
};

/// A request under way: [`Message::Get`] was sent, and neither a grant nor a decline came yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) run: Run,
    access: Access,
    need: Need,
}

/// Why pages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need {
    /// They may be needed soon.
    Ahead,
    /// A thread or an acquisition waits for the first of them. See [`Message::Get`].
    Demand { ran: Microseconds },
}

/// A batch of pages for a system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Acquisition {
    run: Run,
    access: Access,
    /// A bit for each page that has not been granted yet.
    missing: Vec<u64>,
    left: u32,
}

impl Acquisition {
    fn granted(&mut self, page: PageNumber, held: Held) {
        if self.run.contains(page) && held.allows(self.access) {
            let offset = page.0 - self.run.first.0;
            let (word, bit) = ((offset / 64) as usize, 1_u64 << (offset % 64));
            if self.missing[word] & bit != 0 {
                self.missing[word] &= !bit;
                self.left -= 1;
            }
        }
    }
}

/// A grant that arrived.
pub(super) struct Granted {
    pub(super) from: NodeId,
    pub(super) run: Run,
    pub(super) access: Access,
    pub(super) epoch: Epoch,
    pub(super) transaction: Transaction,
    pub(super) owner: NodeId,
    pub(super) request: RequestNumber,
    pub(super) contents: bool,
    pub(super) confirm: bool,
}

/// What a grant means for one page.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    Install,
    Upgrade,
    /// It has the page so already; threads may wait for it to be mapped.
    Wake,
}

impl<C: Conduct> Machine<C> {
    pub(super) fn fault(
        &mut self,
        thread: ThreadNumber,
        page: PageNumber,
        access: Access,
        limit: PageNumber,
        outputs: &mut Outputs,
    ) {
        let careless = self.conduct.makes(Mutation::WakeWhileSharing);
        let extent = self.extent(page.extent());
        if extent.is_native() {
            // The fault was on its way when the extent became native.
            outputs.push(Output::Wake { run: Run::one(page), access: Access::Write });
            return;
        }
        let sharing = extent.is_sharing();
        let state = extent.page_mut(page);
        let held = state.held;
        if sharing && !careless {
            // Nothing may be written until it is known whether the extent is empty.
            state.wanted = state.wanted.max(Some(access));
            return;
        }
        let need = self.need(thread, page);
        let plan = self.prefetch.fault(&self.policy, page, limit);
        if let Some(granted) = held.access().filter(|_| held.allows(access)) {
            outputs.push(Output::Wake { run: Run::one(page), access: granted });
        } else {
            let state = self.extent(page.extent()).page_mut(page);
            state.wanted = state.wanted.max(Some(access));
            self.ask(Run { first: page, count: plan.demand }, access, need, outputs);
        }
        let mut ahead = plan.ahead;
        while ahead.count > 0 {
            let window = Run { first: ahead.first, count: ahead.count.min(plan.window) };
            for piece in window.by_extent() {
                self.ask(piece, access, Need::Ahead, outputs);
            }
            ahead = Run { first: window.end(), count: ahead.count - window.count };
        }
    }

    /// Why a thread that has just faulted needs the page.
    fn need(&mut self, thread: ThreadNumber, page: PageNumber) -> Need {
        let now = self.now;
        let came = self.pace.waited_for(thread).map(|page| self.extent(page.extent()).page(page).came);
        self.pace.faulted(thread, page, came.unwrap_or_default(), now);
        let lost = self.extent(page.extent()).page(page).lost;
        Need::Demand { ran: self.pace.ran_since(thread, lost) }
    }

    pub(super) fn acquire(&mut self, token: Token, run: Run, access: Access, outputs: &mut Outputs) {
        let run = Run { count: run.count.min(ACQUIRE_PAGES_MAX), ..run };
        let mut acquisition =
            Acquisition { run, access, missing: vec![0; run.count.div_ceil(64) as usize], left: 0 };
        for page in run.pages() {
            let extent = self.extent(page.extent());
            let held = extent.page(page).held;
            if extent.is_native() || (held.allows(access) && !extent.is_sharing()) {
                continue;
            }
            let state = extent.page_mut(page);
            state.wanted = state.wanted.max(Some(access));
            let offset = page.0 - run.first.0;
            acquisition.missing[(offset / 64) as usize] |= 1 << (offset % 64);
            acquisition.left += 1;
        }
        self.acquisitions.insert(token, acquisition);
        for piece in run.by_extent() {
            self.ask_wanted(piece, outputs);
        }
        self.finish_acquisitions(outputs);
    }

    pub(super) fn finish_acquisitions(&mut self, outputs: &mut Outputs) {
        self.acquisitions.retain(|token, acquisition| {
            if acquisition.left == 0 {
                outputs.push(Output::Acquired { token: *token });
            }
            acquisition.left > 0
        });
    }

    /// The page is held here now: what waited for that much need not wait longer.
    pub(super) fn satisfy(&mut self, page: PageNumber) {
        let state = self.extent(page.extent()).page_mut(page);
        let held = state.held;
        if state.wanted.is_some_and(|wanted| held.allows(wanted)) {
            state.wanted = None;
        }
        self.satisfy_acquisitions(page, held);
    }

    pub(super) fn satisfy_acquisitions(&mut self, page: PageNumber, held: Held) {
        for acquisition in self.acquisitions.values_mut() {
            acquisition.granted(page, held);
        }
    }

    /// Asks for the pages of this run, all of one extent, that are neither held nor asked for: on demand only
    /// for the first such stretch, ahead for each.
    fn ask(&mut self, run: Run, access: Access, need: Need, outputs: &mut Outputs) {
        let run = run.by_extent().next().unwrap_or(run);
        let extent = self.extent(run.first.extent());
        if extent.is_native() || extent.is_sharing() {
            return;
        }
        let needed = |page| {
            let state = extent.page(page);
            (state.request == RequestNumber(0) && !state.held.allows(access)).then_some(())
        };
        let mut stretches: Vec<(Run, ())> = runs(run, needed).collect();
        if need != Need::Ahead {
            stretches.retain(|(stretch, ())| stretch.first == run.first);
        }
        for (stretch, ()) in stretches {
            self.send_get(stretch, access, need, outputs);
        }
    }

    /// Asks for every wanted page of this run, all of one extent, that is neither held nor asked for.
    pub(super) fn ask_wanted(&mut self, run: Run, outputs: &mut Outputs) {
        let extent = self.extent(run.first.extent());
        if extent.is_native() || extent.is_sharing() {
            return;
        }
        let wanted = |page| {
            let state = extent.page(page);
            state.wanted.filter(|access| state.request == RequestNumber(0) && !state.held.allows(*access))
        };
        let stretches: Vec<(Run, Access)> = runs(run, wanted).collect();
        for (stretch, access) in stretches {
            self.send_get(stretch, access, Need::Demand { ran: Microseconds::MAX }, outputs);
        }
    }

    fn send_get(&mut self, run: Run, access: Access, need: Need, outputs: &mut Outputs) {
        self.last_request.0 += 1;
        let number = self.last_request;
        self.requests.insert(number, Request { run, access, need });
        let extent = self.extent(run.first.extent());
        for page in run.pages() {
            extent.page_mut(page).request = number;
        }
        self.post_get(number, outputs);
    }

    fn post_get(&mut self, number: RequestNumber, outputs: &mut Outputs) {
        let Some(&Request { run, access, need }) = self.requests.get(&number) else { return };
        let extent = self.extent(run.first.extent());
        let (owner, epoch) = (extent.owner, extent.epoch);
        let copy = |page| {
            Some(extent.page(page)).filter(|state| state.held == Held::Shared).map(|state| state.version)
        };
        let have = run.pages().map(copy).min().flatten().unwrap_or_default();
        self.arm(Timer::Request(number));
        let (demand, ran) = match need {
            Need::Ahead => (false, Microseconds::MAX),
            Need::Demand { ran } => (true, ran),
        };
        let message = Message::Get { run, access, epoch, request: number, have, demand, ran };
        self.post(owner, message, Contents::None, outputs);
    }

    pub(super) fn retry_request(&mut self, number: RequestNumber, outputs: &mut Outputs) {
        let Some(request) = self.requests.get(&number).copied() else { return };
        if self.extent(request.run.first.extent()).page(request.run.first).held.allows(request.access) {
            // Another grant brought its first page; the rest is asked for anew if anybody wants it.
            self.close(number, outputs);
        } else {
            self.post_get(number, outputs);
        }
    }

    /// Sends again, to the new owner, what was asked of the old one.
    pub(super) fn ask_again(&mut self, number: ExtentNumber, outputs: &mut Outputs) {
        let affected: Vec<RequestNumber> = self
            .requests
            .iter()
            .filter(|(_, request)| request.run.first.extent() == number)
            .map(|(request, _)| *request)
            .collect();
        for request in affected {
            self.retry_request(request, outputs);
        }
    }

    /// A request is over, whatever came of it. Pages that are still wanted are asked for anew.
    fn close(&mut self, number: RequestNumber, outputs: &mut Outputs) {
        let Some(request) = self.requests.remove(&number) else { return };
        self.timers.cancel(Timer::Request(number));
        let extent = self.extent(request.run.first.extent());
        for page in request.run.pages() {
            let state = extent.page_mut(page);
            if state.request == number {
                state.request = RequestNumber(0);
            }
        }
        if !self.conduct.makes(Mutation::ForgetRest) {
            self.ask_wanted(request.run, outputs);
        }
    }

    /// Everything asked about this extent has become pointless, since this node holds all of it.
    pub(super) fn close_all(&mut self, number: ExtentNumber) {
        let timers = &mut self.timers;
        self.requests.retain(|request, asked| {
            let keep = asked.run.first.extent() != number;
            if !keep {
                timers.cancel(Timer::Request(*request));
            }
            keep
        });
    }

    pub(super) fn declined(&mut self, run: Run, request: RequestNumber, outputs: &mut Outputs) {
        if self.requests.get(&request).is_some_and(|asked| asked.run == run) {
            self.close(request, outputs);
        }
    }

    pub(super) fn granted(&mut self, grant: &Granted, outputs: &mut Outputs) -> Outcome {
        let Granted { run, access, transaction, .. } = *grant;
        let (number, now) = (run.first.extent(), self.now);
        let (marked, stale) = {
            let ahead = self.requests.get(&grant.request).filter(|asked| asked.need == Need::Ahead);
            let marked = ahead.map(|asked| asked.run.first);
            let extent = self.extent(number);
            if extent.is_native() {
                return Err(Problem::Peer(format!(
                    "{} granted {run:?}, of an extent all owned here",
                    grant.from
                )));
            }
            (marked, grant.epoch < extent.epoch)
        };
        let accept_stale = self.conduct.makes(Mutation::AcceptStaleGrant);
        let extent = self.extent(number);
        let is_new = |page| extent.page(page).version < transaction || accept_stale;
        if stale && run.pages().any(is_new) {
            // Granted by an owner who was replaced before the grant was known to be complete.
            return Ok(());
        }
        let effect = |page| {
            let state = extent.page(page);
            is_new(page).then_some(match (state.held, access) {
                (Held::Absent, _) => Effect::Install,
                (Held::Shared, Access::Write) => Effect::Upgrade,
                (Held::Shared, Access::Read) | (Held::Exclusive, _) => Effect::Wake,
            })
        };
        let effects: Vec<(Run, Effect)> = runs(run, effect).collect();
        let exclusive = run.pages().find(|page| is_new(*page) && extent.page(*page).held == Held::Exclusive);
        if let Some(page) = exclusive.filter(|_| !accept_stale) {
            return Err(Problem::Peer(format!(
                "{} granted {page:?} by {transaction:?} to its only holder",
                grant.from
            )));
        }
        if !grant.contents && effects.iter().any(|(_, effect)| *effect == Effect::Install) {
            return Err(Problem::Peer(format!(
                "{} granted {run:?} by {transaction:?} without its bytes, which are not here",
                grant.from
            )));
        }
        let marker = marked.filter(|page| extent.page(*page).wanted.is_none());
        for &(run, effect) in &effects {
            let extent = self.extent(number);
            let waited = run.pages().any(|page| extent.page(page).wanted.is_some());
            for page in run.pages() {
                let state = extent.page_mut(page);
                state.held = state.held.max(Held::of(access));
                state.version = transaction;
                state.came = now;
            }
            let installed = |page: &PageNumber| run.contains(*page);
            match effect {
                Effect::Install => {
                    outputs.push(Output::Install { run, access, marker: marker.filter(installed) });
                }
                Effect::Upgrade => outputs.push(Output::Upgrade { run }),
                Effect::Wake if waited => outputs.push(Output::Wake { run, access }),
                Effect::Wake => {}
            }
            for page in run.pages() {
                self.satisfy(page);
            }
        }
        if grant.confirm {
            let done = Message::Done { run, epoch: grant.epoch, transaction };
            self.post(grant.owner, done.clone(), Contents::None, outputs);
            if grant.contents && access == Access::Write && grant.from != grant.owner {
                self.post(grant.from, done, Contents::None, outputs);
            }
        }
        self.learn(number, grant.epoch, grant.owner, outputs);
        if !effects.is_empty() {
            self.finish_acquisitions(outputs);
        }
        self.close(grant.request, outputs);
        // The grant may have been for an older request: what it satisfies need not be asked for any more.
        for page in run.pages() {
            let state = self.extent(number).page(page);
            let first = self.requests.get(&state.request).is_some_and(|request| request.run.first == page);
            if first {
                let satisfied =
                    self.requests.get(&state.request).is_some_and(|r| state.held.allows(r.access));
                if satisfied {
                    self.close(state.request, outputs);
                }
            }
        }
        Ok(())
    }

    /// A message says which node owns an extent, and since which epoch. It is believed if that is news.
    pub(super) fn learn(&mut self, number: ExtentNumber, epoch: Epoch, owner: NodeId, outputs: &mut Outputs) {
        let me = self.me;
        let owner = self.retirement.stand_in(owner, self.policy.home);
        let extent = self.extent(number);
        // That this node itself is the owner is known only when the directory arrives.
        if epoch <= extent.epoch || extent.owned || owner == me {
            return;
        }
        let moved = extent.owner != owner;
        extent.epoch = epoch;
        extent.owner = owner;
        // Only the node that was given the directory can have handed it on.
        self.adopted(number, Epoch(epoch.0 - 1));
        // The first word about an extent often comes from the very node that was asked.
        if moved {
            self.ask_again(number, outputs);
        }
        self.discard_again(number, outputs);
    }
}
