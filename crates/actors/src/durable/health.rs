//! [`StoreHealth`]: how a store is, and whether what waits for it goes on by itself.

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum StoreHealth {
    /// It is written.
    #[default]
    Well,
    /// There is no room: its configuration handles nothing until there is some, and goes on by itself then.
    Full,
    /// It failed: its configuration handles nothing until it is opened again.
    Failed,
    /// The disk failed: its configuration handles nothing until the store, opened again, could be written,
    /// and goes on by itself then.
    Faulty,
}

impl StoreHealth {
    /// Whether its configuration goes on by itself, but not now.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Self::Full | Self::Faulty)
    }
}
