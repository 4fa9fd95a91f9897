//! A node that takes no part in a process any more, while the others go on.
//!
//! It runs no threads of it when this begins, so it asks for nothing. What it owns goes home
//! ([`Input::Retire`](super::Input::Retire)), home learns what it had given to others
//! ([`Machine::owned_by_others`]), its pages go to the owners of their extents, which are told to
//! serve it no more ([`Input::Dismiss`](super::Input::Dismiss)) and take them
//! ([`Machine::held_by`]); then it has nothing, falls silent
//! ([`Input::Close`](super::Input::Close)), and is forgotten
//! ([`Input::Forget`](super::Input::Forget)): requests that it did not answer go to home. Extents that it
//! was the first owner of, and that nobody ever touched, are home's from then on.
//!
//! Not here: who decides that, and where its threads go.

use alloc::vec::Vec;

use banyan_wire::coherence::Holders;
use banyan_wire::ids::{EXTENT_PAGES, Epoch, ExtentNumber, NodeId, NodeSet, Run, Transaction};

use super::extent::{Directory, Entry, Extent, Held, Purpose, runs};
use super::timer::Timers;
use super::{Conduct, Machine, Mutation, Outcome, Outputs, Problem};

/// How far this node is from leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Stage {
    /// It stays.
    #[default]
    Stays,
    /// It hands over all that it owns.
    Retires,
    /// It has left, and says nothing more.
    Closed,
}

/// Nodes that are leaving or have left, as this node knows them; and how far it is itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Retirement {
    own: Stage,
    /// What these ask for is not served.
    dismissed: NodeSet,
    /// These are never asked again.
    forgotten: NodeSet,
}

impl Retirement {
    pub(super) fn is_dismissed(&self, node: NodeId) -> bool {
        self.dismissed.contains(node)
    }

    /// Whether this node has left.
    pub(super) fn is_closed(&self) -> bool {
        self.own == Stage::Closed
    }

    pub(super) fn has_left(&self, node: NodeId) -> bool {
        self.forgotten.contains(node)
    }

    /// Who is asked in the place of a node.
    pub(super) fn stand_in(&self, node: NodeId, home: NodeId) -> NodeId {
        if self.has_left(node) { home } else { node }
    }
}

impl<C: Conduct> Machine<C> {
    /// This node hands over all that it owns, and is not home.
    pub(super) fn retire(&mut self) -> Outcome {
        if self.me == self.policy.home {
            return Err(Problem::Own("home cannot leave its process".into()));
        }
        self.retirement.own = Stage::Retires;
        Ok(())
    }

    /// Hands over what is known and owned here, if this node retires: what became known by the step, too.
    pub(super) fn hand_over_all(&mut self, outputs: &mut Outputs) -> Outcome {
        if self.retirement.own != Stage::Retires || self.conduct.makes(Mutation::OwnWhileRetiring) {
            return Ok(());
        }
        let stays = |extent: &Extent| {
            extent.owned && extent.directory.as_ref().is_none_or(|directory| directory.successor.is_none())
        };
        let stays = self.extents.iter().filter(|(_, extent)| stays(extent));
        let numbers: Vec<ExtentNumber> = stays.map(|(number, _)| *number).collect();
        numbers.into_iter().try_for_each(|number| self.hand_over(number, self.policy.home, outputs))
    }

    /// Whether this node, which retires, owns nothing any more that it knows of.
    #[must_use]
    pub fn has_handed_over(&self) -> bool {
        self.extents.values().all(|extent| !extent.owned && extent.leaving.is_none())
    }

