//! Companies: who decides which node owns which extent, when a cluster has many nodes.
//!
//! A company is a group of nodes that agrees by consensus. It holds no memory and no pages: it knows for a
//! part of all extents who owns them, at which epoch: its [`log`]. [`companies`] says how many a cluster has
//! and [`members`] how large each is, [`Seats`] which node is a member of which, [`Slots`] which extent
//! belongs to which. The first company is the root, which keeps what all of these say.
//!
//! Not here: consensus itself (a library's), who is alive (`crate::support`), and who holds a page (its
//! owner knows).

pub mod log;
mod seats;
mod size;
mod slots;
mod voters;

pub use seats::{SeatChange, Seats};
pub use size::{COMPANIES_MAX, companies, members};
pub use slots::{SLOTS, STRETCH_BYTES, Slot, SlotMove, Slots};
pub use voters::{Presence, voters};

/// A company, less than [`COMPANIES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct CompanyId(pub u8);

impl CompanyId {
    /// The one that every cluster has, and whose log says which others there are.
    pub const ROOT: Self = Self(0);

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A deliberate mistake, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A node that has left keeps its seats.
    KeepLeavers,
    /// Every seat is given anew with every change.
    SeatAllAnew,
    /// A node that comes gets no seat of others.
    NeverBalance,
    /// A node may sit twice in one company.
    SitTwice,
    /// Slots are dealt out anew, not moved.
    DealAllSlots,
    /// The last company gets no slots.
    ForgetNewest,
    /// Two slots at a time move between two companies.
    MoveTogether,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 7] = [
    Mutation::KeepLeavers,
    Mutation::SeatAllAnew,
    Mutation::NeverBalance,
    Mutation::SitTwice,
    Mutation::DealAllSlots,
    Mutation::ForgetNewest,
    Mutation::MoveTogether,
];
