//! One long random history of a cluster, all of it decided by one number.

mod retirement;

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;

use banyan_core::coherence::{Conduct, Faithful, Input, Machine, Policy, ThreadNumber, Token};
use banyan_core::ids::{Access, EXTENT_PAGES, ExtentNumber, Microseconds, NodeId, PageNumber, Run};

use banyan_wire::coherence::Message;

use crate::invariants::{self, Violation, directory_agrees, no_resurrection, progress};
use crate::page::Value;
use crate::random::Random;
use crate::world::{Effects, Packet, World};
use retirement::Retirement;

/// Simulated time after which something is surely stuck.
const TIME_MAX: u64 = 120_000_000;
/// Events after which something surely goes round in circles.
const EVENTS_MAX: u64 = 200_000;
const FIRST_EXTENT: u64 = 0x8000;

/// What the threads of a history do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Read and write, free memory, hand extents over, bring buffers.
    Everything,
    /// Write to pages at random.
    ScatteredWrites,
    /// Read and write, and free whole extents, most of which home has never heard of.
    Freeing,
}

/// What a history is like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes.
    pub nodes: u8,
    /// How many extents.
    pub extents: u64,
    /// Pages used at the beginning and at the end of each extent.
    pub pages: u64,
    /// Threads on each node.
    pub threads: u64,
    /// What each does before it ends.
    pub operations: u64,
    /// Messages lost, of a hundred.
    pub loss: u64,
    /// Messages delivered twice, of a hundred.
    pub repeats: u64,
    /// The longest delay of a message.
    pub delay: u64,
    /// Deliveries, of a thousand, before which the receiver pauses.
    pub pauses: u64,
    /// What the nodes are to keep to.
    pub policy: Policy,
    /// What the threads do.
    pub work: Work,
    /// The longest time between two operations of a thread.
    pub rest: u64,
    /// Steps, of a hundred, between whose outputs time passes; the others are done in one moment.
    pub interruptions: u64,
    /// The node that leaves when its threads are done, which is early; not home.
    pub retires: Option<u8>,
}

impl Shape {
    /// The shape of the history with this number.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let faulty = random.percent(70);
        Self {
            nodes: 2 + random.below(4) as u8,
            extents: 1 + random.below(3),
            pages: 1 + random.below(10),
            threads: 1 + random.below(3),
            operations: 20 + random.below(60),
            loss: if faulty { random.below(15) } else { 0 },
            repeats: if faulty { random.below(15) } else { 0 },
            delay: 20 + random.below(300),
            pauses: if faulty { random.below(10) } else { 0 },
            policy: Policy {
                hold: Microseconds(if random.percent(50) { 50 } else { 0 }),
                retry: Microseconds(300 + random.below(2000)),
                urgent_pages: 1 + random.below(4) as u32,
                window_first: if random.percent(50) { 2 } else { 0 },
                window_max: 8,
                windows_ahead: random.below(3) as u32,
                give_empty: random.percent(70),
                ..Policy::default()
            },
            work: Work::Everything,
            rest: 60,
            interruptions: 5 + random.below(60),
            retires: None,
        }
    }

    /// The shape of the history with this number in which a node leaves.
    #[must_use]
    pub fn retiring(seed: u64) -> Self {
        let shape = if seed.is_multiple_of(3) { Self::freeing(seed) } else { Self::of_seed(seed) };
        let others = u64::from(shape.nodes) - 1;
        Self { retires: Some(1 + (seed % others) as u8), ..shape }
    }

    /// The shape of the history with this number in which memory is freed by the extent.
    #[must_use]
    pub fn freeing(seed: u64) -> Self {
        let shape = Self::of_seed(seed);
        Self {
            nodes: shape.nodes.max(3),
            extents: 24,
            pages: 1,
            operations: 10,
            work: Work::Freeing,
            ..shape
        }
    }
}

/// What a history came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Things that happened.
    pub events: u64,
    /// Messages sent.
    pub messages: u64,
    /// Faults of threads.
    pub faults: u64,
    /// Accesses of threads.
    pub accesses: u64,
    /// Simulated microseconds.
    pub time: u64,
}

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error(
    "seed {seed}, at {time} us: {violation}\nreplay with: cargo run --release -p banyan-sim -- replay --seed {seed} --trace"
)]
pub struct Failure {
    /// The number of the history.
    pub seed: u64,
    /// When.
    pub time: u64,
    /// What.
    #[source]
    pub violation: Violation,
}

