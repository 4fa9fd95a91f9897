//! Home looks at what the threads of its program do, has `core::placement::spreading` say over how many nodes
//! they shall be, and has them go there.
//!
//! Looking costs a few microseconds a thread, so the more there are, the more rarely it is done.

use super::Job;
use super::home::Home;
use super::questions::{Answer, PEER_DEADLINE};
use crate::observe::log;
use banyan_core::placement::spreading::{Change, Pace, Reason, Spreading, Usage};
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::NodeId;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How long a wait for an answer lasts until it looks whether the run has ended.
const PATIENCE: Duration = Duration::from_millis(100);
/// Looking takes at most one part in so many of a processor.
const PART: u32 = 200;
/// A thread wants to run that did, or could have, for a part in so many of the time.
const WANTING: u64 = 5;

fn interval(pace: Pace) -> Duration {
    Duration::from_nanos(pace.interval())
}

/// What the calling thread used so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Job {
    /// At home: has the program spread over the nodes of the job, or come together, for as long as the run
    /// lasts.
    pub(super) fn keep_spreading(&self, home: &Home) {
        let mut spreading = Spreading::new(self.nodes());
        let mut pause = interval(Pace::Soon);
        let mut looked = self.started;
        let mut usage = Vec::new();
        while !self.is_ending() {
            std::thread::sleep(pause);
            let (begun, used) = (Instant::now(), processor_time());
            let (threads, moving, nodes) = {
                let placement = home.placement();
                let live = placement.live();
                let threads = live.iter().sum::<u32>() as usize;
                (threads, placement.wishes().count(), live.len())
            };
            spreading.grow(nodes as u8);
            if nodes == 1 || threads < 2 && moving == 0 && spreading.active() == 1 {
                pause = interval(Pace::Later);
                continue;
            }
            usage.resize(nodes, Usage::default());
            let wanting = self.look(home, &mut usage, spreading.active(), begun - looked);
            looked = begun;
            let at = (begun - self.started).as_nanos() as u64;
            self.note_spare(&mut usage, at);
            let cost = processor_time() - used;
            let before = spreading.active();
            if let Some(change) = spreading.observe(at, &usage, threads, moving) {
                self.note_change(change);
                if let Err(reason) = self.carry_out(home, change, before, &wanting) {
                    if !self.is_ending() {
                        self.notice(&format!("the program stays on node 0: {reason}"));
                    }
                    return;
                }
            }
            pause = interval(spreading.pace()).max(cost * PART);
        }
    }

    /// Looks at what each node did so far; what a node did that is not in use, or has left, stays. Returns
    /// which threads at home wanted to run in the `time` since the last look.
    fn look(&self, home: &Home, nodes: &mut [Usage], active: u8, time: Duration) -> HashSet<u32> {
        let waits: Vec<_> = home
            .others()
            .take(usize::from(active) - 1)
            .map(|node| (node, home.questions().ask(node, |id| ControlMessage::TellUsage { id })))
            .collect();
        let enough = time.as_nanos() as u64 / WANTING;
        let mut wanting = HashSet::new();
        let own = self.usage(|thread, used_and_waited| {
            if used_and_waited >= enough {
                wanting.insert(thread);
            }
        });
        nodes[0] = own;
        for (node, wait) in waits {
            // One that does not answer is lost, which is noticed elsewhere; or the run has ended, which must
            // not wait for this.
            let until = Instant::now() + PEER_DEADLINE;
            while !self.is_ending() && Instant::now() < until {
                match wait.recv_timeout(PATIENCE) {
                    Ok(Answer::Usage(usage)) => nodes[usize::from(node.get())] = usage,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Ok(_) | Err(RecvTimeoutError::Disconnected) => {}
                }
                break;
            }
        }
        wanting
    }

    /// What the machine of each node had to spare in the time from the start to `at`. Nodes on this machine
    /// share what it has; of another one nothing is known, and a trial will tell.
    fn note_spare(&self, nodes: &mut [Usage], at: u64) {
        let places = self.facts.places.all();
        let is_here = |node: usize| places[node].address.ip() == places[0].address.ip();
        let all = at * std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let used: u64 = (0..nodes.len()).filter(|&node| is_here(node)).map(|node| nodes[node].used).sum();
        for (node, usage) in nodes.iter_mut().enumerate() {
            usage.spare = if is_here(node) { all.saturating_sub(used) } else { at };
        }
    }

    /// What this node did for the program so far. `each` is called with the time for which a thread of the
    /// replica ran, or could have, since the last call.
    pub(super) fn usage(&self, mut each: impl FnMut(u32, u64)) -> Usage {
        let times = self
            .tasks
            .lock()
            .look(self.replica_id(), |thread, times| each(thread, times.used + times.waited));
        Usage {
            used: times.used,
            waited: times.waited,
            lost: self.pager.counters.wait_nanoseconds.load(Ordering::Relaxed),
            spare: 0,
        }
    }

    /// Notes for people what was decided and why.
    fn note_change(&self, Change { nodes, reason }: Change) {
        let processors = |thousandths: i64| thousandths as f64 / 1000.0;
        let why = match reason {
            Reason::Waiting { useful } => {
                format!("threads wait for processors, and use {:.2}", processors(useful))
            }
            Reason::Pays { before, after } => {
                format!("it pays: {:.2} processors of use after {:.2}", processors(after), processors(before))
            }
            Reason::DoesNotPay { before, after } => {
                format!(
                    "it did not pay: {:.2} processors of use after {:.2}",
                    processors(after),
                    processors(before)
                )
            }
            Reason::Worse { packed, useful } => {
                format!("{:.2} processors of use, {:.2} on one node", processors(useful), processors(packed))
            }
            Reason::Calm => "one is enough".into(),
        };
        let text = format!("the program is on {nodes} of {} nodes: {why}", self.nodes());
        self.facts.log.note(log::Kind::Move, Some(self.facts.id), text);
    }

    /// Has the threads go to where they shall be from now on; the program was on `before` nodes.
    fn carry_out(
        &self,
        home: &Home,
        change: Change,
        before: u8,
        wanting: &HashSet<u32>,
    ) -> Result<(), String> {
        if change.nodes == before {
            return Ok(());
        }
        self.invite(home)?;
        let moves = {
            let mut placement = home.placement();
            // One that is elsewhere went there since it wanted to run.
            let elsewhere: HashSet<u32> = placement
                .threads()
                .filter(|(_, node)| *node != NodeId::HOME)
                .map(|(thread, _)| thread)
                .collect();
            placement
                .spread_over(change.nodes, |thread| wanting.contains(&thread) || elsewhere.contains(&thread))
        };
        for (thread, node) in moves {
            self.move_thread(home, thread, node);
        }
        Ok(())
    }
}
