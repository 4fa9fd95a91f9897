//! Over how many nodes a process is spread: one at first, and more only as long as that pays.
//!
//! A process begins packed at home, where it costs what one node costs. When its threads wait for
//! processors, and it does not use all of those that there are already, it is tried on twice as many nodes,
//! and the time that its threads used is compared before and after. What did not pay is undone, and not
//! tried again for many times as long as the trial lasted, so that all trials together cost a bounded part
//! of a run; each trial is longer than the one before, because memory that has to move first may pay later.
//! What pays grows at once. A process that does worse on several nodes than it did on one, or no longer
//! needs them, is brought together again.
//!
//! Time that a thread waits for pages is no time used, but threads that spin for one use theirs for
//! nothing: so it is taken off what was used. (The two speeds, and why every rule has a hysteresis, are those
//! of MOSIX and AutoNUMA; the comparison is Carrefour's, "first decide whether".)
//!
//! Not here: which threads go (`super`), and how anything is measured.

use alloc::vec::Vec;

/// What the threads of a process did on one node, in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// They ran.
    pub used: u64,
    /// They could have run, and no processor took them.
    pub waited: u64,
    /// They waited for pages.
    pub lost: u64,
    /// Processors of the node's machine did something else, or nothing.
    pub spare: u64,
}

/// How soon to look at a process again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A trial is under way, or about to begin.
    Soon,
    /// It does something.
    Later,
    /// It sleeps.
    Rarely,
}

impl Pace {
    /// Nanoseconds until then.
    #[must_use]
    pub fn interval(self) -> u64 {
        const MILLISECOND: u64 = 1_000_000;
        match self {
            Self::Soon => 10 * MILLISECOND,
            Self::Later => 25 * MILLISECOND,
            Self::Rarely => 100 * MILLISECOND,
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Over how many nodes the process is from now on. As many as before, if a trial pays.
    pub nodes: u8,
    /// Why.
    pub reason: Reason,
}

/// Why a process is spread or brought together. Rates are thousandths of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its threads wait for processors: a trial begins.
    Waiting {
        /// What they used for something.
        useful: i64,
    },
    /// The trial pays.
    Pays {
        /// What they used for something before it.
        before: i64,
        /// And in it.
        after: i64,
    },
    /// The trial does not.
    DoesNotPay {
        /// What they used for something before it.
        before: i64,
        /// And in it.
        after: i64,
    },
    /// It did better on one node.
    Worse {
        /// What they used for something there.
        packed: i64,
        /// And here.
        useful: i64,
    },
    /// One node is enough.
    Calm,
}

/// A deliberate mistake, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A trial is never undone.
    KeepAll,
    /// After a trial that did not pay comes the next one at once.
    NoPatience,
    /// A machine of which the process has all is tried, too.
    IgnoreSpare,
    /// Spread once, spread for ever.
    NeverGather,
    /// Time lost is not taken off.
    ForgetLost,
    /// Threads are spread although none waits for a processor.
    IgnoreWaiting,
    /// Every trial is as short as the first.
    ShortTrials,
    /// A machine that joins is never tried.
    ForgetJoined,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 8] = [
    Mutation::KeepAll,
    Mutation::NoPatience,
    Mutation::IgnoreSpare,
    Mutation::NeverGather,
    Mutation::ForgetLost,
    Mutation::IgnoreWaiting,
    Mutation::ShortTrials,
    Mutation::ForgetJoined,
];

const MILLISECOND: u64 = 1_000_000;
/// A process that is younger is left alone: it may end before moving anything pays.
const YOUNG: u64 = 40 * MILLISECOND;
/// How long the first trial lasts; its first third is for memory that moves, and does not count.
const FIRST_TRIAL: u64 = 60 * MILLISECOND;
/// No trial is longer.
const LONGEST_TRIAL: u64 = 2000 * MILLISECOND;
/// After a trial that did not pay this many times the length of the next one passes: at no time have all
/// trials that did not pay cost more than a tenth of a run.
const PATIENCE: u64 = 15;
/// What is compared is measured over as long as this, and twice that at most.
const WINDOW: u64 = 100 * MILLISECOND;
/// After this many bad windows in a row it is no accident.
const BAD_WINDOWS: u32 = 3;
/// A process that has one thread to run for this many windows needs no other node.
const CALM_WINDOWS: u32 = 10;
/// Thousandths of a thread: with fewer one node is enough. A part more than one, since nothing is measured
/// exactly.
const CALM: i64 = 1250;
/// Thousandths of a processor: threads wait for one if they wait for half of the time.
const WAITING: i64 = 500;
/// Thousandths of a thread: a process of which so little has something to do sleeps.
const IDLE: i64 = 50;
/// Thousandths of a processor that the process must leave of a machine for a node of it to be tried. Who else
/// uses them, a trial finds out.
const SPARE: i64 = 250;

/// What was measured over some time, in thousandths of a processor or of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rate {
    used: i64,
    waited: i64,
    lost: i64,
}