#[derive(Debug)]
enum Event {
    Deliver(Packet),
    Run(usize),
    Registered(usize),
    /// A node carries out the next output, or takes the next input that came meanwhile.
    GoOn(usize),
    /// The next thing to do for the node that leaves.
    Retire,
    /// A node hears that it has left.
    Forget(usize),
}

/// An input, and the pages that came with it.
type Arrival = (Input, Vec<(PageNumber, Value)>);

struct Scheduled {
    time: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.time, other.order).cmp(&(self.time, self.order))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Nothing,
    Access(PageNumber, Access),
    Waiting(PageNumber, Access),
    Token(Token),
}

struct Thread {
    site: usize,
    left: u64,
    doing: Doing,
    /// A thread that goes through the pages in order, for the sake of prefetch.
    cursor: Option<u64>,
}

struct Simulation<C> {
    shape: Shape,
    random: Random,
    world: World<C>,
    pages: Vec<PageNumber>,
    threads: Vec<Thread>,
    queue: BinaryHeap<Scheduled>,
    paused: Vec<u64>,
    /// Nodes between whose outputs time passes in the step under way.
    interrupted: Vec<bool>,
    /// What came to each node while a step of it was under way.
    backlog: Vec<VecDeque<Arrival>>,
    floors: BTreeMap<Token, (Run, Value)>,
    retirement: Option<Retirement>,
    order: u64,
    now: u64,
    last_token: u64,
    /// Who made the last step.
    acted: usize,
    tally: Tally,
    trace: Option<String>,
}

/// Runs the history with this number.
///
/// # Errors
/// When an invariant is broken.
pub fn run(seed: u64) -> Result<Tally, Failure> {
    run_with(seed, &Faithful, None).0
}

/// Runs it with nodes of this conduct, and writes down what happens if there is anything to write to.
pub fn run_with<C: Conduct>(
    seed: u64,
    conduct: &C,
    trace: Option<String>,
) -> (Result<Tally, Failure>, Option<String>) {
    run_shape(seed, Shape::of_seed(seed), conduct, trace)
}

/// Runs it with another shape than that of its number.
pub fn run_shape<C: Conduct>(
    seed: u64,
    shape: Shape,
    conduct: &C,
    trace: Option<String>,
) -> (Result<Tally, Failure>, Option<String>) {
    let mut random = Random::new(seed);
    let mut extents = Vec::new();
    let mut pages = Vec::new();
    for number in (0..shape.extents).map(|offset| ExtentNumber(FIRST_EXTENT + offset)) {
        let owner = NodeId::new(random.below(u64::from(shape.nodes)) as u8).unwrap_or(NodeId::HOME);
        extents.push((number, owner));
        let run = number.run();
        pages.extend(run.pages().take(shape.pages as usize));
        pages.extend(run.pages().rev().take(shape.pages as usize / 2).rev());
    }
    let nodes = (0..shape.nodes).filter_map(NodeId::new);
    let machines = nodes.map(|me| Machine::with_conduct(me, shape.policy, conduct.clone())).collect();
    let mut world = World::new(machines, &extents, NodeId::HOME);
    world.hold = Some(shape.policy.hold);
    let mut threads = Vec::new();
    for site in 0..usize::from(shape.nodes) {
        for _ in 0..shape.threads {
            let cursor = random.percent(30).then_some(0);
            let leaves = shape.retires.map(usize::from) == Some(site);
            let left = if leaves { shape.operations / 3 } else { shape.operations };
            threads.push(Thread { site, left, doing: Doing::Nothing, cursor });
        }
    }
    let nodes = usize::from(shape.nodes);
    let retirement = shape.retires.map(|node| Retirement::of(usize::from(node)));
    let mut simulation = Simulation {
        shape,
        random,
        world,
        pages,
        threads,
        queue: BinaryHeap::new(),
        paused: vec![0; nodes],
        interrupted: vec![false; nodes],
        backlog: vec![VecDeque::new(); nodes],
        floors: BTreeMap::new(),
        retirement,
        order: 0,
        now: 1,
        last_token: 0,
        acted: 0,
        tally: Tally::default(),
        trace,
    };
    let outcome = simulation.run();
    let time = simulation.now;
    (outcome.map_err(|violation| Failure { seed, time, violation }), simulation.trace)
}

