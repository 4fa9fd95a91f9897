//! The newest contents of every page are in some node's memory, or kept by a node that gave them away: never
//! only in a message, which may be lost.

use banyan_core::coherence::Conduct;
use banyan_core::ids::{PageNumber, Run, Transaction};

use super::Violation;
use crate::page::Value;
use crate::world::World;

const INVARIANT: &str = "no_lost_write";

pub(super) fn check<C: Conduct>(world: &World<C>, page: PageNumber) -> Result<(), Violation> {
    let Some(newest) = world.oracle.settled(page).filter(|value| *value != 0) else { return Ok(()) };
    let kept = world.sites.iter().any(|site| {
        let here = site.replica.slots.get(&page).is_some_and(|slot| slot.value == newest);
        here || site.replica.retained.values().flatten().any(|kept| *kept == (page, newest))
    });
    if kept {
        return Ok(());
    }
    Err(Violation { invariant: INVARIANT, found: format!("write {newest} of {page:?} is nowhere") })
}

pub(crate) fn seen(number: usize, page: PageNumber, found: Value, newest: Option<Value>) -> Violation {
    Violation {
        invariant: INVARIANT,
        found: format!("a thread of node {number} saw {found} in {page:?}, where {newest:?} is right"),
    }
}

pub(crate) fn not_retained(number: usize, run: Run, transaction: Transaction) -> Violation {
    Violation {
        invariant: INVARIANT,
        found: format!("node {number} sends {run:?} of {transaction:?} again, which it did not keep"),
    }
}
