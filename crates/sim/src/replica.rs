//! The memory of one node: which pages it has, how they are mapped, which it gave away.

use std::collections::{BTreeMap, BTreeSet};

use banyan_core::coherence::Contents;
use banyan_core::ids::{Access, ExtentNumber, PageNumber, Run, Transaction};
use banyan_wire::coherence::Message;

use crate::invariants::{Violation, copy_is_final, no_lost_write, nothing_rejected};
use crate::page::{Pages, Slot, Value};

/// The memory of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The pages in memory.
    pub slots: BTreeMap<PageNumber, Slot>,
    /// Extents that threads touch natively.
    pub native: BTreeSet<ExtentNumber>,
    /// Pages given away.
    pub retained: BTreeMap<(ExtentNumber, Transaction), Pages>,
}

impl Replica {
    /// What a thread can do with a page without a fault.
    #[must_use]
    pub fn mapped(&self, page: PageNumber) -> Option<Access> {
        if self.native.contains(&page.extent()) {
            return Some(Access::Write);
        }
        self.slots.get(&page).and_then(|slot| slot.mapped)
    }

    /// What a thread, or the driver by its alias mapping, finds there.
    #[must_use]
    pub fn value(&self, page: PageNumber) -> Value {
        self.slots.get(&page).map_or(0, |slot| slot.value)
    }

    /// The pages that go with a message of node `number`.
    pub(crate) fn contents(
        &self,
        number: usize,
        message: &Message,
        from: Contents,
    ) -> Result<Pages, Violation> {
        match (from, message) {
            (Contents::None, _) => Ok(Vec::new()),
            (Contents::Replica, Message::Grant { run, .. }) => copy_is_final::read(number, &self.slots, *run),
            (Contents::Retained, Message::Grant { run, transaction, .. }) => {
                let kept = self.retained.get(&(run.first.extent(), *transaction)).cloned();
                kept.ok_or_else(|| no_lost_write::not_retained(number, *run, *transaction))
            }
            _ => Err(nothing_rejected::broken(format!("contents with {message:?}"))),
        }
    }

    /// Stores pages that a frame carries and maps them but for the marker. `granted` is when write access
    /// was.
    pub(crate) fn install(
        &mut self,
        run: Run,
        frame: &[(PageNumber, Value)],
        (access, granted): (Access, u64),
        marker: Option<PageNumber>,
    ) -> Result<(), Violation> {
        for page in run.pages() {
            let carried = frame.iter().find(|(carried, _)| *carried == page);
            let value = carried
                .map(|(_, value)| *value)
                .ok_or_else(|| nothing_rejected::broken(format!("{page:?} is not in the frame")))?;
            let mapped = (marker != Some(page)).then_some(access);
            let granted = if access == Access::Write { granted } else { 0 };
            self.slots.insert(page, Slot { value, mapped, granted });
        }
        Ok(())
    }

    /// Lets pages be written that are mapped.
    pub(crate) fn upgrade(&mut self, run: Run, granted: u64, hasty: Option<PageNumber>) {
        for page in run.pages() {
            // A hole that was write-protected stays unmapped, but a hasty thread has it mapped at once.
            if hasty == Some(page) {
                let hole = Slot { value: 0, mapped: None, granted: 0 };
                self.slots.entry(page).or_insert(hole).mapped = Some(Access::Write);
            }
            if let Some(slot) = self.slots.get_mut(&page) {
                slot.mapped = slot.mapped.map(|_| Access::Write);
                slot.granted = granted;
            }
        }
    }
}
