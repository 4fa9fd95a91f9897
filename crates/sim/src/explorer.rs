//! Every state that a small cluster can reach.
//!
//! The network keeps no order: at any moment any message on its way may arrive. Within a budget messages are
//! also lost or arrive twice, and timers go off too early; when nothing else can happen they go off anyway.
//! Time itself is left out: every delay and pause is some order of events. Threads choose any access at any
//! moment, within a budget. Where the setting says so, that moment may be between two outputs of a step, of
//! this node or another.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use banyan_core::coherence::{Conduct, Input, Machine, Policy, ThreadNumber, Token};
use banyan_core::ids::{Access, ExtentNumber, Microseconds, NodeId, PageNumber, Run};

use crate::invariants::{self, Violation, directory_agrees, no_resurrection, progress};
use crate::page::Value;
use crate::world::{Effects, Packet, QuickHasher, World};

const EXTENT: ExtentNumber = ExtentNumber(0x8000);
/// The only token: there is at most one discard.
const TOKEN: Token = Token(1);
/// What a cluster is allowed to do is finite, so that no history without a cycle is longer than this.
const HISTORY_MAX: usize = 300;

/// Where others may act between two outputs of a node's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaks {
    /// Nowhere: a step is one event.
    Nowhere,
    /// After a message was sent, which is where another node can act on half of a step.
    AfterSend,
    /// Everywhere.
    Everywhere,
}

/// What a small cluster may do.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Says what is special about it.
    pub name: &'static str,
    /// How many nodes.
    pub nodes: u8,
    /// How many pages, all of one extent.
    pub pages: u32,
    /// The first owner.
    pub owner: u8,
    /// Accesses of the one thread of each node.
    pub operations: Vec<u8>,
    /// Messages that may be lost.
    pub losses: u8,
    /// Messages that may arrive twice.
    pub repeats: u8,
    /// Times that a node's timers may go off although something else could happen.
    pub timeouts: u8,
    /// Times that a thread finds its page gone again when it runs. After that many, threads run the moment
    /// that they are woken; without an end to it, two writers could steal a page from each other for ever.
    /// (What ends it in a real cluster is the minimum hold time.)
    pub steals: u8,
    /// Hand-overs of the directory, to any node.
    pub hand_overs: u8,
    /// Discards of all pages.
    pub discards: u8,
    /// Whether a discard is of the whole extent.
    pub sweeps: bool,
    /// Whether the extent, if empty, is given away whole.
    pub give_empty: bool,
    /// Whether faults ask for both pages at once.
    pub batches: bool,
    /// Whether pages are held a minimum time.
    pub hold: bool,
    /// Whether a page that one node after another has read and written is given to its readers for writing.
    pub migrates: bool,
    /// Where a step can be interrupted.
    pub breaks: Breaks,
}

impl Setting {
    const BASE: Self = Self {
        name: "base",
        nodes: 3,
        pages: 2,
        owner: 0,
        operations: Vec::new(),
        losses: 0,
        repeats: 0,
        timeouts: 0,
        steals: 1,
        hand_overs: 0,
        discards: 0,
        sweeps: false,
        give_empty: false,
        batches: false,
        hold: false,
        migrates: false,
        breaks: Breaks::Nowhere,
    };
}