    /// Extents that this node has heard of and that neither it nor home owns: since when, and who does. A
    /// node that has handed over all tells home, which need not know whom it had given what it owned first.
    pub fn owned_by_others(&self) -> impl Iterator<Item = (ExtentNumber, Epoch, NodeId)> + '_ {
        let others =
            self.extents.iter().filter(|(_, extent)| !extent.owned && extent.owner != self.policy.home);
        others.map(|(number, extent)| (*number, extent.epoch, extent.owner))
    }

    /// What a node asks for is not served any more, and what it asked for is forgotten.
    pub(super) fn dismiss(&mut self, node: NodeId) {
        self.retirement.dismissed = self.retirement.dismissed.with(node);
        for extent in self.extents.values_mut() {
            if let Some(directory) = &mut extent.directory {
                directory.queue.retain(|asked| asked.requester != node);
            }
        }
    }

    /// Runs of pages of which a node has a copy, by the directories that this node keeps; not many more than
    /// `most` pages. While it expects something of the node, this is not final: see [`Self::expects`].
    #[must_use]
    pub fn held_by(&self, node: NodeId, most: u32) -> Vec<Run> {
        let (mut found, mut pages) = (Vec::new(), 0);
        let only_writers = self.conduct.makes(Mutation::ForgetRetiringReaders);
        for (number, extent) in &self.extents {
            let Some(directory) = extent.directory.as_ref().filter(|directory| !directory.sharing) else {
                continue;
            };
            let holds = |entry: &Entry| match entry.holders {
                Holders::Writer(writer) => writer == node,
                Holders::Readers { nodes, .. } => nodes.contains(node) && !only_writers,
            };
            if directory.origin != node && !directory.entries.iter().any(holds) {
                continue;
            }
            for (run, ()) in runs(number.run(), |page| holds(&directory.entry(page)).then_some(())) {
                pages += run.count;
                found.push(run);
            }
            if pages >= most {
                break;
            }
        }
        found
    }

    /// Whether this node waits for something of another one, as the owner of an extent.
    #[must_use]
    pub fn expects(&self, node: NodeId) -> bool {
        let of_directory = |directory: &Directory| {
            directory.successor == Some(node)
                || directory.transfers.values().any(|transfer| {
                    let by_purpose = matches!(transfer.purpose, Purpose::Access { requester, source, .. }
                        if requester == node || source == Some(node));
                    by_purpose || transfer.waiting.contains(node)
                })
        };
        self.extents.values().any(|extent| {
            extent.leaving.as_ref().is_some_and(|leaving| leaving.to == node)
                || extent.directory.as_deref().is_some_and(of_directory)
                || extent.retained.values().any(|kept| kept.requester == node)
        })
    }

    /// Whether this node has fallen silent.
    #[must_use]
    pub fn has_closed(&self) -> bool {
        self.retirement.is_closed()
    }

    /// Whether this node, which retires, has nothing left that another one could want.
    fn has_nothing(&self) -> bool {
        let has_nothing = self.extents.values().all(|extent| {
            !extent.owned
                && extent.leaving.is_none()
                && extent.retained.is_empty()
                && (extent.untouched == Held::Absent || extent.pages.len() == EXTENT_PAGES as usize)
                && extent.pages.iter().all(|page| page.held == Held::Absent)
        });
        self.retirement.own == Stage::Retires && has_nothing && !self.expects_pages()
    }

    /// This node says nothing more, if it may.
    pub(super) fn fall_silent(&mut self) {
        if self.has_nothing() || self.conduct.makes(Mutation::CloseAtOnce) {
            self.retirement.own = Stage::Closed;
            self.timers = Timers::default();
        }
    }

    /// A node has left, having nothing. Home is asked in its place, and owns what nobody ever asked it for.
    pub(super) fn forget(&mut self, node: NodeId, outputs: &mut Outputs) {
        let (me, home) = (self.me, self.policy.home);
        if node == me || node == home {
            return;
        }
        self.dismiss(node);
        if self.conduct.makes(Mutation::RememberRetired) {
            return;
        }
        self.retirement.forgotten = self.retirement.forgotten.with(node);
        for (_, owner) in self.assigned.values_mut().filter(|(_, owner)| *owner == node) {
            *owner = home;
        }
        let affected = |extent: &Extent| {
            (extent.owner == node && !extent.owned)
                || extent.retained.values().any(|kept| kept.requester == node)
        };
        let affected: Vec<ExtentNumber> =
            self.extents.iter().filter(|(_, extent)| affected(extent)).map(|(number, _)| *number).collect();
        for number in affected {
            self.release_to(node, number, outputs);
            let extent = self.extent(number);
            if extent.owner != node || extent.owned {
                continue;
            }
            extent.owner = home;
            if me == home {
                // It never handed this over, so it never had it: every page is zero.
                extent.owned = true;
                extent.epoch = Epoch(extent.epoch.0 + 1);
                self.become_native(number, outputs);
            } else {
                self.ask_again(number, outputs);
            }
            self.discard_again(number, outputs);
        }
        self.sweep_anew(node, outputs);
    }

    /// What a node got for good, though it never said so.
    fn release_to(&mut self, node: NodeId, number: ExtentNumber, outputs: &mut Outputs) {
        let kept = self.extent(number).retained.iter();
        let kept: Vec<Transaction> =
            kept.filter(|(_, kept)| kept.requester == node).map(|(transaction, _)| *transaction).collect();
        for transaction in kept {
            self.release(node, number, transaction, outputs);
        }
    }
}