/// A message for the reader of a trace: a directory would fill the screen.
fn brief(packet: &Packet) -> String {
    match &packet.message {
        Message::Adopt { extent, epoch, directory } => {
            format!(
                "Adopt {{ {extent:?}, {epoch:?}, {:?}, {} pages }}",
                directory.last,
                directory.pages.len()
            )
        }
        message => format!("{message:?}"),
    }
}

impl<C: Conduct> Simulation<C> {
    fn run(&mut self) -> Result<Tally, Violation> {
        for thread in 0..self.threads.len() {
            let delay = self.random.below(100);
            self.schedule(delay, Event::Run(thread));
        }
        if self.retirement.is_some() {
            self.schedule(100, Event::Retire);
        }
        while self.advance()? {
            self.tally.events += 1;
            invariants::check(&mut self.world, &self.pages, self.acted)?;
            if self.now > TIME_MAX || self.tally.events > EVENTS_MAX {
                let waiting: Vec<_> = self.threads.iter().map(|thread| thread.doing).collect();
                return Err(progress::stuck(format!(
                    "after {} events threads are {waiting:?}",
                    self.tally.events
                )));
            }
        }
        if let Some(thread) = self.threads.iter().find(|thread| thread.left > 0) {
            return Err(progress::stuck(format!("a thread of node {} is {:?}", thread.site, thread.doing)));
        }
        for (number, site) in self.world.sites.iter().enumerate() {
            if !site.machine.is_quiet() {
                return Err(progress::stuck(format!(
                    "node {number} waits for something that nothing will bring"
                )));
            }
        }
        for page in &self.pages {
            directory_agrees::check(&self.world, *page)?;
        }
        self.tally.time = self.now;
        Ok(self.tally)
    }

