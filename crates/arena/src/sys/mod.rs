//! What the arena needs of Linux and of memory that no library covers, behind interfaces for the rest of the
//! crate.
//!
//! Not for what other crates need too: that is in `banyan-sys`.

pub(crate) mod demand_paging;
pub(crate) mod mapping;
pub(crate) mod page_copy;
pub(crate) mod scratch_stack;
pub(crate) mod work_sharing;
pub(crate) mod write_faults;
