//! [`Runtime`]: processors on threads of their own, one pinned to each processor.
//!
//! A processor without work looks around for a moment and then parks. Ends with its last handle: events under
//! way complete, those that wait are dropped with their configurations.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use banyan_core::sponsors::Quota;

use crate::containment::contain;
use crate::durable::budgets::KeepBudgetsError;
use crate::processor::moving::RELIEVE;
use crate::processor::{Processor, Turn};
use crate::system::System;
use crate::system::clock::Clock;
use crate::system::handle::Handle;

/// How long a processor without work looks around before it parks: about what a wake-up on another processor
/// costs.
const LOOK_AROUND: Duration = Duration::from_micros(30);
/// Looks at its own door between looks at the others'.
const LOOKS_PER_ASKING: u32 = 64;
/// An idle processor looks so often whether another one is held up by a long event.
const LOOK_AGAIN: Duration = Duration::from_nanos(RELIEVE);
/// A processor that has missed a wake-up finds out after this long.
const PARK_MAX: Duration = Duration::from_millis(500);

/// What may be chosen for a runtime.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeOptions {
    /// Hosts; 0 for one per processor that this process may use.
    pub hosts: usize,
    /// Whether processors stay on their processors.
    pub pin: bool,
    /// What the root sponsor has.
    pub grant: Quota,
    /// What it gets each time that it has nothing left; without this its events then wait for
    /// [`Handle::grant`].
    pub refill: Option<Quota>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { hosts: 0, pin: true, grant: Quota::AMPLE, refill: None }
    }
}

/// Hosts that run; what is done with them is on [`Handle`].
pub struct Runtime {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the processors.
    ///
    /// # Errors
    /// What the system says about threads.
    pub fn start(options: RuntimeOptions) -> std::io::Result<Self> {
        Self::on(&Self::system(options), options)
    }

    /// The same with budgets that are kept in an arena, which is made if there is none: after a restart every
    /// sponsor has what it had, less what it may have spent until the process ended. The grant is for a new
    /// arena only.
    ///
    /// # Errors
    /// [`KeepBudgetsError`].
    pub fn start_kept(options: RuntimeOptions, budgets: &Path) -> Result<Self, KeepBudgetsError> {
        let system = Self::system(options);
        system.facilities.keep_budgets(budgets)?;
        Ok(Self::on(&system, options)?)
    }

    fn system(options: RuntimeOptions) -> Arc<System> {
        let count = if options.hosts == 0 { processors().len() } else { options.hosts };
        System::new(count, Clock::real(), options.grant, options.refill)
    }

    fn on(system: &Arc<System>, options: RuntimeOptions) -> std::io::Result<Self> {
        let processors = processors();
        let count = system.directory.processors.len();
        let mut threads = Vec::new();
        for index in 0..count {
            let host = Processor::new(index, system.clone());
            let processor = options.pin.then(|| processors[index % processors.len()]);
            let system = system.clone();
            let builder = std::thread::Builder::new().name(format!("banyan-host-{index}"));
            threads.push(builder.spawn(move || run(host, index, &system, processor))?);
        }
        Ok(Self { handle: Handle { system: system.clone() }, threads })
    }
}

impl std::ops::Deref for Runtime {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.handle.system.closing.store(true, Ordering::SeqCst);
        for door in &self.handle.system.directory.processors {
            if let Some(thread) = door.thread.lock().as_ref() {
                thread.unpark();
            }
        }
        self.handle.system.pool.close();
        self.handle.system.facilities.mailboxes.close();
        for thread in self.threads.drain(..) {
            // A processor's thread that panicked has said so.
            let _ = thread.join();
        }
        self.handle.system.facilities.accounts().close();
    }
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let found: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect();
    if found.is_empty() { vec![0] } else { found }
}

fn run(mut host: Processor, index: usize, system: &System, processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        // Not being allowed to stay on a processor costs speed only.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    let door = &system.directory.processors[index];
    *door.thread.lock() = Some(std::thread::current());
    while !system.closing.load(Ordering::Relaxed) {
        let turn = contain(|| host.turn());
        let Ok(Turn::Idle(until)) = turn else {
            turn.err().inspect(|words| host.recover(words));
            continue;
        };
        let begun = Instant::now();
        let mut looks = 0_u32;
        while begun.elapsed() < LOOK_AROUND && door.arrivals.is_empty() {
            std::hint::spin_loop();
            looks += 1;
            if looks.is_multiple_of(LOOKS_PER_ASKING) {
                host.ask_for_work();
            }
        }
        if !door.arrivals.is_empty() {
            continue;
        }
        door.sleeping.store(true, Ordering::SeqCst);
        // What was given before this processor was seen to sleep has not woken it.
        if door.arrivals.is_empty() && !system.closing.load(Ordering::SeqCst) {
            let wait = Duration::from_nanos(until.saturating_sub(system.facilities.clock.now()));
            let others_work =
                system.directory.processors.iter().any(|other| other.load.load(Ordering::Relaxed) > 0);
            std::thread::park_timeout(wait.min(if others_work { LOOK_AGAIN } else { PARK_MAX }));
        }
        door.sleeping.store(false, Ordering::SeqCst);
    }
    host.close();
}
