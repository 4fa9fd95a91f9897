//! Timers on the processor time of a program on several nodes: no kernel knows the sum, so at home the clocks
//! by which a timer runs are read again and again, and the stub raises the signals that are due.
//!
//! The thread that does so is there only while a timer runs. Not here: what a call means and when a signal is
//! due (`banyan_core::timers`).
//!
//! Lock order: the timers' before those of the placement and of the replica's commands. It is held while a
//! signal is raised, so that none is looked for before, and not while a clock is read.

use super::Job;
use super::home::Home;
use crate::pager::PagerError;
use banyan_core::timers::{Call, Clock, Counts, Due, Seen, Timers, Waiting};
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Answer, Command, Nothing, Raise, Reply, TimeHere, TimerCall, TimerState, Used};
use parking_lot::Mutex;
use std::time::Duration;

/// A clock is read so often at most: each reading is a round trip to every node.
const LOOK_MIN: Duration = Duration::from_millis(1);
/// And so often at least, for threads begin to run without saying so.
const LOOK_MAX: Duration = Duration::from_millis(20);

/// The timers of a job, at its home.
#[derive(Debug, Default)]
pub(super) struct Kept(pub(super) Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    timers: Timers,
    /// Whether the thread is there that reads the clocks.
    is_kept: bool,
    /// Which thread got the last signal that is for the process.
    pub(super) last: u32,
}

impl Job {
    /// At home: a call of the program about a timer.
    pub(super) fn timer_call(&self, home: &Home, call: &TimerCall) -> Result<Answer, PagerError> {
        let call = Call {
            number: call.number,
            timer: call.timer,
            thread: call.thread,
            process: self.replica_id(),
            clock: call.clock,
            arguments: [call.second, call.third],
            read: call.read,
        };
        let clock = home.timers.0.lock().timers.clock(&call);
        let Some(clock) = clock else { return Ok(Answer::Failed(Nothing {})) };
        let waiting = home.timers.0.lock().timers.waiting_of(&call);
        let seen = waiting.map(|waiting| (waiting, self.look_for(&waiting)));
        // After the look: what is gone was taken before.
        let now = self.reading(home, clock)?;
        let mut state = home.timers.0.lock();
        // The stub asks when it has taken the signal.
        if call.read == TimerCall::SIGNAL_TAKEN {
            state.timers.told(call.timer, seen, now);
        } else if let Some((signal, Seen::Gone)) = seen {
            state.timers.gone(&signal, now);
        }
        let (result, was) = state.timers.call(&call, clock, now);
        if !state.is_kept && !state.timers.running().is_empty() {
            state.is_kept = true;
            self.thread_at_home("timers", Self::keep_timers);
        }
        Ok(Answer::Timer(TimerState { result, was }))
    }

    /// Raises the signals that are due, until no timer runs.
    fn keep_timers(&self, home: &Home) {
        while !self.is_ending() {
            let clocks = {
                let mut state = home.timers.0.lock();
                let clocks = state.timers.running();
                state.is_kept = !clocks.is_empty();
                clocks
            };
            if clocks.is_empty() {
                return;
            }
            let mut wait = LOOK_MAX;
            for clock in clocks {
                let waiting: Vec<_> = home.timers.0.lock().timers.waiting(clock).collect();
                let is_gone = |signal: &&Waiting| self.look_for(signal) == Seen::Gone;
                let gone: Vec<_> = waiting.iter().filter(is_gone).collect();
                // After the look, as above. A node that does not answer now may stand still, or is about to
                // be lost.
                let Ok(now) = self.reading(home, clock) else { continue };
                let mut state = home.timers.0.lock();
                gone.iter().for_each(|signal| state.timers.gone(signal, now));
                for due in state.timers.due(clock, now) {
                    let to = self.raise(home, due, &mut state.last);
                    state.timers.raised(&due, to);
                }
                let left = state.timers.left(clock, now).map_or(LOOK_MAX, Duration::from_nanos);
                wait = wait.min(left / self.threads_at_once(clock));
            }
            std::thread::sleep(wait.max(LOOK_MIN));
        }
    }