impl Rate {
    /// What was used for something: a bound from below.
    fn useful(self, mutation: Option<Mutation>) -> i64 {
        if mutation == Some(Mutation::ForgetLost) { self.used } else { self.used - self.lost }
    }

    /// How many threads there were that did not wait for the program's own reasons.
    fn wanting(self) -> i64 {
        self.used + self.waited + self.lost
    }
}

#[derive(Clone, Debug)]
struct Snapshot {
    at: u64,
    nodes: Vec<Usage>,
}

impl Snapshot {
    /// What all nodes did from `earlier` to here.
    fn since(&self, earlier: &Self) -> Rate {
        let time = (self.at - earlier.at).max(1);
        let rate = |of: fn(&Usage) -> u64| {
            let total = |snapshot: &Self| snapshot.nodes.iter().map(of).sum::<u64>();
            thousandths(total(self).saturating_sub(total(earlier)), time)
        };
        Rate { used: rate(|node| node.used), waited: rate(|node| node.waited), lost: rate(|node| node.lost) }
    }

    /// What of its processors the machine of a node had to spare; nothing if the node is new.
    fn spare_since(&self, earlier: &Self, node: usize) -> i64 {
        let time = (self.at - earlier.at).max(1);
        let spare = |snapshot: &Self| snapshot.nodes.get(node).map(|usage| usage.spare);
        let (Some(now), Some(before)) = (spare(self), spare(earlier)) else { return 0 };
        thousandths(now.saturating_sub(before), time)
    }
}

fn thousandths(part: u64, whole: u64) -> i64 {
    i64::try_from(part.saturating_mul(1000) / whole).unwrap_or(i64::MAX / 8)
}

/// When a trial begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// When the threads have moved, or at this time at the latest: one that sleeps may move long after.
    By(Option<u64>),
    At(u64),
}

#[derive(Clone, Debug)]
enum Phase {
    /// Nothing is tried.
    Resting {
        /// Windows in which it did worse than packed.
        bad: u32,
        /// Windows in which one node would have been enough.
        calm: u32,
    },
    /// On more nodes than before, to see whether that pays.
    Trying {
        /// How many there were.
        before: usize,
        /// What was useful there.
        useful: i64,
        /// It begins when the threads have moved.
        begins: Begins,
        /// What is measured begins here, once there is enough memory on the new nodes.
        settled: Option<Snapshot>,
    },
}

/// Decides over how many nodes one process is spread.
#[derive(Clone, Debug)]
pub struct Spreading {
    nodes: usize,
    active: usize,
    phase: Phase,
    /// No trial before this time.
    not_before: u64,
    /// How long the next trial lasts.
    trial: u64,
    /// What was useful on the home node alone, when that was last known.
    packed: Option<i64>,
    /// Where the window that is compared begins, and the next one.
    older: Option<Snapshot>,
    newer: Option<Snapshot>,
    last: Option<Snapshot>,
    /// How often in a row threads waited for processors.
    waiting: u32,
    /// How many threads had something to do when last looked at, in thousandths.
    wanting: i64,
    mutation: Option<Mutation>,
}

impl Spreading {
    /// A process that is packed at home and may be spread over `nodes`.
    #[must_use]
    pub fn new(nodes: u8) -> Self {
        Self {
            nodes: usize::from(nodes.max(1)),
            active: 1,
            phase: Phase::Resting { bad: 0, calm: 0 },
            not_before: YOUNG,
            trial: FIRST_TRIAL,
            packed: None,
            older: None,
            newer: None,
            last: None,
            waiting: 0,
            // Until something is known it does something.
            wanting: IDLE,
            mutation: None,
        }
    }

