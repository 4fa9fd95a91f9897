//! Deterministic mode: the same processors and configurations on one thread, in an order that a seed decides.
//!
//! A seed gives one interleaving of everything: which processor takes its next turn, when work of the pool is
//! done, when the clock moves. A failure found with a seed is found with it again. Native events cost a fixed
//! number of cycles.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::sponsors::Quota;

use crate::durable::StoreHealth;
use crate::durable::budgets::KeepBudgetsError;
use crate::processor::{Processor, Turn};
use crate::system::System;
use crate::system::clock::Clock;
use crate::system::handle::Handle;

/// Random numbers that are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// How a simulation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is left to do, and nothing will be.
    Drained,
    /// The steps were used up.
    NotDrained,
}

/// Hosts that take turns as a seed decides; what is done with them is on [`Handle`].
pub struct Simulation {
    handle: Handle,
    hosts: Vec<Processor>,
    /// What each processor's last turn said: idle until then, if it was idle.
    idle: Vec<Option<u64>>,
    random: Random,
    steps: u64,
}

impl std::ops::Deref for Simulation {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Simulation {
    /// `hosts` processors, interleaved as the seed says, and a root sponsor with `grant`.
    #[must_use]
    pub fn new(seed: u64, hosts: usize, grant: Quota) -> Self {
        Self::on(seed, &System::new(hosts.max(1), Clock::simulated(), grant, None))
    }

    /// The same with budgets that are kept in an arena. Dropping the simulation is a crash;
    /// [`Simulation::close`] is a clean end.
    ///
    /// # Errors
    /// [`KeepBudgetsError`].
    pub fn kept(seed: u64, hosts: usize, grant: Quota, budgets: &Path) -> Result<Self, KeepBudgetsError> {
        let system = System::new(hosts.max(1), Clock::simulated(), grant, None);
        system.facilities.keep_budgets(budgets)?;
        Ok(Self::on(seed, &system))
    }

    /// Lets so many commits of the kept budgets find no room, or fail, for tests of full and faulty disks.
    #[doc(hidden)]
    pub fn spoil_budgets(&self, health: StoreHealth, commits: u32) {
        if let Some(kept) = &mut self.handle.system.facilities.accounts().kept {
            kept.spoil(health, commits);
        }
    }

    fn on(seed: u64, system: &Arc<System>) -> Self {
        let hosts = system.directory.processors.len();
        let running = (0..hosts).map(|index| Processor::new(index, system.clone()));
        let hosts: Vec<Processor> = running.collect();
        let idle = vec![None; hosts.len()];
        Self { handle: Handle { system: Arc::clone(system) }, hosts, idle, random: Random(seed), steps: 0 }
    }

    /// Ends cleanly: leases are settled, and budgets that are kept are written.
    pub fn close(mut self) {
        self.hosts.iter_mut().for_each(Processor::close);
        self.handle.system.facilities.accounts().close();
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Goes on until nothing is left to do, or for `steps_max` steps.
    pub fn run(&mut self, steps_max: u64) -> Ending {
        self.idle.fill(None);
        for _ in 0..steps_max {
            self.steps += 1;
            if self.random.below(8) == 0 && self.work_of_pool() {
                continue;
            }
            let index = self.random.below(self.hosts.len());
            match self.hosts[index].turn() {
                // Whatever it did may have given others something to do.
                Turn::Worked => self.idle.fill(None),
                Turn::Idle(until) => self.idle[index] = Some(until),
            }
            let Some(until) =
                self.idle.iter().copied().try_fold(u64::MAX, |least, one| Some(least.min(one?)))
            else {
                continue;
            };
            if self.work_of_pool() {
                continue;
            }
            if until == u64::MAX {
                return Ending::Drained;
            }
            let clock = &self.handle.system.facilities.clock;
            clock.advance(Duration::from_nanos(until.saturating_sub(clock.now())));
            self.idle.fill(None);
        }
        Ending::NotDrained
    }

    fn work_of_pool(&mut self) -> bool {
        let Some(job) = self.handle.system.pool.take() else { return false };
        job();
        self.idle.fill(None);
        true
    }
}
