//! In some histories a node leaves while the others go on: what a driver does about that, a step at a time.
//!
//! Not here: what the machines do (`banyan_core::coherence`, retire).

use std::collections::BTreeSet;
use std::rc::Rc;

use banyan_core::coherence::{ACQUIRE_PAGES_MAX, Conduct, Input, Token};
use banyan_core::ids::{Access, ExtentNumber, NodeId, Run};
use banyan_wire::coherence::Message;

use super::{Doing, Event, FIRST_EXTENT, Simulation};
use crate::invariants::Violation;
use crate::replica::Replica;

/// How far a node is that leaves.
#[derive(Debug)]
pub(super) struct Retirement {
    site: usize,
    stage: Stage,
    /// Pages that are being taken from it.
    taking: BTreeSet<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Stage {
    /// Its threads are not done.
    Working,
    /// It hands over what it owns.
    HandingOver,
    /// The others take its pages.
    Dismissed,
    /// It has fallen silent, and the others find out.
    Closed,
}

impl Retirement {
    pub(super) fn of(site: usize) -> Self {
        Self { site, stage: Stage::Working, taking: BTreeSet::new() }
    }

    /// Whether it may be given an extent to own.
    pub(super) fn may_own(&self, node: NodeId) -> bool {
        usize::from(node.get()) != self.site || self.stage < Stage::Dismissed
    }

    /// Pages have come.
    pub(super) fn acquired(&mut self, token: Token) {
        self.taking.remove(&token);
    }
}

impl<C: Conduct> Simulation<C> {
    fn is_idle(&self, site: usize) -> bool {
        !self.world.is_busy(site) && self.backlog[site].is_empty()
    }

    /// Does the next thing for a node to leave, or looks again later.
    pub(super) fn retire(&mut self) -> Result<(), Violation> {
        let Some(retirement) = &self.retirement else { return Ok(()) };
        let (site, stage) = (retirement.site, retirement.stage);
        let others: Vec<usize> = (0..self.world.sites.len()).filter(|&other| other != site).collect();
        let next = match stage {
            Stage::Working => {
                let mut threads = self.threads.iter().filter(|thread| thread.site == site);
                let done = threads.all(|thread| thread.left == 0 && thread.doing == Doing::Nothing);
                if done && self.is_idle(site) && !self.world.sites[site].machine.expects_pages() {
                    self.begin_to_retire(site)?;
                    Some(Stage::HandingOver)
                } else {
                    None
                }
            }
            Stage::HandingOver if self.is_idle(site) && self.world.sites[site].machine.has_handed_over() => {
                let known: Vec<_> = self.world.sites[site].machine.owned_by_others().collect();
                for (extent, epoch, owner) in known {
                    let message = Message::Located { extent, epoch, owner };
                    self.step(0, Input::Receive { from: node(site), message }, &[])?;
                }
                for other in others {
                    self.step(other, Input::Dismiss { node: node(site) }, &[])?;
                }
                Some(Stage::Dismissed)
            }
            Stage::HandingOver => None,
            Stage::Dismissed => {
                if self.take_pages(site, &others)? {
                    self.step(site, Input::Close, &[])?;
                }
                self.world.sites[site].machine.has_closed().then_some(Stage::Closed)
            }
            Stage::Closed => {
                // Its memory goes with its replica.
                Rc::make_mut(&mut self.world.sites[site]).replica = Replica::default();
                for other in others {
                    let delay = self.random.below(400);
                    self.schedule(delay, Event::Forget(other));
                }
                return Ok(());
            }
        };
        if let (Some(stage), Some(retirement)) = (next, &mut self.retirement) {
            retirement.stage = stage;
        }
        let delay = 20 + self.random.below(200);
        self.schedule(delay, Event::Retire);
        Ok(())
    }

    fn begin_to_retire(&mut self, site: usize) -> Result<(), Violation> {
        self.note(|| format!("node {site} is to leave"));
        self.step(site, Input::Retire, &[])?;
        for extent in (0..self.shape.extents).map(|offset| ExtentNumber(FIRST_EXTENT + offset)) {
            let run = extent.run();
            let has_contents =
                self.world.sites[site].replica.slots.range(run.first..run.end()).next().is_some();
            if has_contents {
                self.step(site, Input::HandOver { extent, to: NodeId::HOME }, &[])?;
            }
        }
        Ok(())
    }

    /// Has the others take what the node has. True when it has nothing.
    fn take_pages(&mut self, site: usize, others: &[usize]) -> Result<bool, Violation> {
        let mut clear = true;
        for &other in others {
            let machine = &self.world.sites[other].machine;
            let held = machine.held_by(node(site), ACQUIRE_PAGES_MAX);
            clear &= self.is_idle(other) && held.is_empty() && !machine.expects(node(site));
            let is_taking = self.retirement.as_ref().is_some_and(|retirement| !retirement.taking.is_empty());
            if !is_taking {
                self.take(other, held)?;
            }
        }
        Ok(clear)
    }

    fn take(&mut self, site: usize, runs: Vec<Run>) -> Result<(), Violation> {
        for run in runs {
            let token = self.token();
            if let Some(retirement) = &mut self.retirement {
                retirement.taking.insert(token);
            }
            self.note(|| format!("node {site} takes {run:?}"));
            self.step(site, Input::Acquire { token, run, access: Access::Write }, &[])?;
        }
        Ok(())
    }

    /// A node hears that the one which left has.
    pub(super) fn forget(&mut self, site: usize) -> Result<(), Violation> {
        let Some(retirement) = &self.retirement else { return Ok(()) };
        let left = node(retirement.site);
        self.note(|| format!("node {site} forgets {left}"));
        self.step(site, Input::Forget { node: left }, &[])
    }
}

fn node(site: usize) -> NodeId {
    u8::try_from(site).ok().and_then(NodeId::new).unwrap_or(NodeId::HOME)
}