    /// As [`Self::new`], but wrong.
    #[must_use]
    pub fn mutant(nodes: u8, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..Self::new(nodes) }
    }

    /// The process may be spread over `nodes` from now on, no fewer than before. If it uses all that there
    /// were, that is one more step to try. Otherwise what did not pay over fewer is not tried sooner, since
    /// machines may come often.
    pub fn grow(&mut self, nodes: u8) {
        if self.mutation != Some(Mutation::ForgetJoined) {
            self.nodes = self.nodes.max(nodes.into());
        }
    }

    /// How many nodes are in use, from home on.
    #[must_use]
    pub fn active(&self) -> u8 {
        self.active as u8
    }

    /// How soon the process should be looked at again.
    #[must_use]
    pub fn pace(&self) -> Pace {
        if matches!(self.phase, Phase::Trying { .. }) || self.waiting > 0 || self.last.is_none() {
            Pace::Soon
        } else if self.wanting >= IDLE {
            Pace::Later
        } else {
            Pace::Rarely
        }
    }

    /// What every node did until `at`, in nanoseconds since the run began, how many threads there are, and
    /// how many have been told to move and have not yet. A node that was never used has done nothing, and
    /// its machine has as much to spare as is known. Returns what is decided, if something is.
    pub fn observe(&mut self, at: u64, nodes: &[Usage], threads: usize, moving: usize) -> Option<Change> {
        if nodes.len() != self.nodes || self.last.as_ref().is_some_and(|last| at <= last.at) {
            return None;
        }
        let now = Snapshot { at, nodes: nodes.to_vec() };
        let Some(last) = self.last.replace(now.clone()) else {
            self.begin_window(&now);
            return None;
        };
        self.wanting = now.since(&last).wanting();
        let reason = match &self.phase {
            Phase::Trying { .. } => self.try_on(&now, moving),
            Phase::Resting { .. } => self.rest(&now, &last, threads),
        };
        reason.map(|reason| Change { nodes: self.active(), reason })
    }

    fn begin_window(&mut self, now: &Snapshot) {
        self.older = Some(now.clone());
        self.newer = Some(now.clone());
        self.waiting = 0;
    }

    fn rest(&mut self, now: &Snapshot, last: &Snapshot, threads: usize) -> Option<Reason> {
        let (older, newer) = (self.older.as_ref()?, self.newer.as_ref()?);
        let recent = now.since(older);
        if now.at - newer.at >= WINDOW {
            self.older = self.newer.replace(now.clone());
            if let Some(reason) = self.evaluate(recent) {
                return Some(reason);
            }
        }
        let just_now = now.since(last);
        let waits = just_now.waited >= WAITING || self.mutation == Some(Mutation::IgnoreWaiting);
        self.waiting = if waits && threads > 1 { self.waiting + 1 } else { 0 };
        if self.waiting < 2 || now.at < self.not_before {
            return None;
        }
        let wanted = usize::try_from((just_now.wanting() + 500) / 1000).unwrap_or(1).min(threads);
        let next = (2 * self.active).min(self.nodes).min(wanted);
        let has_spare = |node| now.spare_since(last, node) >= SPARE;
        let free = (self.active..next).take_while(|&node| has_spare(node)).count();
        let next = if self.mutation == Some(Mutation::IgnoreSpare) { next } else { self.active + free };
        if next <= self.active {
            return None;
        }
        let useful = recent.useful(self.mutation);
        if self.active == 1 {
            self.packed = Some(useful);
        }
        self.phase = Phase::Trying { before: self.active, useful, begins: Begins::By(None), settled: None };
        self.active = next;
        Some(Reason::Waiting { useful })
    }

    /// At the end of a window without a trial.
    fn evaluate(&mut self, recent: Rate) -> Option<Reason> {
        let Phase::Resting { bad, calm } = &mut self.phase else { return None };
        if self.active == 1 || self.mutation == Some(Mutation::NeverGather) {
            return None;
        }
        let useful = recent.useful(self.mutation);
        let does_worse =
            self.packed.is_some_and(|packed| useful * 10 < packed * 9 && recent.wanting() > CALM);
        *bad = if does_worse { *bad + 1 } else { 0 };
        *calm = if recent.wanting() <= CALM { *calm + 1 } else { 0 };
        let reason = if *bad >= BAD_WINDOWS {
            self.lose_patience();
            Reason::Worse { packed: self.packed.unwrap_or(useful), useful }
        } else if *calm >= CALM_WINDOWS {
            Reason::Calm
        } else {
            return None;
        };
        self.active = 1;
        self.rest_from_now();
        Some(reason)
    }

    fn try_on(&mut self, now: &Snapshot, moving: usize) -> Option<Reason> {
        let Phase::Trying { before, useful, begins, settled } = &mut self.phase else { return None };
        let begun = match *begins {
            Begins::At(begun) => begun,
            Begins::By(latest) => {
                let latest = latest.unwrap_or(now.at + self.trial);
                *begins = if moving == 0 || now.at >= latest {
                    Begins::At(now.at)
                } else {
                    Begins::By(Some(latest))
                };
                return None;
            }
        };
        let Some(since) = settled else {
            if now.at >= begun + self.trial / 3 {
                *settled = Some(now.clone());
            }
            return None;
        };
        if now.at < begun + self.trial {
            return None;
        }
        let (nodes_before, before) = (*before, *useful);
        let after = now.since(since).useful(self.mutation);
        // A third of what more nodes could give at best.
        let hoped = before.saturating_mul((self.active - nodes_before) as i64) / nodes_before as i64;
        let pays = after >= before + hoped / 3 || self.mutation == Some(Mutation::KeepAll);
        if !pays {
            self.active = nodes_before;
            self.lose_patience();
        }
        self.rest_from_now();
        Some(if pays { Reason::Pays { before, after } } else { Reason::DoesNotPay { before, after } })
    }

    fn lose_patience(&mut self) {
        let now = self.last.as_ref().map_or(0, |last| last.at);
        if self.mutation != Some(Mutation::ShortTrials) {
            self.trial = (2 * self.trial).min(LONGEST_TRIAL);
        }
        if self.mutation != Some(Mutation::NoPatience) {
            self.not_before = now + PATIENCE * self.trial;
        }
    }

    fn rest_from_now(&mut self) {
        self.phase = Phase::Resting { bad: 0, calm: 0 };
        if let Some(now) = self.last.clone() {
            self.begin_window(&now);
        }
    }
}
