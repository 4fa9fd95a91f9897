//! [`Names`]: the registry of actors by name. Lock: its own.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::model::address::Address;

/// A name is given to another actor already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name} is taken by {by}; choose another or unregister it")]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// Who has it.
    pub by: String,
}

/// Actors by name.
#[derive(Default)]
pub(crate) struct Names(Mutex<BTreeMap<String, Address>>);

impl Names {
    pub(crate) fn register(&self, name: &str, address: Address) -> Result<(), NameTaken> {
        let mut names = self.0.lock();
        if let Some(by) = names.get(name) {
            return Err(NameTaken { name: name.to_owned(), by: format!("{by:?}") });
        }
        names.insert(name.to_owned(), address);
        Ok(())
    }

    pub(crate) fn unregister(&self, name: &str) {
        // Dropped without the lock: the last copy of an address may have something to say to a peer.
        let removed = self.0.lock().remove(name);
        drop(removed);
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Address> {
        self.0.lock().get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(String, Address)> {
        self.0.lock().iter().map(|(name, address)| (name.clone(), address.clone())).collect()
    }
}