/// The settings for every day.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let base = Setting { operations: vec![1, 1, 1], ..Setting::BASE };
    let one = Setting { pages: 1, ..base.clone() };
    let two = vec![0, 1, 1];
    vec![
        Setting { name: "reordering", ..base.clone() },
        Setting { name: "loss", losses: 1, ..base.clone() },
        Setting { name: "repetition", repeats: 1, ..base.clone() },
        Setting { name: "pauses", timeouts: 1, ..base.clone() },
        Setting {
            name: "loss, repetition, pauses",
            losses: 1,
            repeats: 1,
            timeouts: 1,
            operations: two.clone(),
            ..base.clone()
        },
        Setting { name: "batches", batches: true, operations: two.clone(), losses: 1, ..base.clone() },
        Setting { name: "one page, more accesses", operations: vec![1, 2, 1], steals: 2, ..one.clone() },
        Setting { name: "hand-over", hand_overs: 1, ..one.clone() },
        Setting {
            name: "hand-over, repetition",
            hand_overs: 2,
            repeats: 1,
            operations: vec![0, 1, 0],
            ..one.clone()
        },
        Setting {
            name: "empty extent",
            operations: two.clone(),
            give_empty: true,
            repeats: 1,
            losses: 1,
            ..one.clone()
        },
        Setting {
            name: "discard",
            discards: 1,
            repeats: 1,
            owner: 1,
            operations: two.clone(),
            ..one.clone()
        },
        Setting {
            name: "sweep",
            discards: 1,
            sweeps: true,
            repeats: 1,
            losses: 1,
            owner: 1,
            operations: two.clone(),
            ..one.clone()
        },
        Setting { name: "minimum hold", operations: vec![1, 2, 1], hold: true, ..one.clone() },
        Setting {
            name: "migrating page",
            operations: vec![1, 2, 2],
            migrates: true,
            losses: 1,
            ..one.clone()
        },
        Setting {
            name: "migrating page, interrupted",
            operations: vec![1, 2, 2],
            migrates: true,
            breaks: Breaks::AfterSend,
            ..one.clone()
        },
        Setting { name: "interrupted", breaks: Breaks::Everywhere, ..one.clone() },
        Setting { name: "interrupted after sending", breaks: Breaks::AfterSend, ..base },
        Setting {
            name: "interrupted, loss, repetition",
            breaks: Breaks::Everywhere,
            losses: 1,
            repeats: 1,
            operations: two.clone(),
            ..one.clone()
        },
        Setting {
            name: "interrupted, empty extent",
            breaks: Breaks::Everywhere,
            give_empty: true,
            ..one.clone()
        },
        Setting {
            name: "interrupted discard",
            breaks: Breaks::Everywhere,
            discards: 1,
            repeats: 1,
            owner: 1,
            operations: two,
            ..one.clone()
        },
        Setting { name: "interrupted hand-over", breaks: Breaks::AfterSend, hand_overs: 1, ..one },
    ]
}

/// The settings for a long night.
#[must_use]
pub fn deep_settings() -> Vec<Setting> {
    let base = Setting { operations: vec![1, 1, 1], ..Setting::BASE };
    let one = Setting { pages: 1, ..base.clone() };
    vec![
        Setting { name: "reordering", operations: vec![1, 2, 1], ..base.clone() },
        Setting { name: "loss", losses: 2, ..base.clone() },
        Setting { name: "loss, repetition, pauses", losses: 1, repeats: 1, timeouts: 1, ..base.clone() },
        Setting { name: "batches", batches: true, losses: 1, repeats: 1, ..base.clone() },
        Setting { name: "hand-over", hand_overs: 1, repeats: 1, losses: 1, ..one.clone() },
        Setting { name: "discard", discards: 1, repeats: 1, losses: 1, owner: 1, ..one.clone() },
        Setting { name: "discard and hand-over", discards: 1, hand_overs: 1, ..one.clone() },
        Setting { name: "sweep", discards: 1, sweeps: true, repeats: 1, losses: 1, owner: 1, ..one.clone() },
        Setting {
            name: "sweep, empty extent",
            discards: 1,
            sweeps: true,
            give_empty: true,
            owner: 1,
            losses: 1,
            ..one.clone()
        },
        Setting { name: "empty extent, hand-over", give_empty: true, hand_overs: 1, repeats: 1, ..one },
    ]
}

/// How much there was.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The length of the longest history.
    pub depth: usize,
    /// Whether that is all, or the limit was reached.
    pub complete: bool,
}