    /// How many times faster than time a clock runs at most.
    pub(super) fn threads_at_once(&self, clock: Clock) -> u32 {
        if clock.of != 0 {
            return 1;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        processors.saturating_mul(self.nodes().into())
    }

    /// What a clock reads, in nanoseconds.
    pub(super) fn reading(&self, home: &Home, clock: Clock) -> Result<u64, PagerError> {
        let mut total = self.used_at_home(clock.of)?;
        let mut add = |more: Used| {
            total.user = total.user.saturating_add(more.user);
            total.system = total.system.saturating_add(more.system);
        };
        if clock.of == 0 {
            add(home.time_elsewhere(None, 0)?);
        } else {
            let before = home.used_before.lock().get(&clock.of).copied();
            add(Used { user: before.unwrap_or(0), system: 0 });
            let node = home.placement().node(clock.of).filter(|&node| node != NodeId::HOME);
            if node.is_some() {
                add(home.time_elsewhere(node, clock.of)?);
            }
        }
        Ok(match clock.counts {
            Counts::All => total.user.saturating_add(total.system),
            Counts::User => total.user,
        })
    }

    /// What the home replica, or a thread in it, used.
    fn used_at_home(&self, thread: u32) -> Result<Used, PagerError> {
        match self.command_of_timers(&Command::ProcessorTime(TimeHere { thread }))? {
            Reply::Used(used) => Ok(used),
            _ => Err(PagerError::Fatal("the home replica does not tell its processor time".into())),
        }
    }

    fn command_of_timers(&self, command: &Command) -> Result<Reply, PagerError> {
        let commands = self.commands.get().ok_or_else(|| PagerError::Fatal("there is no replica".into()))?;
        commands.command(command, None).map_err(|error| PagerError::Fatal(error.to_string()))
    }

    /// Has the stub raise a signal. The kernel gives one that is for the process to the thread that used the
    /// time; here the threads take turns, so that a profiler sees them all. Returns which one gets it, if
    /// that is not the process's choice. `last` is whose turn it was last.
    pub(super) fn raise(&self, home: &Home, due: Due, last: &mut u32) -> Option<u32> {
        let to = due.to.or_else(|| self.next_thread(home, due.information[0], last));
        let raise = Raise { to: to.map_or(0, u64::from), information: due.information };
        // A replica that does not answer has ended, which its other socket tells.
        let _ = self.command_of_timers(&Command::Raise(raise));
        to
    }

    /// Looks whether a signal that was raised waits to be taken. Of a thread that has ended it does not.
    fn look_for(&self, &Waiting { signal, to, .. }: &Waiting) -> Seen {
        let process = self.replica_id();
        let (thread, set) = to.map_or((process, "ShdPnd:\t"), |thread| (thread, "SigPnd:\t"));
        let waits = mask_of(process, thread, set).is_some_and(|mask| mask >> (signal - 1) & 1 != 0);
        if waits { Seen::Waiting } else { Seen::Gone }
    }

    /// The next thread that runs the program, as far as home can tell, and lets the signal in.
    fn next_thread(&self, home: &Home, signal: u64, last: &mut u32) -> Option<u32> {
        let mut threads: Vec<(u32, NodeId)> = home.placement().threads().collect();
        threads.sort_unstable_by_key(|&(thread, _)| (thread <= *last, thread));
        let takes = |&(thread, node): &(u32, NodeId)| self.may_take(thread, node, signal);
        let (next, _) = threads.into_iter().find(takes)?;
        *last = next;
        Some(next)
    }

    /// Whether a thread lets a signal in and does not wait in a call. Of one elsewhere the deputy waits for
    /// its next call while it runs, in `recvfrom`.
    fn may_take(&self, thread: u32, node: NodeId, signal: u64) -> bool {
        const RECVFROM: &str = "45";
        let process = self.replica_id();
        let call =
            std::fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall")).unwrap_or_default();
        let call = call.split_whitespace().next();
        let runs = if node == NodeId::HOME { call == Some("running") } else { call == Some(RECVFROM) };
        runs && mask_of(process, thread, "SigBlk:\t").is_some_and(|mask| mask >> (signal - 1) & 1 == 0)
    }
}

/// One of the masks that the kernel shows of a thread.
fn mask_of(process: u32, thread: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(mask, 16).ok()
}
