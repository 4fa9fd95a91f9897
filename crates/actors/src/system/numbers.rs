//! [`Numbers`]: the numbers of configurations within this process, given out once, whichever system they are
//! of: an address of one system leads nowhere in another. Lock: its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::model::address::ConfigurationNumber;

/// The number that is given out next.
static NEXT: AtomicU32 = AtomicU32::new(Numbers::LEDGER + 1);

/// Who has which number.
pub(crate) struct Numbers {
    /// Of durable configurations by name, given when the name is first met.
    durable: Mutex<BTreeMap<String, ConfigurationNumber>>,
}

impl Numbers {
    /// The ledger, where senders are known by the numbers of their configurations. No configuration has this
    /// one.
    pub(crate) const LEDGER: ConfigurationNumber = 0;

    pub(crate) fn new() -> Self {
        Self { durable: Mutex::default() }
    }

    pub(crate) fn fresh(&self) -> ConfigurationNumber {
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the durable configuration of a name, whether it is open or not.
    pub(crate) fn of_durable(&self, name: &str) -> ConfigurationNumber {
        *self.durable.lock().entry(name.to_owned()).or_insert_with(|| self.fresh())
    }

    /// The same if the name was met.
    pub(crate) fn known(&self, name: &str) -> Option<ConfigurationNumber> {
        self.durable.lock().get(name).copied()
    }

    /// The name of a durable configuration.
    pub(crate) fn durable_name(&self, number: ConfigurationNumber) -> Option<String> {
        self.durable.lock().iter().find(|(_, one)| **one == number).map(|(name, _)| name.clone())
    }
}
