//! What a guest knows addresses by: numbers in its table.
//!
//! A number that the guest makes up leads to an entry that it was given, or to nothing; an address itself
//! never enters its memory. Changes are noted until [`Handles::keep`], so that a failed event can be undone
//! in time proportional to what it did.

use serde::{Deserialize, Serialize};

use super::abi;
use crate::model::address::Address;

/// Where a handle leads.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shared {
    /// An actor.
    Address(Address),
    /// The actor that this event creates as its nth: it has no address before the event completes.
    Created(u32),
    /// The actor itself.
    This,
}

/// The table of one actor.
#[derive(Debug, Default)]
pub(super) struct Handles {
    entries: Vec<Option<Shared>>,
    free: Vec<u32>,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    /// A free entry was filled.
    Filled(u32),
    /// An entry was added at the end.
    Added,
    /// An entry was released.
    Released(u32, Shared),
}

/// The table is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A table as it is kept. The first entry, the actor itself, is not in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedHandles {
    entries: Vec<Option<Address>>,
    free: Vec<u32>,
}

impl Handles {
    pub(super) fn new() -> Self {
        Self { entries: vec![Some(Shared::This)], ..Self::default() }
    }

    /// Puts an entry in, and gives its number.
    pub(super) fn add(&mut self, entry: Shared) -> Result<u32, Full> {
        if let Some(handle) = self.free.pop() {
            self.entries[handle as usize] = Some(entry);
            self.changes.push(Change::Filled(handle));
            return Ok(handle);
        }
        if self.entries.len() >= abi::HANDLES as usize {
            return Err(Full);
        }
        self.entries.push(Some(entry));
        self.changes.push(Change::Added);
        Ok(self.entries.len() as u32 - 1)
    }

    pub(super) fn get(&self, handle: u32) -> Option<&Shared> {
        self.entries.get(handle as usize)?.as_ref()
    }

    /// Takes an entry out; `false` if there is none, or it is the actor itself.
    pub(super) fn release(&mut self, handle: u32) -> bool {
        if handle == abi::SELF_HANDLE {
            return false;
        }
        let Some(entry) = self.entries.get_mut(handle as usize).and_then(Option::take) else { return false };
        self.changes.push(Change::Released(handle, entry));
        self.free.push(handle);
        true
    }

    /// Gives the entries for created actors their addresses: `created` in the order of creation.
    pub(super) fn resolve(&mut self, created: &[Address]) {
        if created.is_empty() {
            return;
        }
        for change in &self.changes {
            let handle = match change {
                Change::Filled(handle) => *handle,
                // Only new entries can be created actors, and these are the last ones.
                Change::Added | Change::Released(..) => continue,
            };
            resolve(&mut self.entries[handle as usize], created);
        }
        let added = self.changes.iter().filter(|change| matches!(change, Change::Added)).count();
        let first = self.entries.len() - added;
        self.entries[first..].iter_mut().for_each(|entry| resolve(entry, created));
    }

    /// The event completed.
    pub(super) fn keep(&mut self) {
        self.changes.clear();
    }

    /// The event did not: everything since the last `keep` is taken back, latest first.
    pub(super) fn undo(&mut self) {
        while let Some(change) = self.changes.pop() {
            match change {
                Change::Filled(handle) => {
                    self.entries[handle as usize] = None;
                    self.free.push(handle);
                }
                Change::Added => {
                    self.entries.pop();
                }
                Change::Released(handle, entry) => {
                    self.free.pop();
                    self.entries[handle as usize] = Some(entry);
                }
            }
        }
    }

    /// The table as it is kept; only between events.
    pub(super) fn save(&self) -> SavedHandles {
        let entries = self.entries.iter().skip(1).map(|entry| match entry {
            Some(Shared::Address(address)) => Some(address.clone()),
            _ => None,
        });
        SavedHandles { entries: entries.collect(), free: self.free.clone() }
    }

    /// The table that was kept; `None` for one that no table can be.
    pub(super) fn restore(saved: SavedHandles) -> Option<Self> {
        let mut handles = Self::new();
        handles.entries.extend(saved.entries.into_iter().map(|address| address.map(Shared::Address)));
        if handles.entries.len() > abi::HANDLES as usize {
            return None;
        }
        let mut seen = vec![false; handles.entries.len()];
        for handle in &saved.free {
            let handle = *handle as usize;
            let free = handles.entries.get(handle).is_some_and(Option::is_none);
            if !free || std::mem::replace(&mut seen[handle], true) {
                return None;
            }
        }
        let empty = handles.entries.iter().filter(|entry| entry.is_none()).count();
        handles.free = saved.free;
        (empty == handles.free.len()).then_some(handles)
    }
}

fn resolve(entry: &mut Option<Shared>, created: &[Address]) {
    if let Some(Shared::Created(number)) = entry {
        *entry = created.get(*number as usize).cloned().map(Shared::Address);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Handles, Shared};

    fn contents(handles: &Handles) -> (Vec<Option<Shared>>, Vec<u32>) {
        (handles.entries.clone(), handles.free.clone())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add,
        Release(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![Just(Step::Add), (0..12u32).prop_map(Step::Release)];
        proptest::collection::vec(step, 0..40)
    }

    fn carry_out(handles: &mut Handles, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Add => {
                    let handle = handles.add(Shared::Created(number as u32)).unwrap();
                    assert_eq!(handles.get(handle), Some(&Shared::Created(number as u32)));
                }
                Step::Release(handle) => {
                    let there = *handle != 0 && handles.get(*handle).is_some();
                    assert_eq!(handles.release(*handle), there);
                    assert!(*handle == 0 || handles.get(*handle).is_none());
                }
            }
        }
    }

    proptest! {
        /// Whatever an event did to the table, undoing it gives the table as it was, free numbers in their
        /// order too: else a retried event would get other numbers.
        #[test]
        fn an_undone_event_leaves_the_table_as_it_was(before in steps(), event in steps()) {
            let mut handles = Handles::new();
            carry_out(&mut handles, &before);
            handles.keep();
            let then = contents(&handles);
            carry_out(&mut handles, &event);
            handles.undo();
            prop_assert_eq!(contents(&handles), then);
            prop_assert_eq!(handles.get(0), Some(&Shared::This));
        }
    }

    #[test]
    fn the_table_has_an_end() {
        let mut handles = Handles::new();
        for _ in 1..super::abi::HANDLES {
            handles.add(Shared::This).unwrap();
        }
        assert!(handles.add(Shared::This).is_err());
        assert!(handles.release(77));
        assert_eq!(handles.add(Shared::This).unwrap(), 77);
    }
}
