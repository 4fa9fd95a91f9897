//! A page that was granted for writing stays at least the minimum hold time.

use std::collections::BTreeMap;

use banyan_core::ids::{Microseconds, PageNumber, Run};

use super::Violation;
use crate::page::Slot;

pub(crate) fn check(
    number: usize,
    slots: &BTreeMap<PageNumber, Slot>,
    run: Run,
    now: Microseconds,
    hold: Microseconds,
) -> Result<(), Violation> {
    for (page, slot) in slots.range(run.first..run.end()) {
        if slot.granted > 0 && now.0 < slot.granted + hold.0 {
            return Err(Violation {
                invariant: "minimum_hold",
                found: format!("node {number} had {page:?} for {} us only", now.0 - slot.granted),
            });
        }
    }
    Ok(())
}