/// A history that breaks an invariant.
#[derive(Debug, thiserror::Error)]
pub struct Counterexample {
    /// What is broken.
    pub violation: Violation,
    /// What happened.
    pub history: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        for (number, step) in self.history.iter().enumerate() {
            writeln!(f, "{:>3}. {step}", number + 1)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Deliver(usize),
    Repeat(usize),
    Lose(usize),
    Begin(usize, PageNumber, Access),
    Resume(usize),
    Registered(usize),
    GoOn(usize),
    Tick(usize, bool),
    HandOver(usize, NodeId),
    Discard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Thread {
    left: u8,
    doing: Option<(PageNumber, Access)>,
    blocked: bool,
}

#[derive(Clone, Debug)]
struct State<C> {
    world: World<C>,
    /// In order, so that equal networks are equal.
    packets: Vec<Packet>,
    threads: Vec<Thread>,
    losses: u8,
    repeats: u8,
    timeouts: u8,
    steals: u8,
    hand_overs: u8,
    discards: u8,
    floor: Value,
    /// Who made the last step; not part of the state.
    acted: usize,
}

/// In which order states are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nearest first: what is found comes with a shortest history, but every state not yet visited is in
    /// memory.
    Nearest,
    /// Along one history to its end, then from its last fork: needs little memory.
    Deepest,
}

/// How a state was reached first.
struct Path {
    action: Action,
    before: Option<Rc<Path>>,
}

/// Visits every state of this setting, but at most `limit`.
///
/// # Errors
/// The first state found that breaks an invariant.
pub fn explore<C: Conduct>(
    setting: &Setting,
    conduct: &C,
    order: Order,
    limit: usize,
) -> Result<Found, Box<Counterexample>> {
    let pages: Vec<PageNumber> = EXTENT.run().pages().take(setting.pages as usize).collect();
    let first = State::new(setting, conduct);
    let mut seen: HashSet<u64, BuildHasherDefault<QuickHasher>> = HashSet::default();
    seen.insert(first.hash());
    let mut frontier: VecDeque<(usize, Option<Rc<Path>>, State<C>)> =
        VecDeque::from([(0, None, first.clone())]);
    let mut found = Found { states: 1, steps: 0, depth: 0, complete: true };
    let next = |frontier: &mut VecDeque<_>| match order {
        Order::Nearest => frontier.pop_front(),
        Order::Deepest => frontier.pop_back(),
    };
    while let Some((depth, path, state)) = next(&mut frontier) {
        found.depth = found.depth.max(depth);
        let fail = |action: Option<Action>, violation| {
            let history = history(&first, setting, &pages, path.as_deref(), action);
            Box::new(Counterexample { violation, history })
        };
        if depth > HISTORY_MAX {
            return Err(fail(None, progress::stuck(format!("{depth} steps and no end"))));
        }
        let actions = state.actions(setting, &pages).map_err(|violation| fail(None, violation))?;
        for action in actions {
            let mut next = state.clone();
            found.steps += 1;
            next.act(action, setting, &pages).map_err(|violation| fail(Some(action), violation))?;
            if !seen.insert(next.hash()) {
                continue;
            }
            let acted = next.acted;
            invariants::check(&mut next.world, &pages, acted)
                .map_err(|violation| fail(Some(action), violation))?;
            if found.states >= limit {
                found.complete = false;
                return Ok(found);
            }
            found.states += 1;
            let path = Rc::new(Path { action, before: path.clone() });
            frontier.push_back((depth + 1, Some(path), next));
        }
    }
    Ok(found)
}

fn history<C: Conduct>(
    first: &State<C>,
    setting: &Setting,
    pages: &[PageNumber],
    mut path: Option<&Path>,
    last: Option<Action>,
) -> Vec<String> {
    let mut actions: Vec<Action> = last.into_iter().collect();
    while let Some(step) = path {
        actions.push(step.action);
        path = step.before.as_deref();
    }
    let mut state = first.clone();
    let mut told = Vec::new();
    for action in actions.into_iter().rev() {
        told.push(match action {
            Action::Deliver(at) | Action::Repeat(at) | Action::Lose(at) => {
                let Packet { from, to, message, pages, .. } = &state.packets[at];
                format!("{action:?}: {from} to {to}: {message:?} {pages:?}")
            }
            _ => format!("{action:?}"),
        });
        // The last action is the one that fails.
        let _ = state.act(action, setting, pages);
    }
    told
}

impl<C: Conduct> State<C> {
    fn new(setting: &Setting, conduct: &C) -> Self {
        let policy = Policy {
            hold: Microseconds(u64::from(setting.hold)),
            retry: Microseconds(1),
            window_first: 0,
            migrates_after: u8::from(setting.migrates),
            give_empty: setting.give_empty,
            ..Policy::default()
        };
        let nodes = (0..setting.nodes).filter_map(NodeId::new);
        let machines = nodes.map(|me| Machine::with_conduct(me, policy, conduct.clone())).collect();
        let owner = NodeId::new(setting.owner).unwrap_or(NodeId::HOME);
        let threads =
            setting.operations.iter().map(|left| Thread { left: *left, doing: None, blocked: false });
        Self {
            world: World::new(machines, &[(EXTENT, owner)], NodeId::HOME),
            packets: Vec::new(),
            threads: threads.collect(),
            losses: setting.losses,
            repeats: setting.repeats,
            timeouts: setting.timeouts,
            steals: setting.steals,
            hand_overs: setting.hand_overs,
            discards: setting.discards,
            floor: 0,
            acted: 0,
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = QuickHasher::default();
        self.world.state_hash().hash(&mut hasher);
        self.packets.hash(&mut hasher);
        self.threads.hash(&mut hasher);
        [self.losses, self.repeats, self.timeouts, self.steals, self.hand_overs, self.discards]
            .hash(&mut hasher);
        self.floor.hash(&mut hasher);
        hasher.finish()
    }

    /// Everything that can happen next.
    fn actions(&self, setting: &Setting, pages: &[PageNumber]) -> Result<Vec<Action>, Violation> {
        let mut actions = Vec::new();
        let mut different = BTreeSet::new();
        for (at, packet) in self.packets.iter().enumerate() {
            if !different.insert(packet) {
                continue;
            }
            // A node takes no input while it carries out outputs.
            let busy = self.world.is_busy(usize::from(packet.to.get()));
            if !busy {
                actions.push(Action::Deliver(at));
            }
            if self.repeats > 0 && !busy {
                actions.push(Action::Repeat(at));
            }
            if self.losses > 0 {
                actions.push(Action::Lose(at));
            }
        }
        for (number, site) in self.world.sites.iter().enumerate() {
            if !site.registering.is_empty() {
                actions.push(Action::Registered(number));
            }
        }
        actions.extend((0..self.world.sites.len()).filter(|at| self.world.is_busy(*at)).map(Action::GoOn));
        let resume = |(number, thread): &(usize, &Thread)| {
            !thread.blocked && thread.doing.is_some_and(|access| self.can_try(*number, access))
        };
        actions
            .extend(self.threads.iter().enumerate().filter(resume).map(|(number, _)| Action::Resume(number)));
        let timed = (0..self.world.sites.len()).filter(|number| self.has_timer(*number));
        if actions.is_empty() {
            // At rest but for timers.
            actions.extend(timed.map(|number| Action::Tick(number, false)));
            if actions.is_empty() {
                self.check_rest(pages)?;
            }
        } else if self.timeouts > 0 {
            actions.extend(timed.map(|number| Action::Tick(number, true)));
        }
        for (number, thread) in self.threads.iter().enumerate() {
            if thread.doing.is_none() && thread.left > 0 {
                for page in pages {
                    for access in [Access::Read, Access::Write] {
                        if self.can_try(number, (*page, access)) {
                            actions.push(Action::Begin(number, *page, access));
                        }
                    }
                }
            }
        }
        if self.hand_overs > 0
            && let Some(owner) = self.world.sites.iter().position(|site| site.machine.owns(EXTENT).is_some())
            && !self.world.is_busy(owner)
        {
            let others = (0..setting.nodes).filter(|number| usize::from(*number) != owner);
            actions.extend(others.filter_map(NodeId::new).map(|to| Action::HandOver(owner, to)));
        }
        if self.discards > 0 && !self.world.is_busy(0) {
            actions.push(Action::Discard);
        }
        Ok(actions)
    }

    fn has_timer(&self, number: usize) -> bool {
        !self.world.is_busy(number) && self.world.sites[number].machine.next_deadline().is_some()
    }

    /// Can the thread of this node try this now? A fault has to wait until the node is done with its step.
    fn can_try(&self, number: usize, (page, access): (PageNumber, Access)) -> bool {
        let mapped = self.world.sites[number].replica.mapped(page);
        !self.world.is_busy(number) || mapped.is_some_and(|mapped| mapped >= access)
    }

    /// Nothing is on its way and no timer is armed.
    fn check_rest(&self, pages: &[PageNumber]) -> Result<(), Violation> {
        if let Some(number) = self.threads.iter().position(|thread| thread.blocked) {
            return Err(progress::stuck(format!("the thread of node {number} waits for ever")));
        }
        if let Some(number) = self.world.sites.iter().position(|site| !site.machine.is_quiet()) {
            return Err(progress::stuck(format!(
                "node {number} waits for something that nothing will bring"
            )));
        }
        if !self.world.oracle.discarding.is_empty() {
            return Err(progress::stuck("the discard never ends".into()));
        }
        pages.iter().try_for_each(|page| directory_agrees::check(&self.world, *page))
    }

    fn act(&mut self, action: Action, setting: &Setting, pages: &[PageNumber]) -> Result<(), Violation> {
        match action {
            Action::Deliver(at) => {
                let packet = self.packets.remove(at);
                self.deliver(packet, (setting, pages))
            }
            Action::Repeat(at) => {
                self.repeats -= 1;
                self.deliver(self.packets[at].clone(), (setting, pages))
            }
            Action::Lose(at) => {
                self.losses -= 1;
                self.packets.remove(at);
                Ok(())
            }
            Action::Begin(number, page, access) => {
                self.threads[number].left -= 1;
                self.threads[number].doing = Some((page, access));
                self.resume(number, false, setting, pages)
            }
            Action::Resume(number) => self.resume(number, true, setting, pages),
            Action::Registered(number) => match self.world.registered(number) {
                Some(input) => self.step(number, 0, input, &[], (setting, pages)),
                None => Ok(()),
            },
            Action::GoOn(number) => self.go_on(number, (setting, pages)),
            Action::Tick(number, early) => {
                self.timeouts -= u8::from(early);
                self.step(number, 1, Input::Tick, &[], (setting, pages))
            }
            Action::HandOver(owner, to) => {
                self.hand_overs -= 1;
                self.step(owner, 0, Input::HandOver { extent: EXTENT, to }, &[], (setting, pages))
            }
            Action::Discard => {
                self.discards -= 1;
                let run = Run { first: EXTENT.first_page(), count: setting.pages };
                self.floor = self.world.oracle.writes();
                self.world.oracle.begin_discard(TOKEN, run);
                let run = if setting.sweeps { EXTENT.run() } else { run };
                self.step(0, 0, Input::Discard { token: TOKEN, run }, &[], (setting, pages))
            }
        }
    }

    fn deliver(&mut self, packet: Packet, around: (&Setting, &[PageNumber])) -> Result<(), Violation> {
        let Packet { from, to, message, pages, .. } = packet;
        self.step(usize::from(to.get()), 0, Input::Receive { from, message }, &pages, around)
    }

    fn resume(
        &mut self,
        number: usize,
        again: bool,
        setting: &Setting,
        pages: &[PageNumber],
    ) -> Result<(), Violation> {
        let Some((page, access)) = self.threads[number].doing else { return Ok(()) };
        if self.world.access(number, page, access)?.is_some() {
            self.threads[number].doing = None;
            self.world.settle(number);
            return Ok(());
        }
        if self.world.is_busy(number) {
            return Ok(());
        }
        self.threads[number].blocked = true;
        self.steals = self.steals.saturating_sub(u8::from(again));
        let limit = page.plus(1);
        if setting.batches && page == pages[0] {
            // What a system call that uses both pages would do; no thread waits for its end.
            let run = Run { first: page, count: setting.pages };
            self.step(
                number,
                0,
                Input::Acquire { token: Token(100 + number as u64), run, access },
                &[],
                (setting, pages),
            )?;
        }
        self.step(
            number,
            0,
            Input::Fault { thread: ThreadNumber(0), page, access, limit },
            &[],
            (setting, pages),
        )
    }

    fn step(
        &mut self,
        number: usize,
        now: u64,
        input: Input,
        pages: &[(PageNumber, Value)],
        around: (&Setting, &[PageNumber]),
    ) -> Result<(), Violation> {
        let busy = self.world.is_busy(number);
        self.world.begin(number, Microseconds(now), input, pages)?;
        if busy && around.0.breaks != Breaks::Nowhere {
            self.acted = number;
            self.world.settle(number);
            return Ok(());
        }
        self.go_on(number, around)
    }

    /// Carries out outputs up to where others may act.
    fn go_on(&mut self, number: usize, (setting, all): (&Setting, &[PageNumber])) -> Result<(), Violation> {
        self.acted = number;
        let hasty = self.threads[number].doing.filter(|_| self.steals == 0 && self.threads[number].blocked);
        let mut woke = false;
        while self.world.is_busy(number) {
            let (sent, wakes) = self.carry_out(number, hasty)?;
            woke |= wakes;
            match setting.breaks {
                Breaks::Everywhere => break,
                Breaks::AfterSend if sent => break,
                Breaks::AfterSend | Breaks::Nowhere => {}
            }
        }
        self.world.settle(number);
        if woke && self.steals == 0 { self.resume(number, false, setting, all) } else { Ok(()) }
    }

    /// Carries out one output: whether a message was sent, and whether the thread was woken.
    fn carry_out(
        &mut self,
        number: usize,
        hasty: Option<(PageNumber, Access)>,
    ) -> Result<(bool, bool), Violation> {
        let hasty = hasty.filter(|_| self.threads[number].doing.is_some());
        let Effects { packet, woken, discarded, ran, .. } = self.world.carry_out(number, hasty)?;
        let sent = packet.is_some();
        if let Some(packet) = packet {
            let at = self.packets.binary_search(&packet).unwrap_or_else(|at| at);
            self.packets.insert(at, packet);
        }
        let mut woke = false;
        let thread = &mut self.threads[number];
        if ran {
            *thread = Thread { left: thread.left, doing: None, blocked: false };
        }
        if let Some((page, _)) = thread.doing
            && thread.blocked
            && woken.is_some_and(|run| run.contains(page))
        {
            thread.blocked = false;
            woke = true;
        }
        if discarded.is_some() {
            let run = Run { first: EXTENT.first_page(), count: 2 };
            no_resurrection::check(&self.world, run, self.floor)?;
            self.world.oracle.end_discard(TOKEN, self.floor);
        }
        Ok((sent, woke))
    }
}
