//! The heap's memory: an address range at a recorded base, which of its pages are dirty, and which
//! of them are there at all.
//!
//! `memory` is the range; `tracker` finds written pages, one of several ways behind one trait; `pager`
//! brings pages in when they are touched and drops clean ones under a budget; `chunks` remembers what to scan.

mod chunks;
mod memory;
mod pager;
mod tracker;

pub(crate) use self::memory::HeapMemory;
pub use self::pager::PagerStatistics;
pub use self::tracker::Tracking;