    /// Lets the next thing happen. False when nothing is left to happen.
    fn advance(&mut self) -> Result<bool, Violation> {
        let due = |number: usize| {
            let deadline = self.world.sites[number].machine.next_deadline()?;
            Some((deadline.0.max(self.paused[number]).max(self.now), number))
        };
        let free = (0..self.paused.len()).filter(|number| !self.world.is_busy(*number));
        let tick = free.filter_map(due).min();
        let event = self.queue.peek().map(|scheduled| scheduled.time);
        match (tick, event) {
            (None, None) => Ok(false),
            (Some((time, number)), event) if event.is_none_or(|event| time <= event) => {
                self.now = time;
                self.note(|| format!("node {number} looks at its timers"));
                self.step(number, Input::Tick, &[])?;
                Ok(true)
            }
            _ => {
                let Some(Scheduled { time, event, .. }) = self.queue.pop() else { return Ok(false) };
                self.now = time.max(self.now);
                self.happen(event)?;
                Ok(true)
            }
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let site = match &event {
            Event::Deliver(packet) => usize::from(packet.to.get()),
            Event::Run(thread) => self.threads[*thread].site,
            Event::Registered(site) | Event::GoOn(site) | Event::Forget(site) => *site,
            Event::Retire => 0,
        };
        // Between pauses a node gets time to work off what came meanwhile.
        let rested = self.now > self.paused[site] + 20_000;
        if rested && self.random.below(1000) < self.shape.pauses && matches!(event, Event::Deliver(_)) {
            self.paused[site] = self.now + self.random.below(20_000);
        }
        if self.paused[site] > self.now {
            let delay = self.paused[site] - self.now;
            self.schedule(delay, event);
            return Ok(());
        }
        match event {
            Event::Deliver(packet) => {
                self.note(|| {
                    format!("{} to {}: {:?} {:?}", packet.from, packet.to, packet.message, packet.pages)
                });
                let input = Input::Receive { from: packet.from, message: packet.message };
                self.step(site, input, &packet.pages)
            }
            Event::Registered(site) => {
                let busy = self.world.is_busy(site);
                self.registered(site)?;
                if busy { Ok(()) } else { self.go_on(site) }
            }
            Event::GoOn(site) => self.go_on(site),
            Event::Run(thread) => self.run_thread(thread),
            Event::Retire => self.retire(),
            Event::Forget(site) => self.forget(site),
        }
    }

    fn run_thread(&mut self, index: usize) -> Result<(), Violation> {
        let Thread { site, left, doing, .. } = self.threads[index];
        match doing {
            Doing::Waiting(..) | Doing::Token(_) => Ok(()),
            Doing::Access(page, access) => self.access(index, page, access),
            Doing::Nothing if left == 0 => Ok(()),
            Doing::Nothing if self.shape.work == Work::ScatteredWrites => {
                let page = self.pick_page();
                self.access(index, page, Access::Write)
            }
            Doing::Nothing if self.shape.work == Work::Freeing => {
                if self.random.percent(20) {
                    let run = self.whole_extents();
                    return self.discard(index, run);
                }
                let (page, access) = (self.pick_page(), self.pick_access());
                self.access(index, page, access)
            }
            Doing::Nothing => match self.random.below(100) {
                0..3 => {
                    let run = if self.random.percent(30) { self.whole_extents() } else { self.pick_run() };
                    self.discard(index, run)
                }
                3..6 => {
                    let to = NodeId::new(self.random.below(u64::from(self.shape.nodes)) as u8);
                    let extent = self.pick_page().extent();
                    let owner = self.world.sites.iter().position(|site| site.machine.owns(extent).is_some());
                    self.finish(index);
                    let to =
                        to.filter(|&to| self.retirement.as_ref().is_none_or(|leaves| leaves.may_own(to)));
                    let (Some(to), Some(owner)) = (to, owner) else { return Ok(()) };
                    self.note(|| format!("node {owner} is to hand over {extent:?} to {to}"));
                    self.step(owner, Input::HandOver { extent, to }, &[])
                }
                6..12 => {
                    let (run, token) = (self.pick_run(), self.token());
                    let access = self.pick_access();
                    self.threads[index].doing = Doing::Token(token);
                    self.note(|| format!("thread {index} of node {site} acquires {run:?} to {access:?}"));
                    self.step(site, Input::Acquire { token, run, access }, &[])
                }
                _ => {
                    let page = match &mut self.threads[index].cursor {
                        Some(cursor) => {
                            *cursor += 1;
                            self.pages[*cursor as usize % self.pages.len()]
                        }
                        None => self.pick_page(),
                    };
                    let access = self.pick_access();
                    self.access(index, page, access)
                }
            },
        }
    }

    /// A thread frees pages and waits until they are.
    fn discard(&mut self, index: usize, run: Run) -> Result<(), Violation> {
        let token = self.token();
        let floor = self.world.oracle.writes();
        self.world.oracle.begin_discard(token, run);
        self.floors.insert(token, (run, floor));
        self.threads[index].doing = Doing::Token(token);
        self.note(|| format!("thread {index} discards {run:?}"));
        self.step(0, Input::Discard { token, run }, &[])
    }

    fn access(&mut self, index: usize, page: PageNumber, access: Access) -> Result<(), Violation> {
        let site = self.threads[index].site;
        if let Some(value) = self.world.access(site, page, access)? {
            self.tally.accesses += 1;
            self.note(|| format!("thread {index} of node {site}: {access:?} {page:?} = {value}"));
            self.finish(index);
            return Ok(());
        }
        self.tally.faults += 1;
        self.threads[index].doing = Doing::Waiting(page, access);
        self.note(|| format!("thread {index} of node {site} waits to {access:?} {page:?}"));
        let limit = self.pages.last().map_or(page, |last| last.plus(1));
        let thread = ThreadNumber(index as u32);
        self.step(site, Input::Fault { thread, page, access, limit }, &[])
    }

    fn finish(&mut self, index: usize) {
        let thread = &mut self.threads[index];
        thread.doing = Doing::Nothing;
        thread.left -= 1;
        let delay = self.random.below(self.shape.rest);
        self.schedule(delay, Event::Run(index));
    }

    /// Gives a node an input, now or when it is done with what it does.
    fn step(&mut self, number: usize, input: Input, pages: &[(PageNumber, Value)]) -> Result<(), Violation> {
        if self.world.is_busy(number) {
            self.backlog[number].push_back((input, pages.to_vec()));
            return Ok(());
        }
        self.world.begin(number, Microseconds(self.now), input, pages)?;
        self.interrupted[number] = self.random.percent(self.shape.interruptions);
        self.go_on(number)
    }

    /// Tells a node that an extent is registered, which it may be told in the middle of a step.
    fn registered(&mut self, number: usize) -> Result<(), Violation> {
        match self.world.registered(number) {
            Some(input) => self.world.begin(number, Microseconds(self.now), input, &[]),
            None => Ok(()),
        }
    }

    /// Carries out outputs: all, or up to where the node is interrupted.
    fn go_on(&mut self, number: usize) -> Result<(), Violation> {
        self.acted = number;
        if !self.world.is_busy(number)
            && let Some((input, pages)) = self.backlog[number].pop_front()
        {
            return self.step(number, input, &pages);
        }
        while self.world.is_busy(number) {
            let effects = self.world.carry_out(number, None)?;
            self.follow(number, effects)?;
            if self.interrupted[number] && self.world.is_busy(number) {
                // Mostly as long as a system call takes, or else long enough for an answer of another node.
                let most = if self.random.percent(60) { 4 } else { self.shape.delay * 4 };
                let delay = self.random.below(most);
                self.schedule(delay, Event::GoOn(number));
                return Ok(());
            }
        }
        if !self.backlog[number].is_empty() {
            self.schedule(0, Event::GoOn(number));
        }
        Ok(())
    }

    /// What follows from an output.
    fn follow(&mut self, number: usize, effects: Effects) -> Result<(), Violation> {
        let Effects { packet, woken, acquired, discarded, registered, ran: _ } = effects;
        if let Some(packet) = packet {
            self.send(packet);
        }
        if registered {
            // A driver answers at once; the machine does not depend on that.
            if self.random.percent(50) {
                self.registered(number)?;
            } else {
                let delay = self.random.below(40);
                self.schedule(delay, Event::Registered(number));
            }
        }
        for index in 0..self.threads.len() {
            let Doing::Waiting(page, access) = self.threads[index].doing else { continue };
            let here = self.threads[index].site == number;
            if here && woken.is_some_and(|run| run.contains(page)) {
                self.threads[index].doing = Doing::Access(page, access);
                let delay = self.random.below(10);
                self.schedule(delay, Event::Run(index));
            }
        }
        if let Some(token) = discarded
            && let Some((run, floor)) = self.floors.remove(&token)
        {
            no_resurrection::check(&self.world, run, floor)?;
            self.world.oracle.end_discard(token, floor);
        }
        if let (Some(token), Some(retirement)) = (acquired, &mut self.retirement) {
            retirement.acquired(token);
        }
        if let Some(token) = acquired.or(discarded) {
            let waiting = self.threads.iter().position(|thread| thread.doing == Doing::Token(token));
            if let Some(index) = waiting {
                self.finish(index);
            }
        }
        Ok(())
    }

    fn send(&mut self, packet: Packet) {
        self.tally.messages += 1;
        if self.random.percent(self.shape.loss) {
            self.note(|| format!("lost: {} to {}: {}", packet.from, packet.to, brief(&packet)));
            return;
        }
        if self.random.percent(self.shape.repeats) {
            let delay = 5 + self.random.below(self.shape.delay * 20);
            self.schedule(delay, Event::Deliver(packet.clone()));
        }
        let delay = 5 + self.random.below(self.shape.delay);
        self.schedule(delay, Event::Deliver(packet));
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.push(Scheduled { time: self.now + delay, order: self.order, event });
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            // Writing to a string cannot fail.
            let _ = writeln!(trace, "{:>9} {}", self.now, what());
        }
    }

    fn token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn pick_page(&mut self) -> PageNumber {
        self.pages[self.random.below(self.pages.len() as u64) as usize]
    }

    fn pick_access(&mut self) -> Access {
        if self.random.percent(50) { Access::Read } else { Access::Write }
    }

    /// All pages of some consecutive extents.
    fn whole_extents(&mut self) -> Run {
        let first = self.random.below(self.shape.extents);
        let count = 1 + self.random.below(self.shape.extents - first);
        Run { count: count as u32 * EXTENT_PAGES, first: ExtentNumber(FIRST_EXTENT + first).first_page() }
    }

    /// Some consecutive pages in use, perhaps over the end of an extent.
    fn pick_run(&mut self) -> Run {
        let first = self.pick_page();
        let most = self.random.below(self.pages.len() as u64) + 1;
        let count = (1..most).take_while(|count| self.pages.contains(&PageNumber(first.0 + count))).count();
        Run { first, count: count as u32 + 1 }
    }
}
